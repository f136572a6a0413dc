#!/usr/bin/env python3
"""lodestore beside hnswlib and usearch in an index whose records come, go and change for long: what is left of recall,
speed and size, compared with an index built anew of the same records.

    python3 benches/peers/churn.py data/sift1m
    python3 benches/peers/churn.py data/sift1m --limit 20000 --turnovers 2      # a quick look

The first run makes a virtual environment and installs the peers into it. README.md beside this file says how each
number is taken.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, reason, say, start

PEERS = "hnswlib,usearch,lodestore"
K = 10
QUERIES = 500
# How often the queries are timed at each stop.
ROUNDS = 5
STEPS = 100


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--peers", default=PEERS, metavar="NAME,NAME",
                        help=f"who takes part; lodestore-X has codes X [default: {PEERS}]")
    parser.add_argument("--limit", type=int, default=200_000, metavar="N",
                        help="index the first N rows; those after them come in [default: 200000]")
    parser.add_argument("--turnovers", type=int, default=10, metavar="T",
                        help=f"so many times {STEPS} steps of 1 %% [default: 10]")
    parser.add_argument("--every", type=float, default=1, metavar="T", help="turnovers from stop to stop [default: 1]")
    parser.add_argument("--fresh-every", type=int, default=5, metavar="N",
                        help="build anew at each Nth stop, and at the last [default: 5]")
    parser.add_argument("--order", choices=["random", "cluster"], default="random",
                        help="which go: random ones, or a random one and those nearest to it [default: random]")
    parser.add_argument("--ef", type=int, default=64, metavar="N", help="search with this ef [default: 64]")
    parser.add_argument("--queries", type=int, default=QUERIES, metavar="N",
                        help=f"use the first N queries [default: {QUERIES}]")
    parser.add_argument("--costs", type=int, default=0, metavar="N",
                        help="of lodestore, also time N inserts, updates and removals each by itself [default: 0]")
    parser.add_argument("--seed", type=int, default=1, help="draws what goes and changes [default: 1]")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where NAME-churn.md and NAME-churn.json go [default: target/peers]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if min(args.turnovers, args.fresh_every, args.queries) < 1 or args.every * STEPS < 1:
        parser.error(f"--turnovers, --fresh-every and --queries are at least 1, --every at least {1 / STEPS}")
    if args.limit < STEPS:
        parser.error(f"--limit is at least {STEPS}, so that there is 1 %")
    if args.ef < K:
        parser.error(f"--ef is at least {K}")
    return args


def answers(command: list[str], job: dict, folder: Path) -> Iterator[dict]:
    """What a process measures, as soon as it tells."""
    with (folder / "errors").open("w+") as errors:
        with subprocess.Popen([*command, json.dumps(job)], stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            yield from map(json.loads, process.stdout)
        if process.returncode != 0:
            code = process.returncode
            ended = signal.Signals(-code).name if code < 0 else f"status {code}"
            errors.seek(0)
            raise Trouble(f"its job ended with {ended}: {reason(errors.read())}")


def planned(args: argparse.Namespace, folder: Path):
    """Reads the data set, plans the changes, and writes what the processes read."""
    import data
    from churn_plan import plan, rows_needed

    say(f"reading {args.data}")
    steps, every = args.turnovers * STEPS, round(args.every * STEPS)
    needed = rows_needed(args.limit, steps, args.limit // STEPS)
    rows, queries, _, metric = data.read(args.data, args.metric, needed, args.queries)
    if metric == "cosine":
        rows, queries = data.unit(rows, "base"), data.unit(queries, "queries")
    for name, part in (("rows", rows), ("queries", queries)):
        part.astype("<f4", copy=False).tofile(folder / name)
    say(f"planning {steps:,} steps of {args.limit // STEPS:,} removals, inserts and updates each")
    stops, changes = plan(rows, args.limit, steps, every, args.fresh_every, args.order == "cluster", args.seed, folder)
    job = {"folder": str(folder), "rows": str(folder / "rows"), "queries": str(folder / "queries"),
           "changes": str(changes), "stored": args.limit, "dim": rows.shape[1], "metric": metric, "k": K,
           "ef": args.ef, "rounds": ROUNDS, "costs": args.costs,
           "stops": [{"after": stop.after, "live": str(stop.live), "fresh": stop.fresh} for stop in stops]}
    return job, stops, rows, queries


def churn(args: argparse.Namespace) -> None:
    # Not before the environment has been entered: they need numpy.
    import churn_report
    from churn_report import Judge
    from contenders import EF_CONSTRUCTION, M, is_lodestore

    about, left_out, measured, costs = machine(), {}, {}, {}
    # From the last one on: that is where compare.py searches.
    cores = sorted(os.sched_getaffinity(0), reverse=True)[:2]
    names = list(dict.fromkeys(args.peers.split(",")))
    for name in names:
        if not is_lodestore(name) and name not in ("hnswlib", "usearch"):
            raise Trouble(f"no contender is called {name!r}; there are hnswlib, usearch, lodestore, lodestore-X")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    args.out.mkdir(parents=True, exist_ok=True)

    def written() -> str:
        result = churn_report.collect(measured, dataset=dataset, k=K, m=M, machine=about, settings=settings,
                                      left_out=left_out, costs=costs)
        table = churn_report.markdown(result)
        (args.out / f"{args.data.stem}-churn.json").write_text(json.dumps(result, indent=1))
        (args.out / f"{args.data.stem}-churn.md").write_text(table + "\n")
        return table

    with tempfile.TemporaryDirectory(prefix="lodestore-churn-") as work:
        folder = Path(work)
        job, stops, rows, queries = planned(args, folder)
        job |= {"m": M, "ef_construction": EF_CONSTRUCTION, "cores": cores}
        dataset = {"name": args.data.stem, "metric": job["metric"], "rows": len(rows), "dim": job["dim"],
                   "queries": len(queries)}
        judge = Judge(stops, rows, queries, job["metric"], K)
        for name in names:
            try:
                if is_lodestore(name):
                    command = [cargo("--package", "lodestore-benches", "--bin", "churn")]
                    more = {"codes": name.partition("-")[2] or "auto"}
                else:
                    install(name)
                    command = [sys.executable, str(Path(__file__).with_name("churn_worker.py"))]
                    more = {"library": name}
                told: list[dict] = []
                for line in answers(command, job | more, folder):
                    run = line.pop("run")
                    if run == "build":
                        say(f"{name}: built in {line['seconds']:.1f} s")
                        continue
                    if run == "costs":
                        costs[name] = line
                        parts = (f"{kind} {line[kind]['call_us']:.1f} µs, of a core in all {line[kind]['cpu_us']:.1f}"
                                 for kind in ("insert", "update", "remove"))
                        say(f"{name}: {'; '.join(parts)}")
                        continue
                    told.append(judge.look(len(told), line, folder))
                    say(f"{name}: {told[-1]['turnovers']:g} turnovers, recall {told[-1]['recall']:.4f}")
                    # What there is so far: all of it takes hours.
                    measured[name] = told
                    written()
            except Trouble as trouble:
                left_out[name] = str(trouble)
                say(f"{name} is left out: {trouble}")
    if not measured:
        raise Trouble("no contender is left")
    print(written())
    say(f"wrote {args.data.stem}-churn.md and .json to {args.out}")


def main() -> None:
    args = arguments()
    start(churn, args, args.data)


if __name__ == "__main__":
    main()
