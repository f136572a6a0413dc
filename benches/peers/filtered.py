#!/usr/bin/env python3
"""lodestore beside hnswlib and faiss in searches that may find some records only: half of them down to one in ten
thousand, at random and by region of space.

    python3 benches/peers/filtered.py data/sift1m
    python3 benches/peers/filtered.py data/sift1m --limit 100000 --keep target/filtered   # keeps the indexes

The first run makes a virtual environment and installs the peers into it. README.md beside this file says how each
number is taken.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from churn import answers
from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, say, start

PEERS = "lodestore,hnswlib,faiss,usearch"
K = 10
SHARES = "50,10,1,0.1,0.01"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--peers", default=PEERS, metavar="NAME,NAME", help=f"who takes part [default: {PEERS}]")
    parser.add_argument("--limit", type=int, metavar="N", help="index the first N rows")
    parser.add_argument("--queries", type=int, default=500, metavar="N", help="use the first N queries [default: 500]")
    parser.add_argument("--shares", default=SHARES, metavar="PERCENT,PERCENT",
                        help=f"how many records a filter keeps [default: {SHARES}]")
    parser.add_argument("--ef", default="64", metavar="N,N", help="search with each of these [default: 64]")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is timed [default: 3]")
    parser.add_argument("--resident", action="store_true", help="lodestore reads into memory when it opens")
    parser.add_argument("--seed", type=int, default=1, help="draws what is kept [default: 1]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where indexes are made, and left for the next run "
                        "[default: a temporary one]")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where NAME-filtered.json and .md go [default: target/peers]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if min(args.queries, args.rounds) < 1:
        parser.error("--queries and --rounds are at least 1")
    return args


def planned(args: argparse.Namespace, folder: Path):
    """Reads the data set, draws the filters, looks for what they leave of the true neighbours, and writes it all."""
    import data
    import numpy as np

    say(f"reading {args.data}")
    rows, queries, _, metric = data.read(args.data, args.metric, args.limit, args.queries)
    if metric == "cosine":
        rows, queries = data.unit(rows, "base"), data.unit(queries, "queries")
    for name, part in (("rows", rows), ("queries", queries)):
        part.astype("<f4", copy=False).tofile(folder / name)
    random = np.random.default_rng(args.seed)
    # Regions are around a record; those of all sizes around the same one.
    centre = rows[random.integers(len(rows))][None]
    near = data.exact(rows, centre, metric, len(rows))[0]
    mixed = random.permutation(len(rows))
    filters, truths = [{"name": "all", "keys": None, "kept": len(rows)}], {}
    truths["all"] = data.exact(rows, queries, metric, K)
    for share in args.shares.split(","):
        size = max(1, round(len(rows) * float(share) / 100))
        for kind, order in (("random", mixed), ("region", near)):
            name = f"{kind}-{share}"
            kept = np.sort(order[:size])
            kept.astype("<u4").tofile(folder / f"keys-{name}")
            filters.append({"name": name, "keys": str(folder / f"keys-{name}"), "kept": size})
            truths[name] = kept[data.exact(rows[kept], queries, metric, min(K, size))]
    return rows, queries, metric, filters, truths


def measured(name: str, job: dict, folder: Path):
    """What a contender tells of each filter."""
    if name == "lodestore":
        command = [cargo("--package", "lodestore-benches", "--bin", "filtered")]
    elif name in ("hnswlib", "faiss"):
        install({"faiss": "faiss-cpu"}.get(name, name))
        command = [sys.executable, str(Path(__file__).with_name("filtered_worker.py"))]
    elif name == "usearch":
        raise Trouble("the search of its Python module takes no filter")
    else:
        raise Trouble(f"no contender is called {name!r}")
    yield from answers(command, job | {"library": name}, folder)


def judged(line: dict, truth) -> dict:
    """Recall, and how often fewer came back than there are."""
    import numpy as np

    found = np.fromfile(line.pop("found"), "<u4").reshape(-1, K)
    truth = truth[:len(found)]
    right = sum(len(np.intersect1d(found[row], truth[row])) for row in range(len(found)))
    wanted = truth.shape[1]
    short = int((np.count_nonzero(found != 2**32 - 1, axis=1) < wanted).sum())
    return line | {"recall": right / truth.size, "short": short, "queries": len(found)}


def table(told: list[dict]) -> str:
    """A line for each filter and way to search."""
    unfiltered = {(one["contender"], one["ef"]): statistics.median(one["qps"])
                  for one in told if one["filter"] == "all" and one.get("qps")}
    lines = ["| filter | contender | ef | recall@10 | queries/s | of unfiltered | of exact | short | distances |",
             "|---|---|---|---|---|---|---|---|---|"]
    exact = {(one["filter"], one["contender"]): statistics.median(one["qps"])
             for one in told if one["how"] == "exact" and one.get("qps")}
    for one in told:
        name = f"{one['contender']}, {one['how']}"
        if "failed" in one:
            lines.append(f"| {one['filter']} | {name} | {one['ef']} | {one['failed']} | | | | | |")
            continue
        qps = statistics.median(one["qps"])
        of_all, of_exact = unfiltered.get((one["contender"], one["ef"])), exact.get((one["filter"], one["contender"]))
        ratio = lambda base: f"{qps / base:.2f}" if base else "—"
        lines.append(f"| {one['filter']} | {name} | {one['ef'] or ''} | {one['recall']:.4f} | {qps:,.0f} | "
                     f"{ratio(of_all)} | {ratio(of_exact)} | {one['short']} | {one.get('distances', 0):,.0f} |")
    return "\n".join(lines)


def filtered(args: argparse.Namespace) -> None:
    about, told, left_out = machine(), [], {}
    core = max(os.sched_getaffinity(0))
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lodestore-filtered-", dir=args.keep) as work:
        folder = Path(work)
        rows, queries, metric, filters, truths = planned(args, folder)
        home = (args.keep or folder).resolve()
        for name in dict.fromkeys(args.peers.split(",")):
            job = {"store": str(home / f"{args.data.stem}-{len(rows)}-{name}"), "base": str(folder / "rows"),
                   "queries": str(folder / "queries"), "dim": rows.shape[1], "metric": metric, "m": 16, "k": K,
                   "ef": [int(ef) for ef in args.ef.split(",")], "rounds": args.rounds, "core": core,
                   "resident": args.resident, "filters": filters, "folder": str(folder)}
            try:
                for line in measured(name, job, folder):
                    if line["run"] in ("build", "tags"):
                        say(f"{name}: {'built' if line['run'] == 'build' else 'tagged'} in {line['seconds']:.1f} s")
                        continue
                    told.append((line if "failed" in line else judged(line, truths[line["filter"]]))
                                | {"contender": name})
                    one = told[-1]
                    what = one.get("failed") or f"recall {one['recall']:.4f}, {statistics.median(one['qps']):,.0f}/s"
                    say(f"{name} {one['filter']} {one['how']} ef {one['ef']}: {what}")
            except Trouble as trouble:
                left_out[name] = str(trouble)
                say(f"{name} is left out: {trouble}")
    if not told:
        raise Trouble("no contender is left")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    args.out.mkdir(parents=True, exist_ok=True)
    result = {"dataset": args.data.stem, "rows": len(rows), "machine": about, "settings": settings, "told": told,
              "left_out": left_out}
    (args.out / f"{args.data.stem}-filtered.json").write_text(json.dumps(result, indent=1))
    (args.out / f"{args.data.stem}-filtered.md").write_text(table(told) + "\n")
    print(table(told))


def main() -> None:
    args = arguments()
    start(filtered, args, args.data)


if __name__ == "__main__":
    main()
