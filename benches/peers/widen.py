#!/usr/bin/env python3
"""Makes a data set of higher dimension out of a real one: each vector is joined with those that follow it in the file.

    python3 benches/peers/widen.py data/minilm30k data/minilm30k-768 --times 2

Every component is a real one, and every part of a vector is distributed as in the source; the last vectors are joined
with the first. Base and queries are treated alike. TARGET becomes a directory of TEXMEX files that compare.py reads,
with the exact nearest rows of each query.
"""

import argparse
import json
from pathlib import Path

from environment import DEFAULT_VENV, Trouble, say, start


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a data set as compare.py reads it")
    parser.add_argument("target", type=Path, help="the directory to make")
    parser.add_argument("--times", type=int, default=2, help="vectors that are joined into one [default: 2]")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the source says]")
    parser.add_argument("--k", type=int, default=100, help="true neighbours of each query to write [default: 100]")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N rows of the base")
    parser.add_argument("--queries", type=int, metavar="N", help="use the first N queries")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    args = parser.parse_args()
    if any(count is not None and count < 1 for count in (args.times, args.k, args.limit, args.queries)):
        parser.error("--times, --k, --limit and --queries are at least 1")
    return args


def widen(args: argparse.Namespace) -> None:
    # Not before the environment has been entered: they need numpy.
    import data
    import numpy as np

    def joined(rows: np.ndarray) -> np.ndarray:
        return np.hstack([np.roll(rows, -shift, axis=0) for shift in range(args.times)])

    base, queries, _, metric = data.read(args.source, args.metric, args.limit, args.queries)
    base, queries = joined(base), joined(queries)
    if len(base) <= args.k:
        raise Trouble(f"{len(base)} rows are too few for the nearest {args.k}")
    say(f"{len(base):,} × {base.shape[1]}: looking for the nearest {args.k} of {len(queries):,} queries")
    if metric == "cosine":
        truth = data.exact(data.unit(base, "base"), data.unit(queries, "queries"), metric, args.k)
    else:
        truth = data.exact(base, queries, metric, args.k)
    args.target.mkdir(parents=True, exist_ok=True)
    name = args.target.name
    data.write_vecs(args.target / f"{name}_base.fvecs", base)
    data.write_vecs(args.target / f"{name}_query.fvecs", queries)
    data.write_vecs(args.target / f"{name}_groundtruth.ivecs", truth)
    (args.target / "meta.json").write_text(json.dumps(
        {"name": name, "metric": metric, "dim": base.shape[1], "n_base": len(base), "n_query": len(queries),
         "gt_k": args.k, "source": f"{args.source.name}, each vector joined with its next {args.times - 1}"}, indent=1))
    say(f"wrote {args.target}")


def main() -> None:
    args = arguments()
    start(widen, args, args.source)


if __name__ == "__main__":
    main()
