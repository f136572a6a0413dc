"""One class for each library. They run in a process of their own (worker.py), which is where a library is loaded.

A contender is a name on the command line; a variant is one way to run it. Variants compete, and at each recall the
better one stands for the contender.
"""

import gc
import importlib
import json
import math
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from environment import Trouble, reason

# The same graph for all: M links a node, which is 2 M on the level where the search spends its time. A library that
# counts that level's links calls it the degree.
M = 16
DEGREE = 2 * M
EF_CONSTRUCTION = 200
COLLECTION = "bench"


@dataclass(frozen=True)
class Job:
    """What a worker needs to know."""

    contender: str
    options: dict
    folder: str
    base: str
    queries: str
    truth: str
    metric: str
    k: int
    threads: int
    lodestore: str


@dataclass(frozen=True)
class Variant:
    """One way to run a contender: its label in the output, and what it passes to the class."""

    label: str = ""
    options: dict = field(default_factory=dict)
    huge: bool = False


def resident_bytes() -> int:
    """The memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a directory."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


class Library:
    """A peer that has its index in this process, and answers all queries in one call of its own, on one thread.

    So Python's cost per call does not count against it.
    """

    module = ""
    batch = False

    def __init__(self, job: Job):
        self.job = job
        # Vectors are of length 1 under cosine: L2 then orders them alike, and builds the same graph.
        self.ip = job.metric == "ip"
        self.queries = np.load(job.queries)
        self.lib = importlib.import_module(self.module)

    def make(self, base: np.ndarray) -> None:
        raise NotImplementedError

    def save(self, path: Path) -> None:
        raise NotImplementedError

    def find(self, ef: int) -> np.ndarray:
        raise NotImplementedError

    def build(self) -> dict:
        before = resident_bytes()
        base = np.load(self.job.base)
        started = time.perf_counter()
        self.make(base)
        seconds = time.perf_counter() - started
        del base
        gc.collect()
        held = resident_bytes() - before
        path = Path(self.job.folder) / "index"
        self.save(path)
        return {"seconds": seconds, "rss_bytes": held, "file_bytes": size_of(path)}

    def search(self, ef: int) -> dict:
        # Once untimed: between two turns the others have been through the caches.
        self.find(ef)
        started = time.perf_counter()
        ids = self.find(ef)
        seconds = time.perf_counter() - started
        path = Path(self.job.folder) / "ids.npy"
        np.save(path, ids)
        return {"seconds": seconds, "ids": str(path)}


class Hnswlib(Library):
    module = "hnswlib"

    def make(self, base: np.ndarray) -> None:
        self.index = self.lib.Index(space="ip" if self.ip else "l2", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCTION)
        self.index.add_items(base, num_threads=self.job.threads)

    def save(self, path: Path) -> None:
        self.index.save_index(str(path))

    def find(self, ef: int) -> np.ndarray:
        self.index.set_ef(ef)
        return self.index.knn_query(self.queries, k=self.job.k, num_threads=1)[0]


class Symphonyqg(Library):
    module = "rabitqlib"

    def make(self, base: np.ndarray) -> None:
        self.index = self.lib.SymqgIndex(base.shape[1], DEGREE, "ip" if self.ip else "l2")
        self.index.build(base, EF_CONSTRUCTION, self.job.threads)

    def save(self, path: Path) -> None:
        self.index.save(str(path))

    def find(self, ef: int) -> np.ndarray:
        return self.index.search(self.queries, self.job.k, ef, 1)[0]


class Faiss(Library):
    module = "faiss"

    def make(self, base: np.ndarray) -> None:
        metric = self.lib.METRIC_INNER_PRODUCT if self.ip else self.lib.METRIC_L2
        self.index = self.lib.index_factory(base.shape[1], f"HNSW{M},{self.job.options['storage']}", metric)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        self.lib.omp_set_num_threads(self.job.threads)
        self.index.train(base)
        self.index.add(base)
        self.lib.omp_set_num_threads(1)

    def save(self, path: Path) -> None:
        self.lib.write_index(self.index, str(path))

    def find(self, ef: int) -> np.ndarray:
        self.index.hnsw.efSearch = ef
        return self.index.search(self.queries, self.job.k)[1]


class Usearch(Library):
    module = "usearch.index"

    def make(self, base: np.ndarray) -> None:
        self.index = self.lib.Index(ndim=base.shape[1], metric="ip" if self.ip else "l2sq", dtype="f32",
                                    connectivity=M, expansion_add=EF_CONSTRUCTION)
        self.index.add(np.arange(len(base), dtype=np.uint64), base, threads=self.job.threads)

    def save(self, path: Path) -> None:
        self.index.save(str(path))

    def find(self, ef: int) -> np.ndarray:
        self.index.expansion_search = ef
        return self.index.search(self.queries, self.job.k, threads=1).keys


class Svs(Library):
    module = "svs"

    def make(self, base: np.ndarray) -> None:
        # With an inner product more is nearer, and the library wants an alpha below 1; 0.95 is what it advises.
        alpha, distance = (0.95, self.lib.DistanceType.MIP) if self.ip else (1.2, self.lib.DistanceType.L2)
        plan = self.lib.VamanaBuildParameters(
            alpha=alpha, graph_max_degree=DEGREE, window_size=EF_CONSTRUCTION)
        self.index = self.lib.Vamana.build(plan, base, distance, num_threads=self.job.threads)
        self.index.num_threads = 1

    def save(self, path: Path) -> None:
        path.mkdir()
        self.index.save(*(str(path / part) for part in ("config", "graph", "data")))

    def find(self, ef: int) -> np.ndarray:
        self.index.search_window_size = ef
        return self.index.search(self.queries, self.job.k)[0]


class Scann(Library):
    """No graph: of the leaves of a tree, ef in a thousand are searched by codes, and the best compared exactly."""

    module = "scann.scann_ops.py.scann_ops_pybind"
    batch = True

    def make(self, base: np.ndarray) -> None:
        # Dot products order unit vectors as L2 does, and allow ScaNN the rounding it is known for.
        dot = self.job.metric != "l2"
        self.leaves = max(1, round(math.sqrt(len(base))))
        self.reorder = self.job.options["reorder"] * self.job.k
        builder = self.lib.builder(base, self.job.k, "dot_product" if dot else "squared_l2")
        builder.set_n_training_threads(self.job.threads)
        builder.tree(self.leaves, self.leaves, training_sample_size=min(len(base), 250_000))
        builder.score_ah(2, anisotropic_quantization_threshold=0.2 if dot else math.nan)
        self.index = builder.reorder(self.reorder).build()

    def save(self, path: Path) -> None:
        path.mkdir()
        self.index.serialize(str(path))

    def find(self, ef: int) -> np.ndarray:
        leaves = min(self.leaves, max(1, round(self.leaves * ef / 1000)))
        return self.index.search_batched(
            self.queries, final_num_neighbors=self.job.k, pre_reorder_num_neighbors=self.reorder,
            leaves_to_search=leaves)[0]


class Lodestore:
    """The release binary. A search is a run of its own, which times the queries inside and calls one at a time."""

    batch = False

    def __init__(self, job: Job):
        self.job = job
        self.store = Path(job.folder) / "store"

    def run(self, *words: object) -> dict:
        command = [self.job.lodestore, *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Trouble(f"`lodestore {words[0]}` ended with status {done.returncode}: {reason(done.stderr)}")
        return json.loads(done.stdout)

    def build(self) -> dict:
        report = self.run(
            "import", self.store, COLLECTION, "--input", self.job.base, "--metric", self.job.metric, "--m", M,
            "--threads", self.job.threads, "--durability", "buffered",
            *self.job.options["import"])
        # Closing counts: only then has everything been done that the others do in memory.
        seconds = report["seconds"] + report["close_seconds"]
        return {"seconds": seconds, "file_bytes": size_of(self.store), "report": report}

    def search(self, ef: int) -> dict:
        report = self.run(
            "search", self.store, COLLECTION, "--queries", self.job.queries, "--groundtruth", self.job.truth,
            "--k", self.job.k, "--ef", ef, "--threads", 1, "--warmup", "--resident", *self.job.options["search"])
        return {**{name: report[name] for name in ("seconds", "recall", "hops", "distances")}, "report": report}


CLASSES = {"hnswlib": Hnswlib, "symphonyqg": Symphonyqg, "faiss-hnsw": Faiss, "faiss-sq8": Faiss, "usearch": Usearch,
           "svs": Svs, "scann": Scann}
PACKAGES = {"hnswlib": ["hnswlib"], "symphonyqg": ["rabitqlib"], "faiss-hnsw": ["faiss-cpu"],
            "faiss-sq8": ["faiss-cpu"], "usearch": ["usearch"], "svs": ["scalable-vs", "toml", "archspec"],
            "scann": ["scann", "protobuf"]}
# What takes its memory from malloc, or what a search writes to. SVS maps its own.
MALLOC = {"hnswlib", "symphonyqg", "faiss-hnsw", "faiss-sq8", "usearch", "scann"}
OPTIONS = {"faiss-hnsw": [("", {"storage": "Flat"})], "faiss-sq8": [("", {"storage": "SQ8"})],
           "scann": [("reorder 10k", {"reorder": 10}), ("reorder 40k", {"reorder": 40})]}


def is_lodestore(name: str) -> bool:
    return name == "lodestore" or name.startswith("lodestore-")


def class_of(name: str) -> type[Library] | type[Lodestore]:
    return Lodestore if is_lodestore(name) else CLASSES[name]


def variants(name: str, hugetlb: bool) -> list[Variant]:
    """The ways to run a contender. `lodestore-X` is a store made with `--codes X`. With an early stop, hard queries
    may take a larger ef than all would otherwise."""
    if is_lodestore(name):
        codes = name.removeprefix("lodestore").removeprefix("-")
        made = ["--codes", codes] if codes else []
        stop = ["--packed", "--stop-beyond", "1.2"]
        ways = [("", []), ("packed", ["--packed"]), ("packed, stop 1.2", stop)]
        return [Variant(label, options={"import": made, "search": way}) for label, way in ways]
    found = [Variant(label, options) for label, options in OPTIONS.get(name, [("", {})])]
    if hugetlb and name in MALLOC:
        found += [Variant(f"{v.label} hugetlb".strip(), v.options, huge=True) for v in found]
    return found
