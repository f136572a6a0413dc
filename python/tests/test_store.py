"""Stores: opening, settings, batches, closing, errors."""

import copy
import pickle
import time

import numpy as np
import pytest

import lodestore


def test_what_was_put_is_there_after_reopening(tmp_path, data):
    path = tmp_path / "store"
    for durability in ("sync", "buffered", 0.05):
        with lodestore.open(path, durability=durability, threads=1) as store:
            assert store.path == path
            docs = store.collection("docs", dim=384, metric="cosine")
            before = len(docs)
            docs.put_many(range(before, before + 100), data.vectors[before : before + 100])
            assert len(docs) == before + 100
    for residency in ("mapped", "resident", "packed"):
        with lodestore.open(str(path), create=False, residency=residency) as store:
            docs = store.collection("docs")
            assert len(docs) == 300 and docs.search(data.vectors[250], k=1).keys == [250]
            report = store.verify()
            assert report.ok and report.collections[0].records == 300


def test_settings_are_those_it_was_made_with(store):
    store.collection("docs", dim=4, metric="cosine", m=8)
    assert store.collection("docs").metric == "cosine"
    assert store.collection("docs", 4, "cosine", int, "f32", 8).info().m == 8
    for setting in ({"dim": 5}, {"metric": "l2"}, {"element": "f16"}, {"m": 16}, {"codes": "4"}, {"seed": 1}):
        with pytest.raises(lodestore.InputError, match=f"made with {next(iter(setting))}"):
            store.collection("docs", **setting)
    for key in (str, bytes):
        with pytest.raises(lodestore.InputError, match="made with keys of type u64"):
            store.collection("docs", key=key)
    with pytest.raises(lodestore.InputError, match="key is float; keys are int, str, bytes or uuid.UUID"):
        store.collection("more", dim=3, key=float)
    with pytest.raises(lodestore.NotFoundError, match="no collection 'more' in memory; there are: docs"):
        store.collection("more")
    with pytest.raises(lodestore.InputError, match='metric is one of "l2", "ip", "cosine", "hamming", got "l3"'):
        store.collection("more", dim=3, metric="l3")
    with pytest.raises(lodestore.InputError):
        store.collection("more", dim=0)
    assert [info.name for info in store.collections()] == ["docs"]


def test_opening_is_refused_with_a_reason(tmp_path):
    with pytest.raises(lodestore.NotFoundError, match="holds no lodestore store"):
        lodestore.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    for wrong in ({"durability": "fast"}, {"durability": -1}, {"durability": float("nan")}, {"residency": "disk"}):
        with pytest.raises(lodestore.InputError, match=f"{next(iter(wrong))} is"):
            lodestore.open(tmp_path / "none", **wrong)
    with lodestore.open(tmp_path / "store"):
        with pytest.raises(lodestore.LockedError, match="open elsewhere"):
            lodestore.open(tmp_path / "store")
    (tmp_path / "file").write_text("x")
    with pytest.raises(lodestore.StorageError):
        lodestore.open(tmp_path / "file")


def test_damage_is_an_error(tmp_path):
    with lodestore.open(tmp_path) as store:
        store.collection("docs", dim=2).put(1, [1, 2])
    for name in ("SUPER", "catalog.redb"):
        file = tmp_path / name
        whole = file.read_bytes()
        file.write_bytes(bytes(len(whole)))
        with pytest.raises(lodestore.CorruptError, match=name):
            with lodestore.open(tmp_path) as store:
                store.collection("docs").get(1)
        file.write_bytes(whole)
    with lodestore.open(tmp_path) as store:
        assert store.collection("docs").get(1) is not None


def test_batches_happen_whole_or_not(store):
    one, two = store.collection("one", dim=2), store.collection("two", dim=3, element="i8")
    with store.batch() as batch:
        batch.put(one, 1, [1, 2], b"x")
        batch.put(two, 1, np.array([1, 2, 3], np.int8))
        batch.remove(one, 9)
        assert len(batch) == 3 and len(one) == 0
    assert len(one) == len(two) == 1 and one.get(1).payload == b"x"
    with pytest.raises(KeyError):
        with store.batch() as batch:
            batch.remove(one, 1)
            raise KeyError
    assert 1 in one
    batch = store.batch()
    with pytest.raises(lodestore.DimensionError):
        batch.put(one, 2, [1, 2, 3])
    batch.put(one, 2, [3, 4])
    batch.commit()
    assert 2 in one
    batch = store.batch()
    batch.set_payload(one, 1, b"changed")
    before = batch.savepoint()
    batch.put(two, 7, [7, 7, 7], b"seven")
    assert batch.get(one, 1).payload == b"changed" and one.get(1).payload == b"x"
    assert batch.get(two, 7).vector.tolist() == [7, 7, 7] and batch.get(two, 8) is None
    after = batch.savepoint()
    batch.rollback_to(before)
    assert len(batch) == 1 and batch.get(two, 7) is None
    with pytest.raises(lodestore.InputError, match="savepoint"):
        batch.rollback_to(after)
    batch.commit()
    assert one.get(1).payload == b"changed" and 7 not in two
    for call in (batch.commit, lambda: batch.get(one, 1), lambda: batch.put(one, 3, [1, 2]), lambda: batch.remove(one, 1)):
        with pytest.raises(lodestore.InputError, match="committed or discarded"):
            call()
    other = lodestore.in_memory().collection("one", dim=2)
    with pytest.raises(lodestore.InputError, match="another store"):
        store.batch().put(other, 1, [1, 2])


