#!/usr/bin/env python3
"""lodestore beside hnswlib: build time, recall@k and single-thread queries a second, on the same files in the same run.

    pip install -r benches/peers/requirements.txt
    cargo build --release -p lodestore-cli
    python3 benches/peers/hnswlib_compare.py data/sift1m --metric l2 --ef 16,32,64,128,256

The data set is a directory (or a prefix) with NAME_base.{fvecs,bvecs}, NAME_query.{fvecs,bvecs} and
NAME_groundtruth.ivecs. With --limit only the first rows of the base are used and the ground truth is computed here.

How it is kept fair:
- rounds are interleaved (hnswlib, lodestore, hnswlib, lodestore, ...) and medians are compared, so that a machine that
  slows down for a while slows both;
- hnswlib answers all queries in one call (num_threads=1), so that Python's cost per call does not count against it;
  lodestore answers them one call at a time, each call timed. Both run all queries once untimed first;
- the same M, ef_construction, number of building threads and ef; recall is counted by key against the same truth;
- lodestore writes its log while it builds (durability `buffered` unless asked otherwise); hnswlib writes nothing.
"""

import argparse
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hnswlib
import numpy as np

DTYPES = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
TARGET = 0.95
TRUTH_BLOCK = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="directory, or prefix such as data/sift1m/sift1m")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], required=True)
    parser.add_argument("--limit", type=int, help="use the first N rows of the base")
    parser.add_argument("--queries", type=int, help="use the first N queries")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", default="16,24,32,48,64,96,128,192,256", help="list, smallest first")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2, help="threads that build")
    parser.add_argument("--durability", default="buffered", help="lodestore's while it builds")
    parser.add_argument("--builds", type=int, default=3, help="interleaved rounds of building")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of searching")
    parser.add_argument("--lodestore", type=Path, default=Path("target/release/lodestore"))
    parser.add_argument("--work", type=Path, help="where stores are built [default: a temporary directory]")
    parser.add_argument("--json", type=Path, help="also write everything measured to this file")
    args = parser.parse_args()
    args.ef = sorted({int(ef) for ef in args.ef.split(",")})
    if args.ef[0] < args.k:
        parser.error(f"ef {args.ef[0]} is below k {args.k}")
    if not args.lodestore.is_file():
        parser.error(f"{args.lodestore} is missing: cargo build --release -p lodestore-cli")
    return args


def part(dataset, name):
    """The file of the data set called NAME_name.*vecs."""
    folder, prefix = (dataset, "*") if dataset.is_dir() else (dataset.parent, dataset.name)
    found = sorted(path for path in folder.glob(f"{prefix}_{name}.*vecs") if path.suffix in DTYPES)
    if len(found) != 1:
        sys.exit(f"error: {len(found)} files match {folder}/{prefix}_{name}.*vecs, expected one")
    return found[0]


def rows(path, limit=None):
    """A view of the rows of a TEXMEX file, without their leading dimensions."""
    dtype = DTYPES[path.suffix]
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    dim = int(raw[:4].view("<i4")[0])
    table = raw.reshape(-1, 4 + dim * dtype.itemsize)
    if not (table[:, :4].copy().view("<i4") == dim).all():
        sys.exit(f"error: {path} mixes dimensions")
    table = table[:limit]
    return np.ascontiguousarray(table[:, 4:]).view(dtype)


def exact(base, queries, metric, k):
    """The true k nearest rows: candidates by float32, order by float64, ties to the smaller row."""
    def prepared(vectors):
        vectors = vectors.astype(np.float64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors

    coarse = prepared(base).astype(np.float32)
    norms = (coarse * coarse).sum(axis=1) if metric == "l2" else None
    spare = min(len(base), 4 * k + 32)
    truth = np.empty((len(queries), k), dtype="<i4")
    for start in range(0, len(queries), TRUTH_BLOCK):
        block = prepared(queries[start:start + TRUTH_BLOCK])
        scores = -(block.astype(np.float32) @ coarse.T)
        if metric == "l2":
            scores = 2 * scores + norms
        for n, near in enumerate(np.argpartition(scores, spare - 1, axis=1)[:, :spare]):
            near = np.sort(near)
            points = prepared(base[near])
            distance = ((points - block[n]) ** 2).sum(axis=1) if metric == "l2" else -(points @ block[n])
            truth[start + n] = near[np.argsort(distance, kind="stable")[:k]]
    return truth


def recall(found, truth):
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist())]))


class Hnswlib:
    name = "hnswlib"

    def __init__(self, args, base, queries, truth):
        self.args, self.base, self.queries, self.truth = args, base, queries, truth
        self.index = None

    def build(self):
        self.index = None
        index = hnswlib.Index(space=self.args.metric, dim=self.base.shape[1])
        index.init_index(len(self.base), M=self.args.m, ef_construction=self.args.ef_construction)
        started = time.perf_counter()
        index.add_items(self.base, num_threads=self.args.threads)
        self.index = index
        return {"seconds": time.perf_counter() - started}

    def search(self, ef):
        self.index.set_ef(ef)
        self.index.knn_query(self.queries, k=self.args.k, num_threads=1)
        started = time.perf_counter()
        found, _ = self.index.knn_query(self.queries, k=self.args.k, num_threads=1)
        seconds = time.perf_counter() - started
        return {"qps": len(self.queries) / seconds, "recall": recall(found, self.truth)}


