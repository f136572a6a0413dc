"""Searches that end otherwise than after k: radius, groups, documents, streams, deadlines."""

import signal
import threading
import time

import numpy as np
import pytest
from conftest import exact

import lodestore


def test_within_finds_all_that_is_near(glosses, data):
    for row in range(0, 200, 25):
        distances = exact(data.vectors, data.queries[row], "cosine")
        radius = float(np.sort(distances)[30]) + 1e-6
        true = set(np.flatnonzero(distances <= radius).tolist())
        hits = glosses.within(data.queries[row], radius, exact=True)
        assert set(hits.keys.tolist()) == true and hits.complete
        assert (np.diff(hits.distances) >= 0).all() and hits.payloads == [data.texts[key] for key in hits.keys]
        walked = glosses.within(data.queries[row], radius, ef=200, payloads=False)
        assert set(walked.keys.tolist()) <= true and len(walked) >= 0.9 * len(true) and walked.payloads is None
        few = glosses.within(data.queries[row], radius, k=5, exact=True)
        assert few.keys.tolist() == hits.keys[:5].tolist()
        odd = glosses.within(data.queries[row], radius, exact=True, filter=lambda key: key % 2 == 1)
        assert odd.keys.tolist() == [key for key in hits.keys.tolist() if key % 2]
        assert odd.keys.tolist() == glosses.within(data.queries[row], radius, exact=True, filter=np.arange(5000) % 2 == 1).keys.tolist()
    assert len(glosses.within(data.queries[0], -1.0)) == 0
    assert len(glosses.within(data.queries[0], float("inf"))) == 5000
    with pytest.raises(lodestore.InputError, match="radius"):
        glosses.within(data.queries[0], float("nan"))
    with pytest.raises(lodestore.InputError, match="not both"):
        glosses.within(data.queries[0], 1.0, ef=5, recall=0.5)


def test_a_stream_gives_everything_once(glosses, data):
    stream = glosses.stream(data.queries[3], payloads=False)
    first = [next(stream) for _ in range(5)]
    assert [hit.key for hit in first] == glosses.search(data.queries[3], k=5, ef=200).keys.tolist()
    assert isinstance(first[0], lodestore.Hit) and first[0].payload is None
    more = stream.take(100)
    assert isinstance(more, lodestore.Hits) and len(more) == 100 and not set(more.keys.tolist()) & {hit.key for hit in first}
    rest = [hit.key for hit in stream]
    assert sorted([hit.key for hit in first] + more.keys.tolist() + rest) == list(range(5000))
    assert len(stream.take(3)) == 0 and next(stream, None) is None and stream.complete
    ordered = glosses.stream(data.queries[3], exact=True, filter=range(0, 5000, 7))
    keys = [hit.key for hit in ordered]
    distances = exact(data.vectors, data.queries[3], "cosine")
    assert sorted(keys) == list(range(0, 5000, 7)) and (np.diff(distances[keys]) > -1e-6).all()


def test_groups_and_documents(glosses, data):
    def initial(hit):
        assert hit.payload == data.texts[hit.key]
        return hit.payload[:1]

    for row in range(0, 200, 50):
        order = np.argsort(exact(data.vectors, data.queries[row], "cosine"), kind="stable").tolist()
        groups = glosses.group_by(data.queries[row], initial, k=4, most=3, exact=True)
        expected = {}
        for key in order:
            expected.setdefault(data.texts[key][:1], []).append(key)
            if len(expected) == 4:
                break
        assert [group.id for group in groups] == list(expected)
        assert [group.hits.keys.tolist() for group in groups] == [keys[:3] for keys in expected.values()]
        hits = glosses.search_documents(data.queries[row], 4, initial, exact=True)
        assert hits.keys.tolist() == sorted(sum(expected.values(), []), key=order.index)
    assert glosses.group_by(data.queries[0], initial, k=0) == []
    assert len(glosses.search_documents(data.queries[0], 0, initial)) == 0
    assert len(glosses.group_by(data.queries[0], lambda hit: 1, k=2, most=5000)[0].hits) == 5000
    with pytest.raises(ZeroDivisionError):
        glosses.group_by(data.queries[0], lambda hit: 1 / 0)
    with pytest.raises(TypeError, match="unhashable"):
        glosses.search_documents(data.queries[0], 3, lambda hit: [])