def test_checkpoints_and_counts(tmp_path):
    with lodestore.open(tmp_path, durability="buffered") as store:
        docs = store.collection("docs", dim=2)
        docs.put(1, [1, 2])
        before = store.stats()
        assert before.memory.budget is None and before.memory.changed == before.dirty_bytes
        store.sync()
        assert store.stats().durable_lsn == before.last_lsn
        store.checkpoint()
        after = store.stats()
        assert after.checkpoint_lsn == after.last_lsn and after.checkpoints == before.checkpoints + 1
        assert after.records == 1 and after.bytes == sum(length for _, length in after.files)
        assert after.poisoned is None and after.collections == store.collections()


def test_a_closed_store_says_so(data):
    store = lodestore.in_memory()
    docs = store.collection("docs", dim=384)
    docs.put(1, data.vectors[0])
    batch = store.batch()
    batch.put(docs, 2, data.vectors[1])
    store.close()
    store.close()
    vector = data.vectors[0]
    calls = [
        lambda: docs.put(1, vector),
        lambda: docs.put_many([1], [vector]),
        lambda: docs.put_many([], np.ones((0, 384))),
        lambda: docs.get(1),
        lambda: 1 in docs,
        lambda: docs.remove(1),
        lambda: docs.search(vector),
        lambda: docs.search_many([vector]),
        lambda: docs.recall(1),
        lambda: store.collection("docs"),
        store.collections,
        store.stats,
        store.verify,
        store.sync,
        store.checkpoint,
        batch.commit,
    ]
    for call in calls:
        with pytest.raises(lodestore.ClosedError):
            call()


def test_errors_are_one_family():
    errors = [getattr(lodestore, name) for name in lodestore.__all__ if name.endswith("Error")]
    assert len(errors) == 9
    assert all(issubclass(error, lodestore.Error) and issubclass(error, RuntimeError) for error in errors)
    assert issubclass(lodestore.DimensionError, ValueError) and issubclass(lodestore.NotFoundError, LookupError)
    assert all(error.__module__ == "lodestore" and error.__doc__ for error in errors)
    assert str(pickle.loads(pickle.dumps(lodestore.ClosedError("x")))) == "x"


def test_handles_are_not_copied_but_results_are(store):
    docs = store.collection("docs", dim=2)
    docs.put(1, [1, 2])
    for handle in (store, docs, store.batch()):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copied(handle)
        with pytest.raises(TypeError):
            type(handle)()
    for result in (docs.get(1), docs.search([1, 2]), docs.search_many([[1, 2]]), docs.info(), store.stats()):
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)


def test_a_store_is_closed_with_its_last_handle(tmp_path):
    store = lodestore.open(tmp_path)
    docs = store.collection("docs", dim=2)
    del store
    docs.put(1, [1, 2])
    del docs
    deadline = time.monotonic() + 10
    with lodestore.open(tmp_path) as store:
        assert time.monotonic() < deadline and 1 in store.collection("docs")


def test_readers_see_checkpoints(tmp_path, data):
    path = tmp_path / "store"
    with pytest.raises(lodestore.NotFoundError):
        lodestore.open(path, read_only=True)
    with lodestore.open(path) as store:
        docs = store.collection("docs", dim=384, metric="cosine")
        docs.put_many(range(50), data.vectors[:50])
        store.checkpoint()
        assert not store.read_only and store.refresh() is False and store.stats().readers == 0
        with lodestore.open(path, read_only=True) as reader:
            assert reader.read_only and store.stats().readers == 1
            seen = reader.collection("docs")
            docs.put_many(range(50, 80), data.vectors[50:80])
            docs.remove(3)
            assert len(seen) == 50 and seen.search(data.vectors[3], k=1).keys == [3]
            assert reader.refresh() is False
            store.checkpoint()
            assert reader.refresh() is True and reader.refresh() is False
            later = reader.collection("docs")
            assert len(later) == 79 and later.get(3) is None and later.search(data.vectors[70], k=1).keys == [70]
            # What was opened before stays as it was.
            assert len(seen) == 50 and seen.get(3) is not None
            with pytest.raises(lodestore.InputError, match="reading only"):
                later.put(1, data.vectors[1])
            with pytest.raises(lodestore.InputError, match="reading only"):
                reader.collection("new", dim=3)
    with lodestore.open(path, read_only=True) as reader:
        assert len(reader.collection("docs")) == 79


def test_a_memory_budget(tmp_path):
    with lodestore.open(tmp_path / "store", memory=64 << 20) as store:
        memory = store.stats().memory
        assert (memory.budget, memory.changed_limit, memory.hot_limit) == (64 << 20, 16 << 20, 32 << 20)
        assert memory.changed == memory.packed == 0 and memory.catalog_limit == 4 << 20
    with pytest.raises(lodestore.InputError, match="32 MiB"):
        lodestore.open(tmp_path / "other", memory=1 << 20)
