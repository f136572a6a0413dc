#!/usr/bin/env python3
"""lodestore beside hnswlib and usearch (`view`) where there is less memory than data: searches in a control group with a
limit, after the page cache was dropped.

    python3 benches/peers/memory.py data/sift1m --rows 300000
    python3 benches/peers/memory.py data/sift1m --keep target/memory    # the next run finds what this one has built

It needs the right to make a control group for memory, and to drop the page cache: usually root. README.md beside this
file says how each number is taken.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, reason, say, start

PEERS = "lodestore,usearch,hnswlib"
K = 10
M = 16
EF_CONSTRUCTION = 128
THREADS = 2
RECALL = 0.95
LADDER = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]
COLLECTION = "vectors"
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--peers", default=PEERS, metavar="NAME,NAME",
                        help=f"who takes part; lodestore-X has codes X [default: {PEERS}]")
    parser.add_argument("--rows", type=int, metavar="N", help="use the first N rows of the base")
    parser.add_argument("--queries", type=int, metavar="N", default=2000, help="use the first N queries [default: 2000]")
    parser.add_argument("--limits", default="25,10", metavar="P,P",
                        help="limits, in hundredths of lodestore's files [default: 25,10]; without one is measured first")
    parser.add_argument("--ef", type=int, metavar="N",
                        help=f"search with this ef [default: each with the least that has recall {RECALL}]")
    parser.add_argument("--budget", action="store_true", help="give lodestore the limit as its budget, too (--memory)")
    parser.add_argument("--compact", action="store_true", help="compact the store first: neighbours get near each other")
    parser.add_argument("--lodestore", metavar="FILE", help="the command [default: built with cargo]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where indexes are made, and left for the next run "
                        "[default: a temporary one]")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where NAME-memory.json goes [default: target/peers]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if any(count is not None and count < 1 for count in (args.rows, args.queries)):
        parser.error("--rows and --queries are at least 1")
    try:
        args.limits = [int(limit) for limit in args.limits.split(",") if limit]
    except ValueError:
        parser.error("--limits are whole numbers with commas between them")
    return args


@contextmanager
def group(limit: int | None):
    """A control group with so much memory; yields the file that takes processes. `None`: no limit, and none is made."""
    if limit is None:
        yield None
        return
    control = V2 / "cgroup.subtree_control"
    if (V1 / "memory.limit_in_bytes").exists():
        home, name = V1, "memory.limit_in_bytes"
    elif control.exists() and "memory" in control.read_text().split():
        home, name = V2, "memory.max"
    else:
        raise Trouble(f"no control group for memory can be made: neither {V1} nor the controller `memory` in {V2} is there")
    made = home / f"lodestore-memory-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        raise Trouble(f"no control group for memory can be made in {home}: {error.strerror}") from None
    try:
        (made / name).write_text(str(limit))
        if home == V2:
            (made / "memory.swap.max").write_text("0")
        yield made / "cgroup.procs"
    finally:
        made.rmdir()


def forget(path: Path) -> None:
    """Drops what the system keeps of files, of all if it may, so that they are read anew."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(command: list[str], procs: Path | None = None) -> dict:
    """What the command prints, one JSON object. It is in the control group from its first instruction on."""
    if procs is not None:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode in (-9, 137):
        raise Trouble("killed: out of memory")
    if done.returncode != 0:
        raise Trouble(f"ended with status {done.returncode}: {reason(done.stderr)}")
    return json.loads(done.stdout)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class Peer:
    """A library of Python, in a process of its own. What its interpreter has for itself comes on top of each limit."""

    idle = 0

    def __init__(self, name: str, job: dict, home: Path):
        self.name, self.path = name, home / f"{name}.index"
        self.job = {**job, "name": name, "path": str(self.path)}
        install(name)

    def work(self, procs: Path | None = None, **job: object) -> dict:
        worker = Path(__file__).with_name("memory_worker.py")
        return run([sys.executable, str(worker), json.dumps({**self.job, **job})], procs)

    def build(self) -> None:
        if not self.path.exists():
            self.work(action="build")

    def search(self, ef: int, limit: int | None = None, procs: Path | None = None) -> dict:
        found = self.work(procs, action="search", ef=ef)
        self.idle = found["idle"]
        return found


class Lodestore:
    """The command. What it reads is in its own report."""

    idle = 0

    def __init__(self, name: str, job: dict, home: Path, program: str, args: argparse.Namespace):
        self.name, self.job, self.program, self.args = name, job, program, args
        self.codes = name.removeprefix("lodestore").removeprefix("-")
        self.path = home / f"{name}{'-compact' if args.compact else ''}.store"

    def build(self) -> None:
        if self.path.exists():
            return
        codes = ["--codes", self.codes] if self.codes else []
        run([self.program, "import", str(self.path), COLLECTION, "--input", f"{self.job['folder']}/base.npy",
             "--metric", self.job["metric"], "--m", str(M), "--ef-construction", str(EF_CONSTRUCTION),
             "--durability", "buffered", "--json", *codes])
        if self.args.compact:
            run([self.program, "compact", str(self.path), "--json"])

    def search(self, ef: int, limit: int | None = None, procs: Path | None = None) -> dict:
        budget = ["--memory", str(max(limit, 32 << 20))] if self.args.budget and limit else []
        return run([self.program, "search", str(self.path), COLLECTION, "--queries", f"{self.job['folder']}/queries.npy",
                    "--groundtruth", f"{self.job['folder']}/truth.ivecs", "--k", str(K), "--ef", str(ef), "--threads",
                    str(THREADS), "--warmup", "--json", *budget], procs)


