"""Several Python threads at once."""

import threading

import numpy as np

import lodestore


def run(*jobs):
    """Runs the jobs, each in a thread; raises what one of them raised."""
    errors = []

    def guarded(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_searches_run_while_another_thread_writes(store, data):
    docs = store.collection("docs", dim=384, metric="cosine")
    docs.put_many(range(200), data.vectors[:200], data.texts[:200])
    done = threading.Event()
    searches = 0

    def write():
        try:
            docs.put_many(range(200, 1500), data.vectors[200:1500], data.texts[200:1500])
            for key in range(1500, 1550):
                docs.put(key, data.vectors[key], data.texts[key])
                docs.remove(key - 1400)
        finally:
            done.set()

    def read():
        nonlocal searches
        while not done.is_set():
            # Never removed, and there from the start.
            key = searches % 100
            hits = docs.search(data.vectors[key], k=3, ef=100)
            assert hits[0].key == key and hits[0].payload == data.texts[key]
            assert (docs.search_many(data.vectors[:20], k=1, ef=100).keys.ravel() == np.arange(20)).all()
            searches += 1

    run(write, read, read)
    assert searches > 0 and len(docs) == 1500
    assert store.verify().ok


def test_other_threads_run_while_a_call_works(glosses, data):
    """If search_many held the GIL, nothing could be counted between its start and its end."""
    counted, inside = 0, threading.Event()
    ended = threading.Event()

    def count():
        nonlocal counted
        inside.wait()
        while not ended.is_set():
            counted += 1

    def search():
        nonlocal counted
        inside.set()
        counted = 0
        glosses.search_many(np.tile(data.queries, (10, 1)), k=10, ef=200)
        ended.set()

    run(count, search)
    assert counted > 1000


def test_writers_of_one_collection_do_not_lose_each_other(store, data):
    docs = store.collection("docs", dim=384)

    def writer(first):
        def write():
            for at in range(first, 400, 4):
                docs.put(at, data.vectors[at], data.texts[at])

        return write

    run(*(writer(first) for first in range(4)))
    assert len(docs) == 400
    assert all(docs.get(key).payload == data.texts[key] for key in range(400))


def test_a_store_may_be_closed_under_running_calls(data):
    store = lodestore.in_memory()
    docs = store.collection("docs", dim=384)
    docs.put_many(range(500), data.vectors[:500])
    started = threading.Event()

    def search():
        try:
            while True:
                docs.search_many(data.queries, k=5)
                started.set()
        except lodestore.ClosedError:
            started.set()

    def close():
        started.wait()
        store.close()

    run(search, search, close)
