#!/usr/bin/env python3
"""lodestore beside other libraries for approximate search: recall and speed on one core, on the same data in one run.

    python3 benches/peers/compare.py data/sift1m
    python3 benches/peers/compare.py glove-100-angular.hdf5 --peers hnswlib,symphonyqg,lodestore --rounds 3

The first run makes a virtual environment and installs the peers into it. README.md beside this file says what is
compared, and how to read the result.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from environment import DEFAULT_VENV, ROOT, Trouble, cargo, install, machine, reason, say, start

PEERS = "hnswlib,symphonyqg,faiss-hnsw,faiss-sq8,usearch,svs,scann,lodestore,lodestore-none"
# Bytes that the AVX-512 kernels take in a nanosecond from the second-level cache, four vectors at a time
# (`cargo bench -p lodestore-benches --bench kernels`, l2_4 and dot_4 of 128 to 768 f32: 65 to 80).
KERNEL_BYTES_PER_NS = 70


def numbers(kind: type):
    def parse(text: str) -> list:
        return sorted({kind(part) for part in text.split(",")})
    parse.__name__ = f"list of {kind.__name__}"
    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of TEXMEX files, or an HDF5 file as ann-benchmarks has them")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], help="[default: what the data set says]")
    parser.add_argument("--k", type=int, default=10, help="neighbours to find [default: 10]")
    parser.add_argument("--recalls", type=numbers(float), default=[0.95, 0.99], metavar="R,R",
                        help="where speeds are compared [default: 0.95,0.99]")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of searching [default: 5]")
    parser.add_argument("--peers", default=PEERS, metavar="NAME,NAME",
                        help=f"who takes part; lodestore-X has codes X [default: {PEERS}]")
    parser.add_argument("--ef", type=numbers(int), metavar="N,N", help="measure these ef, instead of finding them")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N rows of the base")
    parser.add_argument("--queries", type=int, metavar="N", help="use the first N queries")
    parser.add_argument("--threads-build", type=int, default=2, metavar="N", help="threads that build [default: 2]")
    parser.add_argument("--core", type=int, help="the core that searches run on [default: the last one allowed]")
    parser.add_argument("--no-hugetlb", action="store_true", help="do not also run peers with huge pages from malloc")
    parser.add_argument("--lodestore", type=Path, metavar="FILE", help="the binary [default: built by cargo]")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "peers", metavar="DIR",
                        help="where NAME.json and NAME.svg go [default: target/peers]")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where indexes are written [default: a temporary one]")
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV, metavar="DIR", help=f"[default: {DEFAULT_VENV}]")
    limit = parser.add_argument_group("the latency limit of lodestore's searches")
    limit.add_argument("--hop-ns", type=float, default=150, help="waiting for the memory, a hop [default: 150]")
    limit.add_argument("--code-bits", type=int, help="bits a component of what `lodestore` compares [default: 4 or 8 if it "
                                                     "has codes, else 32]")
    limit.add_argument("--bytes-per-distance", type=float, help="[default: dimension × code bits / 8]")
    limit.add_argument("--kernel-ns", type=float,
                       help=f"a distance from the cache [default: bytes per distance / {KERNEL_BYTES_PER_NS}]")
    limit.add_argument("--around-ns", type=float, default=4, help="what a distance costs besides [default: 4]")
    limit.add_argument("--bandwidth", type=float, default=25, help="of the memory, for one core, GB/s [default: 25]")
    args = parser.parse_args()
    counts = (args.k, args.rounds, args.threads_build, args.limit, args.queries)
    if any(count is not None and count < 1 for count in counts):
        parser.error("--k, --rounds, --threads-build, --limit and --queries are at least 1")
    if not all(0 < recall < 1 for recall in args.recalls):
        parser.error("--recalls lie between 0 and 1")
    if args.ef and args.ef[0] < args.k:
        parser.error(f"ef {args.ef[0]} is below k {args.k}")
    return args


def binary(given: Path | None) -> str:
    """The release binary: the one given, or what cargo makes of the sources."""
    if given:
        if not given.is_file():
            raise Trouble(f"{given} does not exist")
        return str(given.resolve())
    return cargo("--package", "lodestore-cli")


def has_codes(program: str) -> bool:
    told = subprocess.run([program, "import", "--help"], capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise Trouble(f"`lodestore import --help` fails: {reason(told.stderr)}")
    return "--codes" in told.stdout


def compare(args: argparse.Namespace) -> None:
    # Not before the environment has been entered: they need numpy.
    import data
    import plot
    import report
    from contenders import PACKAGES, Job, is_lodestore, variants
    from curve import Limit
    from runner import Field, Runner

    names = list(dict.fromkeys(args.peers.split(",")))
    unknown = [name for name in names if name not in PACKAGES and not is_lodestore(name)]
    if unknown:
        raise Trouble(f"no contender is called {unknown[0]!r}; there are {', '.join(PACKAGES)}, lodestore, lodestore-X")
    about = machine()
    field, program, codes, in_names = Field(), "", False, []
    for name in names:
        try:
            if is_lodestore(name):
                program = program or binary(args.lodestore)
                codes = has_codes(program)
                if name != "lodestore" and not codes:
                    raise Trouble("this lodestore has no codes")
            for package in PACKAGES.get(name, []):
                install(package)
            in_names.append(name)
        except Trouble as trouble:
            field.leave_out(name, str(trouble))

    cores = os.sched_getaffinity(0)
    core = max(cores) if args.core is None else args.core
    if core not in cores:
        raise Trouble(f"core {core} is not among those allowed: {', '.join(map(str, sorted(cores)))}")
    say(f"reading {args.data}")
    dataset = data.load(args.data, args.metric, args.k, args.limit, args.queries)

    def limit_of(name: str) -> Limit:
        code = name.removeprefix("lodestore").removeprefix("-")
        own = 4 if dataset.base.shape[1] >= 256 and args.metric != "l2" else 8
        bits = int(code) if code.isdecimal() else 32 if code or not codes else own
        bits = args.code_bits if name == "lodestore" and args.code_bits else bits
        width = args.bytes_per_distance or dataset.base.shape[1] * bits / 8
        kernel = width / KERNEL_BYTES_PER_NS if args.kernel_ns is None else args.kernel_ns
        return Limit(args.hop_ns, kernel, args.around_ns, width, args.bandwidth)

    with tempfile.TemporaryDirectory(prefix="lodestore-peers-", dir=args.work) as work:
        folder = Path(work)
        dataset.save(folder)
        try:
            for name in in_names:
                for number, variant in enumerate(variants(name, not args.no_hugetlb)):
                    job = Job(name, variant.options, str(folder / f"{name}-{number}"), str(folder / "base.npy"),
                              str(folder / "queries.npy"), str(folder / "truth.ivecs"), dataset.metric, args.k,
                              args.threads_build, program)
                    field.add(Runner(job, variant, core, dataset.truth))
            field.prepare(args.recalls, args.ef)
            field.measure(args.rounds)
        finally:
            field.close()

    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    result = report.collect(
        field, dataset, args.recalls, limit_of, k=args.k, rounds=args.rounds, threads_build=args.threads_build,
        core=core, machine=about, settings=settings, lodestore_version=version_of(program) if program else None)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{dataset.name}.json").write_text(json.dumps(result, indent=1))
    (args.out / f"{dataset.name}.svg").write_text(plot.svg(result))
    print(report.markdown(result))
    say(f"wrote {dataset.name}.json and {dataset.name}.svg to {args.out}")


def version_of(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    args = arguments()
    start(compare, args, args.data)


if __name__ == "__main__":
    main()
