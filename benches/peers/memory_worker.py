"""One contender of memory.py in a process of its own, so that a limit is on it alone.

Its argument is a job, one JSON object; it prints one JSON object. `build` makes the index, `search` opens it, searches
once for all queries untimed and once more, one a call, with as many threads as the job says.
"""

import json
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np


def status(name: str) -> int:
    """Bytes, as the system counts this process's memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def read_bytes() -> int:
    """Read from the disk so far."""
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes"))
    return int(line.split()[1])


class Hnswlib:
    """Reads all of its file into memory."""

    def __init__(self, job: dict):
        import hnswlib

        self.job = job
        self.index = hnswlib.Index(space="ip" if job["metric"] != "l2" else "l2", dim=job["dim"])

    def build(self, base: np.ndarray) -> None:
        self.index.init_index(max_elements=len(base), M=self.job["m"], ef_construction=self.job["ef_construction"])
        self.index.add_items(base, num_threads=self.job["threads"])
        self.index.save_index(self.job["path"])

    def open(self) -> None:
        self.index.load_index(self.job["path"])
        self.index.set_ef(self.job["ef"])

    def find(self, query: np.ndarray) -> np.ndarray:
        return self.index.knn_query(query, k=self.job["k"], num_threads=1)[0][0]


class Usearch:
    """Maps its file and searches there (`view`)."""

    def __init__(self, job: dict):
        from usearch.index import Index

        self.job = job
        self.index = Index(ndim=job["dim"], metric="ip" if job["metric"] != "l2" else "l2sq", dtype="f32",
                           connectivity=job["m"], expansion_add=job["ef_construction"])

    def build(self, base: np.ndarray) -> None:
        self.index.add(np.arange(len(base), dtype=np.uint64), base, threads=self.job["threads"])
        self.index.save(self.job["path"])

    def open(self) -> None:
        self.index.view(self.job["path"])
        self.index.expansion_search = self.job["ef"]

    def find(self, query: np.ndarray) -> np.ndarray:
        return self.index.search(query, self.job["k"], threads=1).keys


CLASSES = {"hnswlib": Hnswlib, "usearch": Usearch}


def once(contender: Hnswlib | Usearch, queries: np.ndarray, threads: int) -> tuple[float, np.ndarray, list]:
    """Seconds, the time of each query, and what was found."""
    times, found = np.zeros(len(queries)), [None] * len(queries)

    def work(first: int) -> None:
        for n in range(first, len(queries), threads):
            begun = time.perf_counter()
            found[n] = contender.find(queries[n])
            times[n] = time.perf_counter() - begun

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun, times, found


def search(contender: Hnswlib | Usearch, job: dict) -> dict:
    queries = np.load(Path(job["folder"]) / "queries.npy")
    idle = status("RssAnon")
    contender.open()
    once(contender, queries, job["threads"])
    read, faults = read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    seconds, times, found = once(contender, queries, job["threads"])
    read, faults = read_bytes() - read, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults
    truth = np.load(Path(job["folder"]) / "truth.npy")[:, :job["k"]]
    right = sum(len(np.intersect1d(np.asarray(keys, np.int64), row)) for keys, row in zip(found, truth))
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) * 1e6
    return {"qps": len(queries) / seconds, "p50_us": p50, "p99_us": p99, "p999_us": p999, "idle": idle,
            "recall": right / truth.size, "page_reads": read / 4096 / len(queries), "faults": faults / len(queries)}


def main() -> None:
    job = json.loads(sys.argv[1])
    contender = CLASSES[job["name"]](job)
    if job["action"] == "build":
        contender.build(np.load(Path(job["folder"]) / "base.npy", mmap_mode="r"))
        print(json.dumps({}))
    else:
        print(json.dumps(search(contender, job)))


if __name__ == "__main__":
    main()
