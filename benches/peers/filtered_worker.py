"""The job of filtered.py for the peers, in a process of its own: the counterpart of `benches/src/bin/filtered.rs`, with
the same job.

Its argument is a job, one JSON object; each measurement prints a JSON object on a line of its own. Files of vectors hold
little-endian f32, row after row; files of keys and of what was found little-endian u32.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

# A filter that is a callable of Python can take a second for a query: it is timed for so long at least.
SECONDS = 5.0
EF_CONSTRUCTION = 200


class Hnswlib:
    """Its filter is a callable, called for each candidate."""

    how = "callable"
    exact = None

    def __init__(self, job: dict):
        self.job = job
        lib = importlib.import_module("hnswlib")
        self.index = lib.Index(space="ip" if job["metric"] == "ip" else "l2", dim=job["dim"])

    def build(self, rows: np.ndarray) -> None:
        self.index.init_index(max_elements=len(rows), M=self.job["m"], ef_construction=EF_CONSTRUCTION)
        self.index.add_items(rows)
        self.index.save_index(self.job["store"])

    def load(self) -> None:
        self.index.load_index(self.job["store"])

    def filter(self, kept: np.ndarray | None, rows: int):
        if kept is None:
            return None
        bits = bytearray(rows)
        np.frombuffer(bits, np.uint8)[kept] = 1
        return lambda label: bits[label]

    def find(self, queries: np.ndarray, k: int, ef: int, kept) -> np.ndarray:
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k=k, num_threads=1, filter=kept)[0]


class Faiss:
    """HNSW on f32 with a bitmap; a flat index with the same one compares with all that are kept."""

    how = "IDSelectorBitmap"

    def __init__(self, job: dict):
        self.job = job
        self.lib = importlib.import_module("faiss")
        self.lib.omp_set_num_threads(os.cpu_count() or 1)

    def build(self, rows: np.ndarray) -> None:
        metric = self.lib.METRIC_INNER_PRODUCT if self.job["metric"] == "ip" else self.lib.METRIC_L2
        self.index = self.lib.index_factory(rows.shape[1], f"HNSW{self.job['m']},Flat", metric)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        self.index.add(rows)
        self.lib.write_index(self.index, self.job["store"])

    def load(self) -> None:
        self.index = self.lib.read_index(self.job["store"])
        self.flat = self.lib.downcast_index(self.index.storage)
        self.lib.omp_set_num_threads(1)

    def filter(self, kept: np.ndarray | None, rows: int):
        if kept is None:
            return None
        bits = np.zeros(rows, bool)
        bits[kept] = True
        return self.lib.IDSelectorBitmap(np.packbits(bits, bitorder="little"))

    def find(self, queries: np.ndarray, k: int, ef: int, kept) -> np.ndarray:
        wanted = self.lib.SearchParametersHNSW(efSearch=ef)
        if kept is not None:
            wanted.sel = kept
        return self.index.search(queries, k, params=wanted)[1]

    def exact(self, queries: np.ndarray, k: int, kept) -> np.ndarray:
        return self.flat.search(queries, k, params=self.lib.SearchParameters(sel=kept))[1]


def measure(find, queries: np.ndarray, rounds: int) -> dict:
    """Queries one after the other, in one call each; so many of them as take five seconds, or all."""
    found, spent = [], 0.0
    for query in queries:
        started = time.perf_counter()
        found.append(find(query[None]))
        spent += time.perf_counter() - started
        if spent > SECONDS:
            break
    count, qps = len(found), []
    for _ in range(rounds):
        started = time.perf_counter()
        find(queries[:count])
        qps.append(count / (time.perf_counter() - started))
    return {"qps": qps, "found": np.concatenate(found)}


def main() -> None:
    job = json.loads(sys.argv[1])
    library = {"hnswlib": Hnswlib, "faiss": Faiss}[job["library"]](job)
    rows = np.memmap(job["base"], "<f4", "r").reshape(-1, job["dim"])
    queries = np.fromfile(job["queries"], "<f4").reshape(-1, job["dim"])
    if not Path(job["store"]).exists():
        started = time.perf_counter()
        library.build(np.ascontiguousarray(rows))
        print(json.dumps({"run": "build", "seconds": time.perf_counter() - started}), flush=True)
    library.load()
    os.sched_setaffinity(0, [job["core"]])
    for asked in job["filters"]:
        kept = None if asked["keys"] is None else np.fromfile(asked["keys"], "<u4")
        keeps = library.filter(kept, len(rows))
        ways = [(library.how, ef, lambda part, ef=ef: library.find(part, job["k"], ef, keeps)) for ef in job["ef"]]
        if library.exact and kept is not None:
            ways.append(("exact", 0, lambda part: library.exact(part, job["k"], keeps)))
        for how, ef, find in ways:
            told = {"run": "search", "filter": asked["name"], "how": how, "ef": ef}
            try:
                told |= measure(find, queries if ef else queries[:50], job["rounds"])
                path = Path(job["folder"]) / f"{job['library']}-{asked['name']}-{how}-{ef}"
                # −1 where there are fewer.
                told.pop("found").astype("<i8").astype("<u4").tofile(path)
                told["found"] = str(path)
            except RuntimeError as error:
                told |= {"failed": f"fails: {str(error).splitlines()[0]}"}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
