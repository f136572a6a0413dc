"""Nothing is kept that nobody holds."""

import gc
import resource
import sys
import tracemalloc

import numpy as np
import pytest

import lodestore


def resident():
    """Bytes of memory that the process has now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def calls(docs, store, data):
    query, matrix = data.queries[0], data.queries[:10]

    def refused():
        with pytest.raises(lodestore.InputError):
            docs.search(query[:-1])

    def batch():
        batch = store.batch()
        batch.put(docs, 1, query, b"x" * 1000)

    return {
        "search": lambda: docs.search(query, k=10),
        "search_many": lambda: docs.search_many(matrix, k=100),
        "of lists": lambda: docs.search_many(matrix[:5].tolist(), k=10),
        "get": lambda: docs.get(3),
        "keys": lambda: [key in docs for key in range(10)],
        "refused": refused,
        "batch": batch,
        "stats": lambda: (store.stats(), docs.info(), store.collections()),
        "collection": lambda: store.collection("docs"),
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_calls_keep_no_memory(store, data):
    docs = store.collection("docs", dim=384)
    docs.put_many(range(300), data.vectors[:300], [b"p" * 1000] * 300)
    for name, call in calls(docs, store, data).items():
        for _ in range(50):
            call()
        gc.collect()
        tracemalloc.start()
        before, traced = resident(), tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            call()
        gc.collect()
        grown, traced = resident() - before, tracemalloc.get_traced_memory()[0] - traced
        tracemalloc.stop()
        # A call that kept one array or payload of 1,000 bytes would have kept 300,000.
        assert traced < 50_000, f"{name}: Python holds {traced} bytes more"
        assert grown < 8 << 20, f"{name}: the process has {grown} bytes more"


def test_arrays_are_let_go(store, data):
    docs = store.collection("docs", dim=384)
    matrix, query, keys = data.vectors[:50].copy(), data.queries[0].copy(), np.arange(50, dtype=np.uint64)
    counts = [sys.getrefcount(array) for array in (matrix, query, keys)]
    for _ in range(3):
        docs.put_many(keys, matrix)
        docs.put(1, query)
        docs.search(query)
        docs.search_many(matrix)
        with pytest.raises(lodestore.DimensionError):
            docs.put_many(keys, query)
    assert [sys.getrefcount(array) for array in (matrix, query, keys)] == counts


def test_closed_stores_give_their_memory_back(data):
    def once():
        with lodestore.in_memory() as store:
            docs = store.collection("docs", dim=384)
            docs.put_many(range(200), data.vectors[:200])
            return docs.search(data.queries[0])

    for _ in range(3):
        once()
    before = resident()
    for _ in range(20):
        once()
    # One such store has about 1 MB.
    assert resident() - before < 10 << 20
