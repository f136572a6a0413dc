"""Keys of every type, scans in their order, and payloads changed alone."""

import threading
import uuid

import numpy as np
import pytest
from conftest import exact

import lodestore

DIM = 6


def seeded_vectors(count):
    return np.random.default_rng(5).normal(size=(count, DIM)).astype(np.float32)


KINDS = {
    int: lambda n: n * 1000,
    "u128": lambda n: 2**127 + n * 2**60,
    uuid.UUID: lambda n: uuid.UUID(int=(n * 2**120 + n) % 2**128),
    str: lambda n: f"ключ {n % 7}/{n}",
    bytes: lambda n: bytes([255 - n % 3]) * (n % 9) + n.to_bytes(3, "big"),
}


def type_of(kind):
    return int if kind == "u128" else kind


def name_of(kind):
    return kind if kind == "u128" else type_of(kind).__name__.lower()


@pytest.fixture(params=KINDS, ids=name_of)
def kind(request):
    return request.param


def test_records_under_keys_of_every_type(tmp_path, kind):
    keys, vectors = [KINDS[kind](n) for n in range(200)], seeded_vectors(200)
    payloads = [str(key).encode() for key in keys]
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs", dim=DIM, key=kind)
        assert docs.key is type_of(kind) and docs.info().key == name_of(kind)
        docs.put(keys[0], vectors[0], payloads[0])
        docs.put_many(keys[1:], vectors[1:], payloads[1:])
        assert len(docs) == 200 and keys[7] in docs and KINDS[kind](500) not in docs
        assert docs.get(KINDS[kind](500)) is None
        assert docs.remove(keys[199]) and not docs.remove(keys[199])
        with store.batch() as batch:
            batch.put(docs, keys[199], vectors[199], b"batch")
            batch.set_payload(docs, keys[199], payloads[199])
            batch.mark_deleted(docs, keys[3])
            batch.unmark_deleted(docs, keys[3])
            batch.remove(docs, KINDS[kind](501))
    with lodestore.open(tmp_path / "s") as store:
        # What was not said is as stored.
        docs = store.collection("docs")
        assert docs.key is type_of(kind) and [info.key for info in store.collections()] == [name_of(kind)]
        for n in range(0, 200, 9):
            record = docs.get(keys[n])
            assert np.array_equal(record.vector, vectors[n]) and record.payload == payloads[n]
        near = np.argsort(((vectors - vectors[7]) ** 2).sum(axis=1), kind="stable")[:5]
        hits = docs.search(vectors[7], k=5, ef=200)
        assert list(hits.keys) == [keys[n] for n in near] and hits.payloads == [payloads[n] for n in near]
        assert np.allclose(hits.distances, exact(vectors[near], vectors[7], "l2"), atol=1e-5)
        assert [type(hit.key) for hit in hits] == [type_of(kind)] * 5 and type(hits[0].key) is type_of(kind)
        assert list(hits[1:3].keys) == list(hits.keys)[1:3]
        many = docs.search_many(vectors[:20], k=3, ef=200)
        assert many.keys.shape == (20, 3) and many.keys.dtype == (np.uint64 if kind is int else object)
        assert [many.keys[n, 0] for n in range(20)] == keys[:20]
        assert [row[0].key for row in many] == keys[:20] and type(many[0][0].key) is type_of(kind)
        links = docs.links(keys[7])
        assert links[0] and set(links[0]) <= set(keys)
        assert docs.mark_deleted(keys[7]) and docs.is_marked_deleted(keys[7]) and keys[7] not in docs
        assert docs.get_marked(keys[7]).payload == payloads[7] and docs.unmark_deleted(keys[7])
        assert docs.recall(20).samples == 20 and docs.recall_report() is not None
        assert store.verify().ok


