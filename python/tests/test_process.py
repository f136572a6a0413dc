"""Processes that are interrupted or killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import lodestore

# Vectors for a child need no file: each is a key's square in 16 rotations.
COMMON = """
import sys, time
import numpy as np
import lodestore

def vectors(keys):
    return np.cos(np.outer(np.asarray(keys, np.float64) ** 2, 1 + np.arange(16))).astype(np.float32)

def say(*words):
    print(*words, flush=True)
"""
exec(COMMON)


def start(program, *arguments):
    # From whatever shell: some start their background children with Ctrl-C switched off.
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


LONG_PUT = """
import threading
store = lodestore.open(sys.argv[1], durability="buffered")
docs = store.collection("docs", dim=16, m=32, ef_construction=1000)
matrix = vectors(np.arange(100_000))
threading.Thread(target=lambda: (time.sleep(0.3), say("working")), daemon=True).start()
try:
    docs.put_many(np.arange(100_000), matrix)
    say("not stopped")
except KeyboardInterrupt:
    say("stopped", len(docs))
report = store.verify()
say("ok" if report.ok else report)
store.close()
"""

LONG_SEARCH = """
import threading
store = lodestore.in_memory()
docs = store.collection("docs", dim=16)
docs.put_many(np.arange(2000), vectors(np.arange(2000)))
queries = np.tile(vectors(np.arange(1000)), (200, 1))
threading.Thread(target=lambda: (time.sleep(0.3), say("working")), daemon=True).start()
try:
    docs.search_many(queries, k=10, ef=1000, threads=int(sys.argv[1]))
    say("not stopped")
except KeyboardInterrupt:
    say("stopped")
hits = docs.search_many(queries[:10], k=1)
say("ok" if hits.keys.ravel().tolist() == list(range(10)) else hits.keys)
"""


def rest(child):
    """What a child still says, and how it ends. (communicate() would miss lines that readline() has read ahead.)"""
    with child.stdout:
        lines = child.stdout.read()
    return lines, child.wait(60)


def interrupt(child):
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGINT)
    told = time.monotonic()
    line = child.stdout.readline()
    print(f"{line.strip()} after {time.monotonic() - told:.3f} s")
    return line


def test_ctrl_c_stops_put_many_and_leaves_the_store_sound(tmp_path):
    child = start(LONG_PUT, tmp_path)
    said, count = interrupt(child).split()
    assert said == "stopped" and 0 < int(count) < 100_000
    assert rest(child) == ("ok\n", 0)
    with lodestore.open(tmp_path) as store:
        docs = store.collection("docs")
        assert len(docs) == int(count) and np.array_equal(docs.get(0).vector, vectors([0])[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_search_many(threads):
    child = start(LONG_SEARCH, threads)
    assert interrupt(child) == "stopped\n"
    assert rest(child) == ("ok\n", 0)


def test_a_handler_that_does_not_raise_does_not_stop(store):
    """As a server that only notes the signal."""
    docs = store.collection("docs", dim=16)
    docs.put_many(np.arange(1000), vectors(np.arange(1000)))
    noted = []
    previous = signal.signal(signal.SIGALRM, lambda *_: noted.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        queries = np.tile(vectors(np.arange(1000)), (3, 1))
        hits = docs.search_many(queries, k=1, ef=500)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert noted and (hits.keys.ravel() == np.tile(np.arange(1000), 3)).all()


WRITER = """
store = lodestore.open(sys.argv[1], durability=sys.argv[2])
docs = store.collection("docs", dim=16)
key = len(docs)
while True:
    with store.batch() as batch:
        for row in vectors([key, key + 1]):
            batch.put(docs, key, row, b"%d" % key)
            key += 1
    say(key)
"""


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_killed_writer_loses_nothing_acknowledged(tmp_path, durability):
    acknowledged = 0
    for kill in range(3):
        child = start(WRITER, tmp_path, durability)
        for _ in range(50 * (kill + 1)):
            acknowledged = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        lines, status = rest(child)
        # The last line may be half a line.
        acknowledged = max([acknowledged, *map(int, lines.split("\n")[:-1])])
        assert status == -signal.SIGKILL
        with lodestore.open(tmp_path) as store:
            docs = store.collection("docs")
            assert len(docs) >= acknowledged and len(docs) % 2 == 0, "batches are whole"
            expected = vectors(np.arange(len(docs)))
            for key in range(len(docs)):
                record = docs.get(key)
                assert record.payload == b"%d" % key and np.array_equal(record.vector, expected[key])
            assert (docs.search_many(expected, k=1, ef=100).distances == 0).all()
            assert store.verify().ok