def test_deadlines_give_what_is_known(glosses, data):
    for timeout in (1e9, 1e300, float("inf")):
        hits = glosses.search(data.queries[0], timeout=timeout)
        assert hits.complete and len(hits) == 10 and hits[:3].complete
    over = glosses.search_many(data.queries, timeout=0.0)
    assert not over.complete and over.keys.shape == (200, 10)
    assert glosses.search_many(data.queries, timeout=60.0).complete
    assert not glosses.search(data.queries[0], timeout=0.0).complete
    assert not glosses.within(data.queries[0], 10.0, timeout=0.0, exact=True).complete
    stream = glosses.stream(data.queries[0], timeout=0.0)
    assert len(stream.take(10)) == 0 and not stream.complete
    for wrong in (-1.0, float("nan"), float("-inf")):
        with pytest.raises(lodestore.InputError, match="timeout"):
            glosses.search(data.queries[0], timeout=wrong)


def test_what_a_filter_raises_ends_a_stream_for_once(glosses, data):
    keys = []

    def fails(key):
        keys.append(key)
        if len(keys) == 3:
            raise LookupError(key)
        return True

    stream = glosses.stream(data.queries[0], filter=fails)
    assert len(stream.take(2)) == 2
    with pytest.raises(LookupError):
        next(stream)
    assert len(stream.take(2)) == 2


def test_a_stream_waits_for_nobody(glosses, data):
    asked = []

    def again(key):
        with pytest.raises(lodestore.InputError, match="being asked"):
            next(stream)
        asked.append(key)
        return True

    stream = glosses.stream(data.queries[0], filter=again)
    assert len(stream.take(3)) == 3 and len(asked) == 3
    shared, found, lock = glosses.stream(data.queries[1]), [], threading.Lock()

    def drain():
        while True:
            try:
                hit = next(shared, None)
            except lodestore.InputError:
                continue
            if hit is None:
                return
            with lock:
                found.append(hit.key)

    threads = [threading.Thread(target=drain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(5000))


class Stopped(Exception):
    pass


def test_signals_end_them_all(glosses, data):
    """A filter that keeps nothing, asked slowly, is as good as a large collection."""

    def stop(*_):
        raise Stopped

    def slow(key):
        time.sleep(0.001)
        return False

    before = signal.signal(signal.SIGALRM, stop)
    try:
        query = data.queries[0]
        for call in (
            lambda: glosses.within(query, 9.0, filter=slow),
            lambda: glosses.within(query, 9.0, filter=slow, exact=True),
            lambda: glosses.stream(query, filter=slow).take(1),
            lambda: next(glosses.stream(query, filter=slow)),
            lambda: glosses.group_by(query, lambda hit: hit.key, filter=slow),
            lambda: glosses.search_documents(query, 3, lambda hit: hit.key, filter=slow, exact=True),
        ):
            with pytest.raises(Stopped):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(glosses.search(query)) == 10


def test_streams_of_other_keys_and_closed_stores(tmp_path):
    vectors = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    store = lodestore.open(tmp_path / "s", durability="buffered")
    docs = store.collection("docs", dim=4, key=str)
    docs.put_many([f"{n // 10}/{n}" for n in range(50)], vectors)
    assert docs.within(vectors[7], 0.0).keys == ["0/7"]
    groups = docs.group_by(vectors[7], lambda hit: hit.key[0], k=5, exact=True)
    assert sorted(group.id for group in groups) == list("01234") and groups[0].id == "0"
    stream = docs.stream(vectors[7], filter=["1/11", "1/12"])
    assert sorted(hit.key for hit in stream) == ["1/11", "1/12"]
    stream = docs.stream(vectors[7])
    next(stream)
    store.close()
    with pytest.raises(lodestore.ClosedError):
        next(stream)


def test_scrubs(tmp_path, data):
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs", dim=384)
        docs.put_many(range(300), data.vectors[:300])
        assert store.stats().scrub is None
        store.checkpoint()
        report = store.scrub()
        assert report.ok and (report.slots, report.rows) == (300, 300) and abs(report.ended - time.time()) < 600
        assert store.stats().scrub == report
    vectors = next(path for path in (tmp_path / "s").rglob("*") if path.is_file() and "vectors" in path.name)
    blob = bytearray(vectors.read_bytes())
    # The last of the vectors, wherever the file's room ends.
    place = blob.rindex(data.vectors[299].tobytes()[:64])
    blob[place] ^= 1
    vectors.write_bytes(blob)
    with lodestore.open(tmp_path / "s", scrub=3600.0) as store:
        report = store.scrub()
        assert not report.ok and report.problem_count >= 1 and "vectors" in report.problems[0]
    with pytest.raises(lodestore.InputError, match="scrub"):
        lodestore.open(tmp_path / "s", scrub=-1.0)
