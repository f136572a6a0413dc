"""Random calls of the whole Python API: sensible ones are compared with a model, senseless ones must raise what they should.

LODESTORE_CALLS_SECONDS makes it run longer (3 seconds each otherwise), LODESTORE_SEED chooses the calls. Longer runs also
look at the memory that the process takes.
"""

import gc
import os
import pickle
import time

import numpy as np
import pytest
from conftest import exact

import lodestore
from lodestore import hnswlib

SECONDS = float(os.environ.get("LODESTORE_CALLS_SECONDS", 3))
# What the callable among the junk raises is raised.
ALLOWED = (ZeroDivisionError, TypeError, ValueError, RuntimeError, OverflowError, MemoryError, OSError, KeyError, IndexError)
DIM = 6


def seeded(test):
    seed = int(os.environ.get("LODESTORE_SEED", time.time_ns() % 1_000_000_007))
    print(f"{test}: LODESTORE_SEED={seed}")
    return np.random.default_rng(seed)


def resident():
    """Bytes of memory that the process takes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Looks at the memory once a round, and complains if it grows and grows."""

    def __init__(self):
        self.seen, self.until = [], time.monotonic() + SECONDS

    def more(self):
        gc.collect()
        self.seen.append(resident())
        return time.monotonic() < self.until

    def check(self):
        # The first tenth warms up.
        seen = self.seen[len(self.seen) // 10 :]
        if SECONDS >= 60 and len(seen) > 20:
            third = len(seen) // 3
            early, late = max(seen[:third]), max(seen[-third:])
            assert late < early * 1.25 + (64 << 20), f"{early} bytes, then {late}"


def junk(rng):
    """Something that is no sensible argument of most calls."""
    choices = [
        None, "x", b"x", -1, 2**64, 2**70, 1.5, float("nan"), [], [[]], {}, object(), np.nan, True, int,
        np.zeros((0, DIM)), np.zeros((2, DIM + 1)), np.full((1, DIM), np.nan), np.full(DIM, np.inf), np.full(DIM, 3e38),
        np.zeros((1, 1, DIM)), np.array(["a"]), np.zeros(DIM, complex), np.zeros(3, object), np.float64(2), np.int8(-3),
        [[1, 2], [3]], range(3), lambda *_: 1 / 0, np.zeros(5, bool), np.array(7), "l2", np.zeros((3, DIM))[:, ::-1],
    ]  # fmt: skip
    return choices[rng.integers(len(choices))]


def senseless(rng, call, sensible, names):
    """Calls with some of the arguments replaced."""
    arguments = [junk(rng) if rng.random() < 0.6 else one for one in sensible]
    named = {name: junk(rng) for name in names if rng.random() < 0.15}
    try:
        call(*arguments, **named)
    except ALLOWED:
        pass


def streamed(docs, query, **named):
    """A stream, and some of it."""
    stream = docs.stream(query, **named)
    return stream.take(3), next(stream, None), stream.complete


class Indexed:
    """An index of the drop-in, and what it must hold."""

    def __init__(self, rng, tmp_path):
        self.rng, self.path = rng, tmp_path / "index"
        self.space = ["l2", "ip", "cosine"][rng.integers(3)]
        self.replace = bool(rng.integers(2))
        self.index = hnswlib.Index(self.space, DIM)
        self.index.init_index(0, M=int(rng.integers(2, 20)), ef_construction=40, allow_replace_deleted=self.replace)
        self.index.set_ef(400)
        self.live, self.deleted = {}, {}

    def vectors(self, count):
        return self.rng.normal(size=(count, DIM)).astype(np.float32)

    def some(self, of):
        return int(self.rng.choice(list(of))) if of else None

    def add(self):
        count = int(self.rng.integers(1, 40))
        labels = self.rng.choice(300, count, replace=False)
        back = set(labels.tolist()) & self.deleted.keys()
        vectors = self.vectors(count)
        if back and self.replace:
            with pytest.raises(RuntimeError, match="^Can't use addPoint"):
                self.index.add_items(vectors, labels)
            return
        self.index.add_items(vectors, labels)
        for label, vector in zip(labels.tolist(), vectors, strict=True):
            self.deleted.pop(label, None)
            self.live[label] = vector

    def replace_deleted(self):
        if not self.replace:
            return
        label, vector = int(self.rng.integers(300, 1000)), self.vectors(1)
        before = set(self.index.get_ids_list())
        self.index.add_items(vector, [label], replace_deleted=True)
        gone = before - set(self.index.get_ids_list())
        if label not in self.live and label not in self.deleted and self.deleted:
            assert len(gone) == 1
        for one in gone:
            del self.deleted[one]
        self.deleted.pop(label, None)
        self.live[label] = vector[0]

    def mark(self):
        label = self.some(self.live)
        if label is not None:
            self.index.mark_deleted(label)
            self.deleted[label] = self.live.pop(label)

    def unmark(self):
        label = self.some(self.deleted)
        if label is not None:
            self.index.unmark_deleted(label)
            self.live[label] = self.deleted.pop(label)

    def search(self):
        if not self.live:
            return
        labels, vectors = np.array(list(self.live)), np.stack(list(self.live.values()))
        kept = self.rng.random(1000) < self.rng.random()
        filter = [None, kept, np.flatnonzero(kept), lambda label: bool(kept[label])][self.rng.integers(4)]
        inside = labels >= 0 if filter is None else kept[labels]
        k = int(self.rng.integers(1, 8))
        query = self.vectors(1)
        found, distances = self.index.knn_query(query, k, filter=filter, padded=True)
        count = min(k, int(inside.sum()))
        assert (found[0, :count] != 2**64 - 1).all() and (found[0, count:] == 2**64 - 1).all()
        true = np.sort(exact(vectors[inside], query[0], self.space))[:count]
        # With an ef of all of them a search is exact.
        assert len(labels) > 400 or np.allclose(distances[0, :count], true, atol=1e-3)

    def save(self):
        self.index.save_index(self.path)
        assert self.path.stat().st_size == self.index.index_file_size()
        index = hnswlib.Index(self.space, DIM)
        index.load_index(self.path, max_elements=5000, allow_replace_deleted=self.replace)
        if self.rng.integers(2):
            index = pickle.loads(pickle.dumps(self.index))
        index.resize_index(5000)
        index.set_ef(400)
        self.index = index

    def check(self):
        assert sorted(self.index.get_ids_list()) == sorted([*self.live, *self.deleted])
        assert self.index.deleted_count == len(self.deleted) and self.index.element_count == len(self.live) + len(self.deleted)
        if self.live:
            vectors = np.stack(list(self.live.values()))
            if self.space == "cosine":
                vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            assert np.allclose(self.index.get_items(list(self.live)), vectors, atol=1e-5)

    def nonsense(self):
        index, vectors = self.index, self.vectors(2)
        # What adds nothing whatever it is given, so that the model stays right.
        calls = [
            (index.add_items, [vectors[:, :2], [1, 2]], ["num_threads", "progress"]),
            (index.knn_query, [vectors, 1], ["num_threads", "filter", "ef", "padded"]),
            (index.get_items, [[1, 2]], ["return_type"]),
            (index.load_index, [self.path.parent / "none"], ["max_elements"]),
            (hnswlib.Index, ["l2", DIM], ["params", "index"]),
            (index.__setstate__, [({},)], []),
            (index.init_index, [5], ["M", "ef_construction"]),
        ]
        call, arguments, names = calls[self.rng.integers(len(calls))]
        if call == index.add_items:
            # Rows of the right width, which the junk has, would be added.
            arguments, names = [vectors[:, :2], junk(self.rng)], []
            with pytest.raises(ALLOWED):
                call(*arguments)
        elif call == index.__setstate__:
            with pytest.raises(Exception):  # noqa: B017, any: the state is none
                hnswlib.Index("l2", DIM).__setstate__(junk(self.rng))
        else:
            senseless(self.rng, call, arguments, names)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    """Some of the junk is a good path: what is made there goes with the rest."""
    monkeypatch.chdir(tmp_path)


def test_random_calls_of_the_drop_in(tmp_path):
    rng, memory = seeded("test_random_calls_of_the_drop_in"), Memory()
    while memory.more():
        indexed = Indexed(rng, tmp_path)
        steps = [indexed.add, indexed.add, indexed.replace_deleted, indexed.mark, indexed.unmark, indexed.search]
        steps += [indexed.search, indexed.nonsense, indexed.nonsense]
        for _ in range(80):
            steps[rng.integers(len(steps))]()
            if rng.random() < 0.03:
                indexed.save()
        indexed.check()
    memory.check()


def test_random_calls_of_stores(tmp_path):
    rng, memory, path = seeded("test_random_calls_of_stores"), Memory(), tmp_path / "store"
    model, store, docs = {}, None, None
    while memory.more():
        if store is None:
            store = lodestore.open(path, durability="buffered")
            docs = store.collection("docs", dim=DIM)
        for _ in range(60):
            key, vector = int(rng.integers(150)), rng.normal(size=DIM).astype(np.float32)
            match rng.integers(12):
                case 0 | 1 | 2:
                    docs.put(key, vector, bytes([key]))
                    model[key] = vector
                case 3:
                    assert docs.remove(key) == (model.pop(key, None) is not None)
                case 4:
                    keys = rng.choice(150, 12, replace=False)
                    vectors = rng.normal(size=(12, DIM)).astype(np.float32)
                    docs.put_many(keys, vectors, [bytes([one]) for one in keys])
                    model.update(zip(keys.tolist(), vectors, strict=True))
                case 5 if model:
                    hits = docs.search(vector, k=3, ef=300)
                    true = np.sort(exact(np.stack(list(model.values())), vector, "l2"))[:3]
                    assert np.allclose(hits.distances, true, atol=1e-4)
                    assert all(hit.payload == bytes([hit.key]) for hit in hits)
                case 6:
                    record = docs.get(key)
                    assert (record is None) == (key not in model)
                    assert record is None or np.array_equal(record.vector, model[key])
                case 7:
                    with store.batch() as batch:
                        batch.put(docs, key, vector, bytes([key]))
                        batch.remove(docs, key + 150)
                    model[key] = vector
                case 8 if model:
                    radius = float(rng.random() * 12)
                    true = exact(np.stack(list(model.values())), vector, "l2")
                    found = docs.within(vector, radius, exact=bool(rng.integers(2)), ef=300, filter=np.ones(150, bool))
                    near, edge = int((true < radius - 1e-3).sum()), int((true < radius + 1e-3).sum())
                    assert near <= len(found) <= edge and (np.diff(found.distances) >= 0).all()
                case 9 if model:
                    stream = docs.stream(vector, ef=int(rng.integers(1, 100)), payloads=False)
                    first = [hit.key for hit in stream.take(int(rng.integers(40)))]
                    assert sorted(first + [hit.key for hit in stream]) == sorted(model)
                case _:
                    calls = [
                        (docs.get, [key], []),
                        (docs.search, [vector], ["k", "ef", "recall", "filter", "exact"]),
                        (docs.search_many, [vector[None]], ["k", "ef", "threads", "filter", "exact"]),
                        (docs.within, [vector, 1.0], ["k", "ef", "filter", "exact", "timeout", "min_candidates"]),
                        (docs.group_by, [vector, lambda hit: hit.key % 3], ["k", "most", "ef", "filter", "timeout"]),
                        (docs.search_documents, [vector, 3, lambda hit: hit.key % 5], ["ef", "filter", "exact"]),
                        (lambda query, **named: streamed(docs, query, **named), [vector], ["ef", "recall", "filter", "exact", "timeout"]),
                        (store.scrub, [], []),
                        (docs.links, [key], []),
                        (docs.put, [key + 1000, vector[:2]], ["payload"]),
                        (store.collection, ["docs"], ["dim", "metric", "m", "seed", "codes"]),
                        (docs.recall, [5], ["k", "seed"]),
                        (lodestore.open, [path], ["durability", "threads", "residency"]),
                    ]
                    call, arguments, names = calls[rng.integers(len(calls))]
                    senseless(rng, call, arguments, names)
                    # Junk may have been a good key or vector.
                    for other in set(docs.search(vector, k=2000, exact=True).keys.tolist()) - model.keys():
                        docs.remove(other)
        assert len(docs) == len(model)
        if rng.random() < 0.3:
            store.close()
            with pytest.raises(lodestore.ClosedError):
                docs.get(1)
            store = None
    memory.check()
    if store is not None:
        assert store.verify().ok
        store.close()
