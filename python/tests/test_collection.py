"""Records and searches."""

import numpy as np
import pytest
from conftest import exact

import lodestore


def test_a_record_comes_back_as_it_was_put(store, data):
    docs = store.collection("docs", dim=384)
    for key, payload in [(0, b""), (7, b"seven"), (2**64 - 1, bytes(range(256)))]:
        docs.put(key, data.vectors[key % 5000], payload)
        record = docs.get(key)
        assert record.vector.dtype == np.float32
        assert np.array_equal(record.vector, data.vectors[key % 5000]) and record.payload == payload
        assert key in docs
    assert len(docs) == 3 and docs.get(1) is None and 1 not in docs
    docs.put(7, data.vectors[8], bytearray(b"again"))
    assert docs.get(7).payload == b"again" and np.array_equal(docs.get(7).vector, data.vectors[8])
    assert docs.remove(7) and not docs.remove(7) and 7 not in docs
    assert len(docs) == 2


def test_searches_find_the_true_neighbours(glosses, data):
    hits = glosses.search_many(data.queries, k=10, ef=200)
    found = sum(len(set(row) & set(true)) for row, true in zip(hits.keys, data.truth, strict=True))
    assert found / data.truth.size > 0.98
    for row in range(0, 200, 20):
        single = glosses.search(data.queries[row], k=10, ef=200)
        assert np.array_equal(single.keys, hits.keys[row]) and np.array_equal(single.distances, hits.distances[row])
        truth = exact(data.vectors[hits.keys[row]], data.queries[row], "cosine")
        assert np.allclose(single.distances, truth, atol=1e-5)
        assert single.payloads == [data.texts[key] for key in single.keys]
        assert np.all(np.diff(single.distances) >= 0)


def test_hits_are_a_sequence_and_columns(glosses, data):
    hits = glosses.search(data.queries[0], k=5)
    assert len(hits) == 5 and hits.keys.dtype == np.uint64 and hits.distances.dtype == np.float32
    listed = list(hits)
    assert listed == [hits[at] for at in range(5)]
    key, distance, payload = listed[0]
    assert (type(key), type(distance), payload) == (int, float, data.texts[key])
    assert listed[-1] == hits[-1] and list(hits[1:3]) == listed[1:3]
    with pytest.raises(IndexError):
        hits[5]
    plain = glosses.search(data.queries[0], k=5, payloads=False)
    assert plain.payloads is None and plain[0].payload is None and np.array_equal(plain.keys, hits.keys)


def test_short_rows_are_filled_up(store, data):
    docs = store.collection("docs", dim=384)
    empty = docs.search_many(data.queries[:3], k=4)
    assert empty.keys.shape == (3, 4) and not empty.counts.any()
    assert len(docs.search(data.queries[0])) == 0
    docs.put_many([5, 6], data.vectors[:2])
    hits = docs.search_many(data.queries[:3], k=4)
    assert hits.keys.dtype == np.uint64 and hits.distances.dtype == np.float32
    assert hits.counts.tolist() == [2, 2, 2]
    assert (hits.keys[:, 2:] == 2**64 - 1).all() and np.isinf(hits.distances[:, 2:]).all()
    assert [sorted(row.keys.tolist()) for row in hits] == [[5, 6]] * 3
    assert len(hits) == 3 and len(hits[0]) == 2
    assert docs.search_many(data.queries[:0], k=4).keys.shape == (0, 4)
    assert docs.search_many(data.queries[:2], k=0).keys.shape == (2, 0)


def test_the_number_of_threads_changes_nothing(glosses, data):
    one = glosses.search_many(data.queries, k=10, threads=1)
    for threads in (0, 2, 7):
        many = glosses.search_many(data.queries, k=10, threads=threads)
        assert np.array_equal(one.keys, many.keys) and np.array_equal(one.distances, many.distances)


