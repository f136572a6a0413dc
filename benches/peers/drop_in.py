#!/usr/bin/env python3
"""`lodestore.hnswlib` beside the module hnswlib, and beside a batch of Rust: what Python costs, and what a filter costs.

    python3 benches/peers/drop_in.py data/sift1m --limit 100000

The first run makes a virtual environment, installs hnswlib, and builds and installs the package's wheel. README.md
beside this file says how each number is taken.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, reason, say, start

K = 10
M, EF_CONSTRUCTION = 16, 200
SHARES = (50, 10, 1)
# Calls that take so long are timed a part of the queries at a time.
CALLABLE_QUERIES = 200


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--limit", type=int, default=100_000, metavar="N", help="index the first N rows [default: 100,000]")
    parser.add_argument("--queries", type=int, default=10_000, metavar="N", help="[default: 10,000]")
    parser.add_argument("--recall", type=float, default=0.95, help="at which speeds are compared [default: 0.95]")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is timed [default: 5]")
    parser.add_argument("--builds", type=int, default=2, help="times that each is built [default: 2]")
    parser.add_argument("--installed", action="store_true", help="take the package that the environment has")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where drop-in.json goes [default: target/peers]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if min(args.queries, args.rounds, args.builds) < 1:
        parser.error("--queries, --rounds and --builds are at least 1")
    return args


def wheel(folder: Path) -> None:
    """Builds the package for release, and installs it."""
    say("building the wheel")
    pip = [sys.executable, "-m", "pip"]
    for command in (
        [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT / "python")],
        [*pip, "install", "--quiet", "--no-deps", "--force-reinstall", "--no-index", "--find-links", str(folder), "lodestore"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target")})
        if done.returncode:
            raise Trouble(f"{' '.join(command[2:4])}: {reason(done.stderr)}")


def timed(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def least_ef(search, truth, wanted: float) -> tuple[int, float]:
    """The least ef, in steps of a twentieth, with which so much is found."""
    ef = 10
    while True:
        found = search(ef)
        recall = sum(len(set(row) & set(true)) for row, true in zip(found.tolist(), truth.tolist())) / truth.size
        if recall >= wanted or ef > 2000:
            return ef, recall
        ef = max(ef + 2, ef * 21 // 20)


def interleaved(rounds: int, calls: dict) -> dict:
    """Seconds of each, in turns; the first turn is not counted."""
    seconds = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            took = timed(call)
            if turn:
                seconds[name].append(took)
    return seconds


def ratio(seconds: dict, ours: str, theirs: str) -> dict:
    """How many times as fast ours is, in each turn: the median, the least and the greatest."""
    each = [b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
    return {"of": f"{ours} / {theirs}", "median": statistics.median(each), "least": min(each), "greatest": max(each)}


def run(args: argparse.Namespace) -> None:
    import data
    import numpy as np

    install("hnswlib")
    with tempfile.TemporaryDirectory() as folder:
        if not args.installed:
            wheel(Path(folder) / "wheels")
        measure(args, data, np, Path(folder))


def measure(args: argparse.Namespace, data, np, folder: Path) -> None:
    import hnswlib

    import lodestore
    from lodestore import hnswlib as drop_in

    rows, queries, _, metric = data.read(args.data, args.metric, args.limit, args.queries)
    few = queries[:1000]
    truth = data.exact(rows, few, metric, K)
    space = {"l2": "l2", "ip": "ip", "cosine": "cosine"}[metric]
    report: dict = {"machine": machine(), "rows": len(rows), "dim": rows.shape[1], "queries": len(queries), "ratios": []}

    def tell(one: dict) -> None:
        report["ratios"].append(one)
        print(f"{one['of']:58} {one['median']:8.3f}   ({one['least']:.3f} to {one['greatest']:.3f})", flush=True)

    indexes: dict = {}

    def build(name: str, module) -> None:
        index = module.Index(space, rows.shape[1])
        index.init_index(len(rows), M=M, ef_construction=EF_CONSTRUCTION)
        index.add_items(rows)
        indexes[name] = index

    builds: dict = {"drop-in": [], "hnswlib": [], "store": []}

    def on_store(path: Path) -> None:
        store = lodestore.open(path, durability="buffered")
        docs = store.collection("rows", rows.shape[1], metric=metric, m=M, ef_construction=EF_CONSTRUCTION)
        docs.put_many(np.arange(len(rows)), rows)
        store.checkpoint()
        indexes["store"], indexes["its store"] = docs, store

    for turn in range(args.builds):
        builds["drop-in"].append(timed(lambda: build("drop-in", drop_in)))
        builds["hnswlib"].append(timed(lambda: build("hnswlib", hnswlib)))
        builds["store"].append(timed(lambda turn=turn: on_store(folder / f"store-{turn}")))
    print("how many times as fast: median of the rounds (least to greatest)")
    tell(ratio(builds, "drop-in", "hnswlib") | {"of": "build: drop-in / hnswlib, add_items with default threads"})
    tell(ratio(builds, "store", "hnswlib") | {"of": "build: on a store / hnswlib"})

    ours, theirs, docs = indexes["drop-in"], indexes["hnswlib"], indexes["store"]
    efs = {}
    for name, index in (("drop-in", ours), ("hnswlib", theirs)):
        def search(ef: int, index=index):
            index.set_ef(ef)
            return index.knn_query(few, K)[0]
        efs[name] = least_ef(search, truth, args.recall)
    efs["store"] = least_ef(lambda ef: docs.search_many(few, K, ef).keys, truth, args.recall)
    report["ef"] = {name: {"ef": ef, "recall": recall} for name, (ef, recall) in efs.items()}
    print("ef:", ", ".join(f"{name} {ef} (recall {recall:.4f})" for name, (ef, recall) in efs.items()))
    ours.set_ef(efs["drop-in"][0])
    theirs.set_ef(efs["hnswlib"][0])
    for threads in (1, os.cpu_count() or 1):
        seconds = interleaved(args.rounds, {
            "drop-in": lambda: ours.knn_query(queries, K, num_threads=threads),
            "hnswlib": lambda: theirs.knn_query(queries, K, num_threads=threads),
            "store": lambda: docs.search_many(queries, K, efs["store"][0], threads),
        })
        tell(ratio(seconds, "drop-in", "hnswlib") | {"of": f"knn_query, {threads} threads: drop-in / hnswlib"})
        tell(ratio(seconds, "store", "hnswlib") | {"of": f"search_many, {threads} threads: on a store / hnswlib"})

    overhead(args, np, folder, queries, docs, ours, efs, tell)
    filters(args, np, queries, rows, ours, theirs, tell)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "drop-in.json").write_text(json.dumps(report, indent=1))


def overhead(args, np, folder: Path, queries, docs, ours, efs, tell) -> None:
    """Python's calls beside a program of Rust that asks the same of the same store, both on one thread."""
    ef = efs["store"][0]
    store = folder / f"store-{args.builds - 1}"
    queries.astype("<f4", copy=False).tofile(folder / "queries")
    binary = cargo("--package", "lodestore-benches", "--bin", "batch")
    # It reads beside this process, which has the store open.
    with subprocess.Popen([binary, str(store), "rows", str(folder / "queries"), str(K), str(ef)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as rust:
        def of_rust() -> float:
            print("go", file=rust.stdin, flush=True)
            return float(rust.stdout.readline())

        of_rust()
        docs.search_many(queries, K, ef, 1)
        each = {"search_many": [], "rust": []}
        for _ in range(args.rounds):
            each["rust"].append(of_rust())
            each["search_many"].append(timed(lambda: docs.search_many(queries, K, ef, 1)))
        rust.stdin.close()
    tell(ratio(each, "search_many", "rust") | {"of": f"search_many of {len(queries):,} rows / the batch of Rust"})
    # The drop-in does the rest in Python: what it adds to the call that it makes.
    items, ef = ours._items(), efs["drop-in"][0]
    seconds = interleaved(args.rounds, {
        "knn_query": lambda: ours.knn_query(queries, K, num_threads=1),
        "search_many": lambda: items.search_many(queries, K, ef, 1),
    })
    tell(ratio(seconds, "knn_query", "search_many") | {"of": f"knn_query of {len(queries):,} rows / its search_many"})


def filters(args, np, queries, rows, ours, theirs, tell) -> None:
    """A boolean mask beside the callable that says the same: many queries at once, and one at a time."""
    some = queries[:CALLABLE_QUERIES]
    random = np.random.default_rng(1)
    for share in SHARES:
        mask = random.random(len(rows)) < share / 100
        said = mask.tolist()
        asked = said.__getitem__

        def one_by_one(index, filter) -> None:
            for query in some[:50]:
                index.knn_query(query, K, num_threads=1, filter=filter)

        for what, by in (
            (f"{len(some)} rows", lambda index, filter: index.knn_query(some, K, num_threads=1, filter=filter)),
            ("a row at a time", one_by_one),
        ):
            calls = {"mask": lambda by=by: by(ours, mask), "callable": lambda by=by: by(ours, asked)}
            try:
                by(theirs, asked)
                calls["hnswlib's callable"] = lambda by=by: by(theirs, asked)
            except RuntimeError:
                # Fewer than k are an error there.
                print(f"hnswlib does not find {K} of {share} %")
            seconds = interleaved(max(1, args.rounds // 2), calls)
            for other in calls:
                if other != "mask":
                    tell(ratio(seconds, "mask", other) | {"of": f"{share} % kept, {what}: mask / {other}"})


if __name__ == "__main__":
    chosen = arguments()
    start(run, chosen, chosen.data)
