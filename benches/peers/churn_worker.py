"""The job of churn.py for the peers, in a process of its own: the counterpart of `benches/src/bin/churn.rs`, with the
same job.

Its argument is a job, one JSON object; each stop prints a JSON object on a line of its own. Files of vectors hold
little-endian f32, row after row; files of changes and of records little-endian u32.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from churn_plan import INSERT, REMOVE, UPDATE

OWN_ROWS = 10_000


class Hnswlib:
    """Slots of removed records are taken by new ones; an update changes its node in place."""

    def __init__(self, job: dict):
        self.job = job
        self.index = importlib.import_module("hnswlib").Index(space="ip" if job["metric"] == "ip" else "l2",
                                                              dim=job["dim"])
        self.index.init_index(max_elements=job["stored"], M=job["m"], ef_construction=job["ef_construction"],
                              allow_replace_deleted=True)
        self.index.set_ef(job["ef"])

    def add(self, keys: np.ndarray, vectors: np.ndarray, threads: int) -> None:
        self.index.add_items(vectors, keys, num_threads=threads)

    def remove(self, key: int) -> None:
        self.index.mark_deleted(key)

    def insert(self, key: np.ndarray, vector: np.ndarray) -> None:
        self.index.add_items(vector, key, num_threads=1, replace_deleted=True)

    def update(self, key: np.ndarray, vector: np.ndarray) -> None:
        # With `replace_deleted` the key would get a second node.
        self.index.add_items(vector, key, num_threads=1)

    def find(self, vectors: np.ndarray, k: int) -> np.ndarray:
        return self.index.knn_query(vectors, k=k, num_threads=1)[0]

    def save(self, path: Path) -> None:
        self.index.save_index(str(path))


class Usearch:
    """An update is a removal and an addition."""

    def __init__(self, job: dict):
        self.job = job
        self.index = importlib.import_module("usearch.index").Index(
            ndim=job["dim"], metric="ip" if job["metric"] == "ip" else "l2sq", dtype="f32", connectivity=job["m"],
            expansion_add=job["ef_construction"], expansion_search=job["ef"])

    def add(self, keys: np.ndarray, vectors: np.ndarray, threads: int) -> None:
        self.index.add(keys, vectors, threads=threads)

    def remove(self, key: int) -> None:
        self.index.remove(key)

    def insert(self, key: np.ndarray, vector: np.ndarray) -> None:
        self.index.add(key, vector, threads=1)

    def update(self, key: np.ndarray, vector: np.ndarray) -> None:
        self.index.remove(int(key[0]))
        self.index.add(key, vector, threads=1)

    def find(self, vectors: np.ndarray, k: int) -> np.ndarray:
        found = self.index.search(vectors, k, threads=1)
        keys = found.keys.astype(np.uint64).reshape(len(vectors), k)
        # Rows that found less are not filled up with anything.
        keys[np.arange(k) >= np.reshape(found.counts, (-1, 1))] = np.uint64(2**64 - 1)
        return keys

    def save(self, path: Path) -> None:
        self.index.save(str(path))


LIBRARIES = {"hnswlib": Hnswlib, "usearch": Usearch}


class Churn:
    def __init__(self, job: dict):
        self.job = job
        self.folder = Path(job["folder"])
        self.rows = np.memmap(job["rows"], "<f4", mode="r").reshape(-1, job["dim"])
        self.queries = np.fromfile(job["queries"], "<f4").reshape(-1, job["dim"])

    def build(self, keys: np.ndarray, rows: np.ndarray):
        """An index of these keys and rows, by all cores; and the seconds it took."""
        vectors = self.rows[rows]
        os.sched_setaffinity(0, self.job["cores"])
        index = LIBRARIES[self.job["library"]](self.job)
        started = time.perf_counter()
        index.add(keys, vectors, len(self.job["cores"]))
        seconds = time.perf_counter() - started
        os.sched_setaffinity(0, self.job["cores"][:1])
        return index, seconds

    def change(self, index, changes: np.ndarray) -> list[float | None]:
        """Makes changes, one a call; the mean microseconds of each kind."""
        spent, counts = [0.0] * 3, [0] * 3
        work = {INSERT: index.insert, UPDATE: index.update}
        for kind, key, row in changes.tolist():
            # What is left of Python is one call.
            if kind == REMOVE:
                started = time.perf_counter()
                index.remove(key)
            else:
                label, vector, call = np.array([key], np.uint64), self.rows[row:row + 1], work[kind]
                vector = np.array(vector)
                started = time.perf_counter()
                call(label, vector)
            spent[kind] += time.perf_counter() - started
            counts[kind] += 1
        return [1e6 * total / count if count else None for total, count in zip(spent, counts)]

    def own(self, index, rows: np.ndarray, name: str) -> None:
        parts = [index.find(self.rows[rows[at:at + OWN_ROWS]], 1) for at in range(0, len(rows), OWN_ROWS)]
        np.concatenate(parts).astype("<u8").tofile(self.folder / name)

    def found(self, index, name: str) -> None:
        index.find(self.queries, self.job["k"]).astype("<u8").tofile(self.folder / name)

    def speed(self, index) -> float:
        started = time.perf_counter()
        index.find(self.queries, self.job["k"])
        return len(self.queries) / (time.perf_counter() - started)

    def size(self, index) -> int:
        path = self.folder / "index"
        index.save(path)
        size = path.stat().st_size
        path.unlink()
        return size

    def run(self) -> None:
        job = self.job
        changes = np.fromfile(job["changes"], "<u4").reshape(-1, 3)
        first = np.arange(job["stored"], dtype=np.uint64)
        index, seconds = self.build(first, first.astype(np.int64))
        tell("build", seconds=seconds)
        done = 0
        for number, stop in enumerate(job["stops"]):
            us = self.change(index, changes[done:stop["after"]])
            done = stop["after"]
            told: dict = {"bytes": self.size(index), "remove_us": us[REMOVE], "insert_us": us[INSERT],
                          "update_us": us[UPDATE]}
            live = np.fromfile(stop["live"], "<u4").reshape(-1, 2)
            rows = live[:, 1].astype(np.int64)
            self.own(index, rows, f"own-{number}")
            indexes = [index]
            if stop["fresh"]:
                fresh, seconds = self.build(live[:, 0].astype(np.uint64), rows)
                self.own(fresh, rows, f"fresh-own-{number}")
                self.found(fresh, f"fresh-found-{number}")
                told["fresh"] = {"seconds": seconds, "bytes": self.size(fresh)}
                indexes.append(fresh)
            self.found(index, f"found-{number}")
            speeds = [[self.speed(index) for index in indexes] for _ in range(job["rounds"])]
            told["qps"] = [speed[0] for speed in speeds]
            if stop["fresh"]:
                told["fresh"]["qps"] = [speed[1] for speed in speeds]
            tell("stop", **told)


def tell(run: str, **told: object) -> None:
    print(json.dumps({"run": run, **told}), flush=True)


def main() -> None:
    try:
        Churn(json.loads(sys.argv[1])).run()
    except Exception as error:  # The library may raise anything, and what it was belongs into one line.
        sys.exit(f"error: {type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