def test_filters_and_exact_searches(glosses, data):
    kept = data.truth % 3 == 0
    for row in range(0, 200, 10):
        hits = glosses.search(data.queries[row], k=10, exact=True)
        assert hits.keys.tolist() == data.truth[row].tolist()
        hits = glosses.search(data.queries[row], k=5, ef=200, filter=lambda key: key % 3 == 0)
        assert len(hits) == 5 and (hits.keys % 3 == 0).all() and hits.keys[0] in np.arange(0, 5000, 3)
        assert set(data.truth[row][kept[row]]) <= set(hits.keys.tolist()) or kept[row].sum() > 4
    exact = glosses.search_many(data.queries, k=10, exact=True)
    assert np.array_equal(exact.keys, data.truth)
    few = glosses.search_many(data.queries[:20], k=10, filter=lambda key: key in (17, 4999))
    assert (few.counts == 2).all() and (np.sort(few.keys[:, :2]) == [17, 4999]).all()

    def fails(key):
        raise LookupError(key)

    for threads in (1, 2):
        with pytest.raises(LookupError):
            glosses.search_many(data.queries, filter=fails, threads=threads)
    with pytest.raises(LookupError):
        glosses.search(data.queries[0], filter=fails)
    # A filter may ask the collection itself.
    hits = glosses.search(data.queries[0], k=3, filter=lambda key: len(glosses.get(key).payload) > 50)
    assert all(len(hit.payload) > 50 for hit in hits)


def test_filters_that_are_sets_find_what_callables_find(glosses, data):
    mask = np.zeros(5000, bool)
    mask[3:3000:2] = True
    ids = np.flatnonzero(mask)
    kept = lodestore.KeySet(ids)
    assert kept == lodestore.KeySet(mask) and len(kept) == len(ids) and 5 in kept and 4 not in kept
    queries = data.queries[:40]
    called = glosses.search_many(queries, k=10, exact=True, filter=lambda key: key < 3000 and mask[key])
    for filter in (mask, ids.astype(np.uint64), ids.tolist(), kept, [kept] * 40, [mask, ids, kept, lambda key: mask[key]] * 10):
        many = glosses.search_many(queries, k=10, exact=True, filter=filter)
        assert np.array_equal(many.keys, called.keys)
        many = glosses.search_many(queries, k=10, ef=100, filter=filter)
        assert (many.counts == 10).all() and mask[many.keys].all()
        assert (many.keys == called.keys).mean() > 0.95
    for filter in (mask, ids, kept):
        assert glosses.search(queries[0], k=10, exact=True, filter=filter).keys.tolist() == called.keys[0].tolist()
    rows = glosses.search_many(queries[:3], k=5, filter=[None, lodestore.KeySet([8, 9]), ~kept])
    assert rows.counts.tolist() == [5, 2, 5] and set(rows.keys[1, :2].tolist()) == {8, 9} and not mask[rows.keys[2]].any()
    with pytest.raises(lodestore.InputError, match="one for each of the 3"):
        glosses.search_many(queries[:3], filter=[kept, kept])


def test_a_mask_is_what_it_is_now(store, data):
    """Whatever was made of it when it was given before."""
    docs = store.collection("docs", dim=384)
    docs.put_many(range(300), data.vectors[:300])
    rng = np.random.default_rng(2)
    masks = [rng.random(300) < share for share in (0.02, 0.2, 0.5, 0.5, 0.9, 1.0)]
    for _ in range(200):
        mask = masks[rng.integers(len(masks))]
        mask[rng.integers(300)] ^= rng.integers(2) == 1
        given = [mask, mask[::-1][::-1], np.repeat(mask, 2)[::2]][rng.integers(3)]
        if rng.integers(4) == 0:
            key = int(rng.integers(300))
            docs.remove(key)
            docs.put(key, data.vectors[key])
        found = docs.search(data.queries[0], k=300, filter=given, exact=bool(rng.integers(2)))
        assert sorted(found.keys.tolist()) == np.flatnonzero(mask).tolist()


def test_sets_of_keys_are_put_together():
    KeySet = lodestore.KeySet
    some, other = KeySet([1, 5, 2**63]), KeySet.range(4, 10)
    assert (some & other) == KeySet([5]) and (some - other) == KeySet([1, 2**63])
    assert len(some | other) == 8 and 2**64 - 1 in ~some and 5 not in ~some
    assert KeySet.range(3) == ~KeySet.range(0, 3) and not KeySet() and KeySet() != some and some != 5
    for wrong in ([-1], [2**64], [1.5], "ab"):
        with pytest.raises((TypeError, lodestore.InputError)):
            KeySet(wrong)


def test_links_lead_to_records(glosses):
    lists = glosses.links(5)
    assert 0 < len(lists[0]) <= 32 and 5 not in lists[0] and all(key in glosses for key in lists[0])
    assert glosses.links(5000) is None