class Lodestore:
    name = "lodestore"

    def __init__(self, args, work, base, queries, truth):
        self.args, self.store, self.base, self.queries, self.truth = args, work / "store", base, queries, truth

    def run(self, *words):
        command = [str(self.args.lodestore), *map(str, words), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(command)} ended with status {done.returncode}")
        return json.loads(done.stdout)

    def build(self):
        shutil.rmtree(self.store, ignore_errors=True)
        limit = ["--limit", self.args.limit] if self.args.limit else []
        return self.run(
            "import", self.store, "bench", "--input", self.base, "--metric", self.args.metric, "--m", self.args.m,
            "--ef-construction", self.args.ef_construction, "--threads", self.args.threads,
            "--durability", self.args.durability, *limit)

    def search(self, ef):
        limit = ["--limit", self.args.queries] if self.args.queries else []
        return self.run(
            "search", self.store, "bench", "--queries", self.queries, "--groundtruth", self.truth, "--k", self.args.k,
            "--ef", ef, "--threads", 1, "--warmup", *limit)


def at_recall(points, target):
    """Queries a second at the target recall: straight line in (recall, log qps) between the points around it."""
    points = sorted((p["recall"], p["qps"]) for p in points)
    for (low, low_qps), (high, high_qps) in zip(points, points[1:]):
        if low <= target <= high and high > low:
            share = (target - low) / (high - low)
            return math.exp((1 - share) * math.log(low_qps) + share * math.log(high_qps))
    return None


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(args, systems):
    builds = {system.name: [] for system in systems}
    for n in range(args.builds):
        for system in systems:
            builds[system.name].append(system.build())
            print(f"build {n + 1}/{args.builds} {system.name}: {builds[system.name][-1]['seconds']:.1f} s",
                  file=sys.stderr)
    searches = {system.name: {ef: [] for ef in args.ef} for system in systems}
    for n in range(args.rounds):
        for ef in args.ef:
            for system in systems:
                searches[system.name][ef].append(system.search(ef))
        print(f"search round {n + 1}/{args.rounds} done", file=sys.stderr)
    return builds, searches


def summary(args, builds, searches):
    def medians(name):
        return [{"ef": ef, **{key: statistics.median(run[key] for run in runs) for key in ("recall", "qps")}}
                for ef, runs in searches[name].items()]

    names = ("hnswlib", "lodestore")
    result = {"build_seconds": {n: statistics.median(run["seconds"] for run in builds[n]) for n in names},
              "search": {n: medians(n) for n in names}}
    result["close_seconds"] = statistics.median(run["close_seconds"] for run in builds["lodestore"])
    result["qps_at_recall"] = {"recall": TARGET, **{n: at_recall(result["search"][n], TARGET) for n in names}}
    return result


def table(result):
    ratio = lambda a, b: f"{a / b:8.2f}" if a and b else "       -"
    number = lambda x: f"{x:10.0f}" if x else "         -"
    print(f"{'':14}{'hnswlib':>20}{'lodestore':>20}   lodestore / hnswlib")
    build = result["build_seconds"]
    print(f"{'build, s':14}{build['hnswlib']:20.1f}{build['lodestore']:20.1f}   "
          f"{ratio(build['hnswlib'], build['lodestore'])} × the speed")
    print(f"{'close, s':14}{'(nothing)':>20}{result['close_seconds']:20.1f}   (once, after the last batch)")
    print(f"{'':14}{'recall':>10}{'qps':>10}{'recall':>10}{'qps':>10}")
    for a, b in zip(result["search"]["hnswlib"], result["search"]["lodestore"]):
        print(f"ef {a['ef']:<11}{a['recall']:10.4f}{number(a['qps'])}{b['recall']:10.4f}{number(b['qps'])}   "
              f"{ratio(b['qps'], a['qps'])} × the qps, recall {b['recall'] - a['recall']:+.4f}")
    at = result["qps_at_recall"]
    print(f"at recall {at['recall']:<4}{at['recall']:10.2f}{number(at['hnswlib'])}{at['recall']:10.2f}"
          f"{number(at['lodestore'])}   {ratio(at['lodestore'], at['hnswlib'])} × the qps")
    if not (at["hnswlib"] and at["lodestore"]):
        print(f"(the ef values do not lie on both sides of recall {at['recall']} for both)")


def main():
    args = arguments()
    base_file, query_file = part(args.dataset, "base"), part(args.dataset, "query")
    base = rows(base_file, args.limit).astype(np.float32)
    queries = rows(query_file, args.queries).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="lodestore-peers-", dir=args.work) as work:
        work = Path(work)
        if args.limit:
            truth_file, truth = work / "groundtruth.ivecs", exact(base, queries, args.metric, args.k)
            np.hstack([np.full((len(truth), 1), args.k, "<i4"), truth]).tofile(truth_file)
        else:
            truth_file = part(args.dataset, "groundtruth")
            truth = rows(truth_file, args.queries)[:, :args.k]
        systems = [Hnswlib(args, base, queries, truth), Lodestore(args, work, base_file, query_file, truth_file)]
        builds, searches = measure(args, systems)
    result = summary(args, builds, searches)
    title = f"{base_file.stem.removesuffix('_base')}: {len(base):,} × {base.shape[1]}, {args.metric}"
    print(f"{title}; {len(queries):,} queries, k {args.k}; M {args.m}, ef_construction {args.ef_construction}, "
          f"{args.threads} building threads, durability {args.durability}\n{cpu()}; medians of {args.builds} builds and "
          f"{args.rounds} search rounds")
    table(result)
    if args.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
        args.json.write_text(json.dumps(
            {"settings": settings, "cpu": cpu(), "base": len(base), "queries": len(queries), **result,
             "builds": builds, "searches": searches}, indent=1))


if __name__ == "__main__":
    main()
