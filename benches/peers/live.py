#!/usr/bin/env python3
"""lodestore beside hnswlib in what a living store does: single puts and updates, memory, two readers, reading while
writing. compare.py measures searching and building.

    python3 benches/peers/live.py data/sift1m
    python3 benches/peers/live.py data/sift1m --keep target/live     # the next run finds what this one has built

The first run makes a virtual environment and installs hnswlib into it. README.md beside this file says how each number
is taken.
"""

import argparse
import json
import os
import tempfile
import zlib
from pathlib import Path

from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, say, start

PEERS = "hnswlib,hnswlib-128,lodestore"
K = 10
RECALL = 0.95
# Of the rows this many, but no more than a tenth, are not in the indexes from the start: they are written.
FRESH_MOST = 8_000
BATCH = 1_000
# How long a speed is measured that could be measured for ever.
SECONDS = 1.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--peers", default=PEERS, metavar="NAME,NAME",
                        help=f"who takes part; hnswlib-N has ef_construction N, lodestore-X codes X [default: {PEERS}]")
    parser.add_argument("--rows", type=int, metavar="N", help="use the first N rows of the base")
    parser.add_argument("--queries", type=int, metavar="N", help="use the first N queries")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds [default: 5]")
    parser.add_argument("--ef", type=int, metavar="N",
                        help=f"search with this ef [default: each with the least that has recall {RECALL}]")
    parser.add_argument("--resident", action="store_true", help="lodestore reads into memory when it opens, in huge "
                        "pages [default: as stores are opened by default; not where memory is measured]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where indexes are made, and left for the next run "
                        "[default: a temporary one]")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where NAME-live.json goes [default: target/peers]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if any(count is not None and count < 1 for count in (args.rows, args.queries, args.rounds)):
        parser.error("--rows, --queries and --rounds are at least 1")
    if args.ef is not None and args.ef < K:
        parser.error(f"--ef is at least {K}")
    return args


def planned(args: argparse.Namespace, folder: Path, cores: list[int]):
    """Reads the data set, and writes what the processes read."""
    import data
    import numpy as np
    from live_contenders import Plan

    say(f"reading {args.data}")
    # All of it, even if the first rows are enough: the truth says something about them too.
    rows, queries, truth, metric = data.read(args.data, args.metric, None, args.queries)
    whole, rows = len(rows), rows[:args.rows]
    fresh = min(FRESH_MOST, len(rows) // 10)
    stored = len(rows) - fresh
    if fresh < 8 or stored <= K:
        raise Trouble(f"{len(rows)} rows are too few: a tenth of them is to be written")
    if metric == "cosine":
        rows, queries = data.unit(rows, "base"), data.unit(queries, "queries")
    for name, part in (("base", rows[:stored]), ("fresh", rows[stored:]), ("queries", queries)):
        part.astype("<f4", copy=False).tofile(folder / name)
    # The nearest of the first rows are those of all that are among the first, if there are enough of them.
    among = None if truth is None else truth < stored
    if among is not None and (among.sum(axis=1) >= K).all():
        first = np.argsort(~among, axis=1, kind="stable")[:, :K]
        truth, truth_from = np.take_along_axis(truth, first, axis=1), "file"
    else:
        say("looking for the true neighbours")
        truth, truth_from = data.exact(rows[:stored], queries, metric, K), "computed"
    plan = Plan(args.data.stem, metric, K, rows.shape[1], stored, puts=fresh // 8, many=fresh // 2, batch=BATCH,
                seconds=SECONDS, cores=cores, base=folder / "base", fresh=folder / "fresh",
                queries=folder / "queries", truth=np.ascontiguousarray(truth, "<i4"),
                crc=zlib.crc32(np.ascontiguousarray(rows[:stored])))
    told = {"name": plan.name, "metric": metric, "rows": len(rows), "of": whole, "fresh": fresh, "dim": plan.dim,
            "queries": len(queries), "truth": truth_from}
    return plan, told


def live(args: argparse.Namespace) -> None:
    # Not before the environment has been entered: they need numpy.
    import live_report
    from contenders import is_lodestore
    from live_contenders import Contender, ef_construction_of

    names, left_out, program = list(dict.fromkeys(args.peers.split(","))), {}, ""
    for name in names:
        if not is_lodestore(name):
            ef_construction_of(name)
    about = machine()
    # From the last one on: that is where compare.py searches.
    cores = sorted(os.sched_getaffinity(0), reverse=True)[:2]

    contenders: list[Contender] = []

    def leave_out(name: str, why: str) -> None:
        left_out[name] = why
        say(f"{name} is left out: {why}")

    def each(work, order: list[Contender]) -> None:
        for contender in order:
            try:
                work(contender)
            except Trouble as trouble:
                contenders.remove(contender)
                leave_out(contender.name, str(trouble))
        if not contenders:
            raise Trouble("no contender is left")

    if len(cores) < 2:
        leave_out("what takes two cores", "this process is allowed one")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    # In the same place, so that both are on the same disk.
    with tempfile.TemporaryDirectory(prefix="lodestore-live-", dir=args.keep) as work:
        folder = Path(work)
        plan, dataset = planned(args, folder, cores)
        home = (args.keep or folder) / f"{plan.name}-{plan.stored}"
        home.mkdir(exist_ok=True)
        for name in names:
            try:
                if is_lodestore(name):
                    program = program or cargo("--package", "lodestore-benches", "--bin", "live")
                else:
                    install("hnswlib")
                contenders.append(Contender(name, plan, home.resolve(), folder, program, args.resident))
            except Trouble as trouble:
                leave_out(name, str(trouble))
        each(Contender.make, list(contenders))
        each(lambda c: c.recall(args.ef) if args.ef else c.find_ef(RECALL), list(contenders))
        each(Contender.measure_memory, list(contenders))
        for number in range(1, args.rounds + 1):
            # Another one begins in each round.
            turn = number % len(contenders)
            each(lambda c: c.measure(number), contenders[turn:] + contenders[:turn])
            say(f"round {number} of {args.rounds} done")

    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    result = live_report.collect(contenders, plan, dataset=dataset, recall=RECALL, rounds=args.rounds, machine=about,
                                 settings=settings, left_out=left_out)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{plan.name}-live.json").write_text(json.dumps(result, indent=1))
    print(live_report.markdown(result))
    say(f"wrote {plan.name}-live.json to {args.out}")


def main() -> None:
    args = arguments()
    start(live, args, args.data)


if __name__ == "__main__":
    main()