def test_recall_is_measured_and_asked_for(store, data):
    docs = store.collection("docs", dim=384, metric="cosine")
    docs.put_many(range(1000), data.vectors[:1000])
    with pytest.raises(lodestore.InputError, match="measure"):
        docs.search(data.queries[0], recall=0.9)
    report = docs.recall(50, k=5)
    assert (report.k, report.samples, report.records) == (5, 50, 1000)
    assert report.rows[-1].recall > 0.95 and report.ef_for(0.9) <= report.ef_for(0.95)
    assert all(row.low <= row.recall <= row.high + 1e-9 for row in report.rows)
    asked = docs.search(data.queries[0], k=5, recall=0.9)
    assert np.array_equal(asked.keys, docs.search(data.queries[0], k=5, ef=report.ef_for(0.9)).keys)
    with pytest.raises(lodestore.InputError, match="not both"):
        docs.search(data.queries[0], ef=10, recall=0.9)
    assert docs.recall_report() == report
    by_recall, by_ef = docs.search_many(data.queries, k=5, recall=0.9), report.ef_for(0.9)
    assert np.array_equal(by_recall.keys, docs.search_many(data.queries, k=5, ef=by_ef).keys)


def test_measured_recall_outlives_the_store(tmp_path, data):
    with lodestore.open(tmp_path / "store") as store:
        docs = store.collection("docs", dim=384, metric="cosine")
        docs.put_many(range(300), data.vectors[:300])
        assert docs.recall_report() is None
        report = docs.recall(30)
        docs.remove(5)
    with lodestore.open(tmp_path / "store") as store:
        docs = store.collection("docs")
        assert docs.recall_report() == report and store.stats().last_lsn == report.lsn + 1
        assert len(docs.search(data.queries[0], recall=0.9)) == 10


def test_a_marked_record_is_gone_and_comes_back(store, data):
    docs = store.collection("docs", dim=384, metric="cosine")
    docs.put_many(range(100), data.vectors[:100], [str(key).encode() for key in range(100)])
    assert docs.mark_deleted(7) and not docs.mark_deleted(7) and not docs.mark_deleted(500)
    assert docs.is_marked_deleted(7) and not docs.is_marked_deleted(8) and not docs.is_marked_deleted(500)
    assert 7 not in docs and docs.get(7) is None and len(docs) == 99 and docs.info().marked == 1
    assert docs.search(data.vectors[7], k=1).keys[0] != 7
    hidden = docs.get_marked(7)
    assert hidden.payload == b"7" and np.array_equal(hidden.vector, data.vectors[7]) and docs.get_marked(8) is None
    assert docs.unmark_deleted(7) and not docs.unmark_deleted(7)
    assert docs.search(data.vectors[7], k=1).keys[0] == 7 and docs.get(7).payload == b"7"
    with store.batch() as batch:
        batch.mark_deleted(docs, 1)
        batch.mark_deleted(docs, 2)
        batch.unmark_deleted(docs, 2)
    assert (1 in docs, 2 in docs, len(docs)) == (False, True, 99)
    docs.put(1, data.vectors[200])
    assert 1 in docs and docs.info().marked == 0 and docs.mark_deleted(1) and docs.remove(1)
    assert store.verify().ok and store.verify().collections[0].marked == 0


def test_progress_is_told_and_may_stop(store, data):
    docs = store.collection("docs", dim=384)
    told = []
    docs.put_many(range(1000), data.vectors[:1000], progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1000, 1000) and told == sorted(told)
    assert len(docs) == 1000

    def stop(done, total):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        docs.put_many(range(1000, 5000), data.vectors[1000:5000], progress=stop)
    # What was written before is there, in order, and nothing else.
    assert len(docs) < 5000 and all(key in docs for key in range(len(docs)))
    assert store.verify().ok


def test_a_collection_says_what_it_is(store):
    docs = store.collection("docs", dim=4, metric="ip", m=8, ef_construction=50, seed=3, codes="8")
    assert (docs.name, docs.dim, docs.metric, docs.element) == ("docs", 4, "ip", "f32")
    info = docs.info()
    assert (info.m, info.ef_construction, info.seed, info.codes, info.len) == (8, 50, 3, "8", 0)
    assert store.collections() == [info]
    assert repr(docs) == '<lodestore.Collection "docs": 0 records, dim 4, f32, ip>'