def least_ef(contender: Peer | Lodestore) -> int:
    """That has the recall, without a limit."""
    for ef in LADDER:
        if contender.search(ef)["recall"] >= RECALL:
            return ef
    raise Trouble(f"recall {RECALL} is not reached with ef {LADDER[-1]}")


def memory(args: argparse.Namespace) -> None:
    # Not before the environment has been entered: they need numpy.
    import data
    import numpy as np

    about = machine()
    say(f"reading {args.data}")
    dataset = data.load(args.data, args.metric, K, args.rows, args.queries)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lodestore-memory-", dir=args.keep) as work:
        folder = Path(work)
        home = ((args.keep or folder) / f"{dataset.name}-{len(dataset.base)}").resolve()
        home.mkdir(exist_ok=True)
        dataset.save(folder)
        np.save(folder / "truth.npy", dataset.truth)
        job = {"folder": str(folder), "metric": dataset.metric, "dim": dataset.base.shape[1], "k": K, "m": M,
               "ef_construction": EF_CONSTRUCTION, "threads": THREADS}
        rows, left_out, contenders, program = [], {}, [], args.lodestore
        for name in dict.fromkeys(args.peers.split(",")):
            try:
                if name.startswith("lodestore"):
                    program = program or cargo("--package", "lodestore-cli")
                    contender = Lodestore(name, job, home, program, args)
                elif name in ("hnswlib", "usearch"):
                    contender = Peer(name, job, home)
                else:
                    raise Trouble("there is no such contender")
                say(f"building {name}")
                contender.build()
                contenders.append((contender, args.ef or least_ef(contender)))
            except Trouble as trouble:
                left_out[name] = str(trouble)
                say(f"{name} is left out: {trouble}")
        if not contenders:
            raise Trouble("no contender is left")
        stores = [contender for contender, _ in contenders if isinstance(contender, Lodestore)]
        whole = size_of((stores or [contenders[0][0]])[0].path)
        for percent in [None, *args.limits]:
            limit = None if percent is None else whole * percent // 100
            for contender, ef in contenders:
                row = {"name": contender.name, "percent": percent, "limit": limit, "ef": ef,
                       "bytes": size_of(contender.path)}
                forget(contender.path)
                with group(limit and limit + contender.idle) as procs:
                    try:
                        row |= contender.search(ef, limit, procs)
                    except Trouble as trouble:
                        row["trouble"] = str(trouble)
                rows.append(row)
                where = "no limit" if percent is None else f"{percent} %"
                say(f"{contender.name}, {where}: {row.get('trouble') or str(round(row['qps'])) + ' QPS'}")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    result = {"name": dataset.name, "rows": len(dataset.base), "dim": dataset.base.shape[1], "metric": dataset.metric,
              "store_bytes": whole, "machine": about, "settings": settings, "left_out": left_out, "results": rows}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{dataset.name}-memory.json").write_text(json.dumps(result, indent=1))
    print(markdown(result))
    say(f"wrote {dataset.name}-memory.json to {args.out}")


def markdown(result: dict) -> str:
    """The table."""
    lines = [f"{result['name']}: {result['rows']:,} × {result['dim']}, {result['metric']}; limits are of lodestore's "
             f"{result['store_bytes'] / 2**20:.0f} MiB; {THREADS} threads, recall@{K}", "",
             "| limit | | files, MiB | ef | recall | QPS | of unlimited | p50, µs | p99, µs | p99.9, µs | pages read | vectors read of compared |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    whole = {row["name"]: row["qps"] for row in result["results"] if row["percent"] is None and "qps" in row}
    for row in result["results"]:
        limit = "none" if row["percent"] is None else f"{row['percent']} %, {row['limit'] / 2**20:.0f} MiB"
        start = f"| {limit} | {row['name']} | {row['bytes'] / 2**20:.0f} | {row['ef']} |"
        if "trouble" in row:
            lines.append(f"{start} {row['trouble']} | | | | | | | |")
            continue
        share = f"{100 * row['qps'] / whole[row['name']]:.1f} %" if row["name"] in whole else ""
        compared = f"{row['disk_reads']:.1f} of {row['reranked']:.1f}" if "reranked" in row else ""
        lines.append(f"{start} {row['recall']:.3f} | {row['qps']:,.0f} | {share} | {row['p50_us']:,.0f} | "
                     f"{row['p99_us']:,.0f} | {row['p999_us']:,.0f} | {row['page_reads'] or 0:.1f} | {compared} |")
    lines += [f"{name} is left out: {why}" for name, why in result["left_out"].items()]
    return "\n".join(lines)


def main() -> None:
    args = arguments()
    start(memory, args, args.data)


if __name__ == "__main__":
    main()