def test_rows_with_too_few_hits(kind):
    docs = lodestore.in_memory().collection("docs", dim=DIM, key=kind)
    docs.put(KINDS[kind](1), seeded_vectors(1)[0])
    many = docs.search_many(seeded_vectors(2), k=3)
    rest = 2**64 - 1 if kind is int else None
    assert many.keys.tolist() == [[KINDS[kind](1), rest, rest]] * 2 and many.counts.tolist() == [1, 1]
    assert docs.search_many(seeded_vectors(0), k=3).keys.shape == (0, 3)


def test_filters(kind):
    docs = lodestore.in_memory().collection("docs", dim=DIM, key=kind)
    keys, vectors = [KINDS[kind](n) for n in range(100)], seeded_vectors(100)
    docs.put_many(keys, vectors)
    kept = set(keys[::3])
    for given in (kept, list(kept), kept.__contains__):
        hits = docs.search(vectors[1], k=40, filter=given)
        assert set(hits.keys if kind is not int else hits.keys.tolist()) == kept
        assert set(docs.search_many(vectors[:2], k=40, filter=given).keys[1, :34].tolist()) == kept
    if kind is not int:
        with pytest.raises(lodestore.InputError, match="integers"):
            docs.search(vectors[1], filter=np.ones(100, bool))
        with pytest.raises(TypeError, match="iterable" if kind in (str, bytes) else "not iterable"):
            docs.search(vectors[1], filter=keys[1])
    with pytest.raises(ZeroDivisionError):
        docs.search(vectors[1], filter=lambda key: 1 / 0)


def test_keys_of_another_type_are_refused(tmp_path):
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs", dim=DIM, key=str)
        with pytest.raises(lodestore.InputError, match="(?s)str.*u64|u64.*str"):
            store.collection("docs", dim=DIM, key=int)
        with pytest.raises(lodestore.InputError, match="(?s)str.*bytes|bytes.*str"):
            store.collection("docs", key=bytes)
        for wrong in (1, b"b", None, 1.5, ["a"]):
            for call in (docs.get, docs.remove, docs.__contains__, docs.links, docs.mark_deleted):
                with pytest.raises(TypeError, match="a key is a str"):
                    call(wrong)
            with pytest.raises(TypeError, match="a key is a str"):
                docs.put(wrong, np.ones(DIM))
            with pytest.raises(TypeError):
                docs.put_many([wrong], np.ones((1, DIM)))
        for wrong in ("a", b"a"):
            with pytest.raises(TypeError, match="iterable of keys"):
                docs.put_many(wrong, np.ones((1, DIM)))
        with pytest.raises(lodestore.InputError, match="UTF-8"):
            docs.put("\ud800", np.ones(DIM))
        with pytest.raises(lodestore.InputError, match="4097|4,097"):
            docs.put("k" * 4097, np.ones(DIM))
        with pytest.raises(lodestore.InputError, match="float"):
            store.collection("more", dim=DIM, key=float)
        with pytest.raises(TypeError):
            store.collection("more", dim=DIM, key="str")
        with pytest.raises(TypeError, match="integer"):
            store.collection("ints", dim=DIM).put("1", np.ones(DIM))
        assert len(docs) == 0
        large = store.collection("large", dim=DIM, key="u128")
        for wrong in (-1, 2**128, -(2**200)):
            with pytest.raises(lodestore.InputError, match="from 0 to 2\\*\\*128 - 1"):
                large.put(wrong, np.ones(DIM))
        with pytest.raises(TypeError, match="integer"):
            large.put("1", np.ones(DIM))
        large.put(np.uint64(7), np.ones(DIM))
        large.put(2**128 - 1, np.ones(DIM))
        assert list(large) == [7, 2**128 - 1] and list(large.range(8)) == [2**128 - 1]
        with pytest.raises(TypeError, match="UUID"):
            store.collection("ids", dim=DIM, key=uuid.UUID).put(str(uuid.uuid4()), np.ones(DIM))


