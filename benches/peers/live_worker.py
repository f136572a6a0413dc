"""One job of hnswlib, in a process of its own: the counterpart of `benches/src/bin/live.rs`, with the same jobs.

Its argument is a job, one JSON object; each run of it prints a JSON object on a line of its own. Files of vectors hold
little-endian f32, row after row.
"""

import gc
import json
import os
import sys
import threading
import time
from pathlib import Path

import hnswlib
import numpy as np

# Queries of one call, where threads call on their own: few enough that they end together, many enough that Python's
# part does not show.
CALL_ROWS = 100


def rows_of(path: str, dim: int) -> np.ndarray:
    return np.fromfile(path, "<f4").reshape(-1, dim)


def empty(job: dict):
    # Vectors are of length 1 under cosine: L2 then orders them alike, and builds the same graph.
    return hnswlib.Index(space="ip" if job["metric"] == "ip" else "l2", dim=job["dim"])


def load(job: dict, room: int = 0):
    """The index of an earlier `build`, with room for more rows: it does not grow by itself."""
    index = empty(job)
    index.load_index(job["index"], max_elements=job["rows_stored"] + room)
    index.set_ef(job["ef"])
    return index


def tell(run: str, **told: object) -> None:
    print(json.dumps({"run": run, **told}), flush=True)


def anonymous_bytes() -> int:
    """The memory of this process that belongs to no file; the library's own code would only blur a small index."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def build(job: dict) -> None:
    base = rows_of(job["base"], job["dim"])
    index = empty(job)
    started = time.perf_counter()
    index.init_index(max_elements=len(base), M=job["m"], ef_construction=job["ef_construction"])
    index.add_items(base, num_threads=job["threads"])
    seconds = time.perf_counter() - started
    index.save_index(job["index"])
    tell("build", seconds=seconds)


def find(job: dict) -> None:
    found, _ = load(job).knn_query(rows_of(job["queries"], job["dim"]), k=job["k"], num_threads=len(job["cores"]))
    found.astype("<u8").tofile(job["ids"])
    tell("find")


def memory(job: dict) -> None:
    os.sched_setaffinity(0, job["cores"][:1])
    queries = rows_of(job["queries"], job["dim"])
    gc.collect()
    before = anonymous_bytes()
    index = load(job)
    index.knn_query(queries, k=job["k"], num_threads=1)
    gc.collect()
    held = anonymous_bytes() - before
    tell("memory", bytes=held, anonymous_bytes=held)


def write(job: dict) -> None:
    os.sched_setaffinity(0, job["cores"][:1])
    puts, stored = job["puts"], job["rows_stored"]
    fresh = rows_of(job["rows"], job["dim"])[:2 * puts]
    index = load(job, room=puts)
    index.knn_query(rows_of(job["queries"], job["dim"]), k=job["k"], num_threads=1)
    apart = max(1, stored // puts)
    labels = {"put": [job["key"] + n for n in range(puts)], "update": [n * apart for n in range(puts)]}
    for number, run in enumerate(labels):
        # Arrays are made beforehand: what is left of Python is one call.
        calls = [(fresh[number * puts + n][np.newaxis], np.array([label])) for n, label in enumerate(labels[run])]
        us = np.empty(puts)
        for n, (row, label) in enumerate(calls):
            started = time.perf_counter()
            index.add_items(row, label, num_threads=1)
            us[n] = 1e6 * (time.perf_counter() - started)
        p50, p99 = np.percentile(us, [50, 99], method="inverted_cdf")
        tell(run, rows=puts, mean_us=us.mean(), p50_us=p50, p99_us=p99, max_us=us.max())


def readers(job: dict) -> None:
    queries = rows_of(job["queries"], job["dim"])
    index = load(job)

    def search(rows: np.ndarray, threads: int) -> int:
        index.knn_query(rows, k=job["k"], num_threads=threads)
        return len(rows)

    # Once untimed, so that the index has been through the caches.
    search(queries, len(job["cores"]))
    for count in (1, 2):
        # The library's threads are kept to these cores together, as they inherit it.
        os.sched_setaffinity(0, job["cores"][:count])
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < job["seconds"]:
            done += search(queries, count)
        tell(f"many-{count}", qps=done / (time.perf_counter() - started))
    for count in (1, 2):
        tell(f"own-{count}", qps=independent(job, queries, search, count))


def independent(job: dict, queries: np.ndarray, search, count: int) -> float:
    """Searches a second of threads that call on their own, each on its own core. The library lets go of Python's lock
    while it searches."""
    start, speeds = threading.Barrier(count), [0.0] * count

    def one(number: int) -> None:
        os.sched_setaffinity(0, {job["cores"][number]})
        # Each begins elsewhere: what the one has just read is of no use to the other.
        rows = np.roll(queries, -(number * len(queries) // count), axis=0)
        calls = [rows[at:at + CALL_ROWS] for at in range(0, len(rows), CALL_ROWS)]
        start.wait()
        started, done, turn = time.perf_counter(), 0, 0
        while time.perf_counter() - started < job["seconds"]:
            done += search(calls[turn % len(calls)], 1)
            turn += 1
        speeds[number] = done / (time.perf_counter() - started)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(speeds):
        raise RuntimeError("a searching thread failed")
    return sum(speeds)


def main() -> None:
    job = json.loads(sys.argv[1])
    jobs = {"build": build, "find": find, "memory": memory, "write": write, "readers": readers}
    try:
        jobs[job["do"]](job)
    except Exception as error:  # The library may raise anything, and what it was belongs into one line.
        sys.exit(f"error: {type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