def test_tags_choose_what_searches_find(tmp_path):
    rows = np.arange(200, dtype=np.float32).reshape(-1, 1)
    tags = [{"year": 2000 + row % 25, "lang": ["en", "fr"] if row % 3 == 0 else "de"} for row in range(200)]
    tags[7] = None
    with lodestore.open(tmp_path / "store") as store:
        docs = store.collection("docs", dim=1)
        docs.put_many(range(200), rows, tags=tags)
        assert docs.get(6).tags == {"year": 2006, "lang": ["en", "fr"]} and docs.get(7).tags == {}
        lang, year = lodestore.Tag("lang"), lodestore.Tag("year")
        for condition, holds in [
            (lang == "en", lambda t: "en" in t.get("lang", "")),
            (lang != "de", lambda t: t.get("lang") != "de"),
            ((year >= 2010) & (year < 2012), lambda t: t.get("year") in (2010, 2011)),
            (year.range(2010, 2012) | (lang == "fr"), lambda t: t.get("year") in (2010, 2011) or "fr" in t.get("lang", "")),
            (lang.any(["fr", "it"]) - (year == 2003), lambda t: "fr" in t.get("lang", "") and t["year"] != 2003),
            (~lang.exists(), lambda t: not t),
            (lang.startswith("d"), lambda t: t.get("lang") == "de"),
        ]:
            due = [row for row in range(200) if holds(tags[row] or {})]
            assert list(docs.search([0], k=200, tags=condition).keys) == due, condition
            many = docs.search_many([[0], [199]], k=1, tags=condition)
            assert [list(row) for row in many.keys] == [[due[0]], [due[-1]]]
            assert all(condition.matches(tags[row] or {}) == (row in due) for row in range(200))
            assert [hit.key for hit in docs.stream([0], tags=condition)] == due
            assert list(docs.within([0], 100.0, tags=condition).keys) == [row for row in due if row <= 10]
            odd = [row for row in due if row % 2]
            assert list(docs.search([0], k=200, tags=condition, filter=lambda key: key % 2).keys) == odd
            assert list(docs.search([0], k=200, tags=condition, filter=np.arange(200) % 2 == 1).keys) == odd
        assert docs.set_tags(7, {"lang": "it"}) and not docs.set_tags(999, {})
        with store.batch() as batch:
            batch.put(docs, 300, [300], tags={"lang": "it", "n": np.int64(5)})
            batch.set_tags(docs, 8, {"lang": "it"})
            assert batch.get(docs, 300).tags == {"lang": "it", "n": 5}
        assert list(docs.search([0], tags=lang == "it").keys) == [7, 8, 300]
    with lodestore.open(tmp_path / "store") as store:
        assert list(store.collection("docs").search([0], tags=lodestore.Tag("lang") == "it").keys) == [7, 8, 300]


def test_what_is_wrong_with_tags_is_told():
    docs = lodestore.in_memory().collection("docs", dim=1)
    docs.put(1, [1], tags={"a": 1})
    for tags, error in [
        ({"a": 1.5}, TypeError),
        ({"a": None}, TypeError),
        ({"a": [["b"]]}, TypeError),
        ({1: "a"}, TypeError),
        (["a"], TypeError),
        ({"a": 2**63}, lodestore.InputError),
        ({"": 1}, lodestore.InputError),
        ({"a": "x" * 257}, lodestore.InputError),
        ({"a": range(3)}, TypeError),
    ]:
        with pytest.raises(error):
            docs.put(1, [2], tags=tags)
        with pytest.raises(error):
            docs.set_tags(1, tags)
    assert docs.get(1).tags == {"a": 1} and docs.get(1).vector == [1]
    with pytest.raises(TypeError):
        docs.put_many([1], [[1]], tags={"a": 1})
    with pytest.raises(lodestore.InputError):
        docs.put_many([1, 2], [[1], [2]], tags=[{"a": 1}])
    with pytest.raises(TypeError, match="neither true nor false"):
        (lodestore.Tag("a") == 1) and (lodestore.Tag("b") == 2)
    with pytest.raises(lodestore.InputError):
        lodestore.Tag("a").range(1, "b")
    with pytest.raises(lodestore.InputError):
        lodestore.Tag("")
    with pytest.raises(TypeError):
        docs.search([1], tags="a")