def test_scans_are_those_of_a_sorted_list(tmp_path, kind):
    keys, vectors = [KINDS[kind](n) for n in range(1500)], seeded_vectors(1500)
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs", dim=DIM, m=4, ef_construction=16, key=kind)
        docs.put_many(keys, vectors, [str(n).encode() for n in range(1500)])
        store.checkpoint()
        # Not in redb yet.
        for n in range(0, 300, 10):
            docs.remove(keys[n])
        docs.mark_deleted(keys[1])
        docs.put(keys[2], vectors[3], b"new")
        there = {key: n for n, key in enumerate(keys) if n >= 300 or n % 10}
        del there[keys[1]]
        ordered = sorted(there)
        assert list(docs) == ordered and list(docs.iter(reverse=True)) == ordered[::-1]
        for start, stop in [(ordered[40], ordered[900]), (ordered[40], None), (None, ordered[9]), (None, None)]:
            after = [key for key in ordered if start is None or key >= start]
            expected = [key for key in after if stop is None or key < stop]
            assert list(docs.range(start, stop)) == expected
            assert list(docs.range(start, stop, reverse=True)) == expected[::-1]
        assert list(docs.range(ordered[9], ordered[3])) == []
        for at, (key, record) in enumerate(docs.iter(records=True)):
            n = there[key]
            assert key == ordered[at] and np.array_equal(record.vector, vectors[3 if n == 2 else n])
            assert record.payload == (b"new" if n == 2 else str(n).encode())
        if kind not in (str, bytes):
            with pytest.raises(lodestore.InputError, match="no prefix"):
                docs.prefix(keys[1])
        else:
            prefix = ordered[700][:6] if kind is str else ordered[700][:2]
            expected = [key for key in ordered if key.startswith(prefix)]
            assert len(expected) > 10 and list(docs.prefix(prefix)) == expected
            assert [key for key, _ in docs.prefix(prefix, records=True, reverse=True)] == expected[::-1]
            with pytest.raises(TypeError):
                docs.prefix(7)
        with pytest.raises(TypeError):
            docs.range(1.5)


def test_a_scan_sees_what_there_was(tmp_path):
    store = lodestore.open(tmp_path / "s", durability="buffered")
    docs = store.collection("docs", dim=DIM, key=str)
    keys = [f"{n:04}" for n in range(2000)]
    docs.put_many(keys, seeded_vectors(2000))
    scan = iter(docs)
    seen = [next(scan) for _ in range(3)]
    for key in keys[::2]:
        docs.remove(key)
    docs.put("new", np.ones(DIM))
    store.checkpoint()
    assert store.verify().ok
    assert seen + list(scan) == keys and list(scan) == []
    assert len(list(docs)) == 1001
    cut_short = iter(docs)
    next(cut_short)
    store.close()
    with pytest.raises(lodestore.ClosedError):
        list(cut_short)
    with pytest.raises(lodestore.ClosedError):
        list(docs)


def test_one_scan_for_several_threads():
    docs = lodestore.in_memory().collection("docs", dim=DIM)
    docs.put_many(np.arange(3000), seeded_vectors(3000))
    scan, parts = iter(docs), [[], [], []]
    threads = [threading.Thread(target=part.extend, args=(scan,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sum(parts, [])) == list(range(3000))


def test_payloads_alone(tmp_path, kind):
    key, other = KINDS[kind](1), KINDS[kind](2)
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs", dim=DIM, key=kind)
        docs.put(key, np.ones(DIM), b"one")
        slots = docs.info().slots
        assert docs.set_payload(key, b"uno") and docs.set_payload(key, bytearray(b"eins"))
        assert not docs.set_payload(other, b"nobody's")
        assert docs.get(key).payload == b"eins" and docs.info().slots == slots
        with pytest.raises(lodestore.InputError):
            docs.set_payload(key, bytes((16 << 20) + 1))
        with pytest.raises(TypeError):
            docs.set_payload(key, "text")
        docs.mark_deleted(key)
        assert not docs.set_payload(key, b"lost")
        docs.unmark_deleted(key)
    with lodestore.open(tmp_path / "s") as store:
        docs = store.collection("docs")
        assert docs.get(key).payload == b"eins" and docs.search(np.ones(DIM)).payloads == [b"eins"]
