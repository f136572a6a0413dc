"""The drop-in beside hnswlib 0.8.0 itself: files and pickles go to and fro, and both find the same in them."""

import pickle

import hnswlib as original
import numpy as np
import pytest

from lodestore import hnswlib

SPACES = ["l2", "ip", "cosine"]


def rows_of(data, dim, count):
    return np.ascontiguousarray(data.vectors[:count, :dim])


def filled(module, space, vectors, M, max_elements=None):
    index = module.Index(space, vectors.shape[1])
    index.init_index(max_elements or len(vectors), M=M, ef_construction=100, random_seed=7)
    index.add_items(vectors, np.arange(len(vectors)) * 5 + 1)
    return index


def delete(index, count):
    """Every third, and those that most walks begin with."""
    for at in range(0, count, 3):
        index.mark_deleted(at * 5 + 1)


def answers(index, queries, k=10):
    found = []
    for ef in (10, 30, 100):
        index.set_ef(ef)
        # One query at a time finds the same.
        index.set_num_threads(1)
        labels, distances = index.knn_query(queries, k=k)
        found += [labels, distances]
    return found


def same(a, b):
    return all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("M", "dim"), [(5, 17), (16, 33), (48, 7)])
def test_from_hnswlib_and_back(data, space, M, dim, tmp_path):
    vectors, queries = rows_of(data, dim, 2000), data.queries[:, :dim]
    first = filled(original, space, vectors, M)
    delete(first, 2000)
    first.save_index(str(tmp_path / "first"))
    ours = hnswlib.Index(space, dim)
    ours.load_index(tmp_path / "first")
    assert (ours.M, ours.ef_construction, ours.max_elements) == (M, 100, 2000)
    assert (ours.element_count, ours.deleted_count) == (2000, 667)
    assert sorted(ours.get_ids_list()) == sorted(first.get_ids_list())
    some = (np.arange(1, 2000, 3) * 5 + 1)[:300]
    assert np.array_equal(ours.get_items(some), first.get_items(some))
    ours.save_index(tmp_path / "second")
    assert (tmp_path / "second").stat().st_size == (tmp_path / "first").stat().st_size == ours.index_file_size()
    again = original.Index(space, dim)
    again.load_index(str(tmp_path / "second"))
    expected = answers(first, queries)
    assert same(answers(again, queries), expected)
    # What was found is found: all but ties in the last digit, and what codes make different at a small ef.
    plain = hnswlib.Index(space, dim, codes="none")
    plain.load_index(tmp_path / "first")
    for index, least in [(plain, [0.999] * 3), (ours, [0.95, 0.98, 0.99])]:
        found = answers(index, queries)
        for at in range(0, 6, 2):
            equal = found[at] == expected[at]
            assert equal.mean() > least[at // 2]
            assert np.allclose(found[at + 1][equal], expected[at + 1][equal], atol=1e-5)
    # Both bring the same items back, and they are where they were.
    for index in (again, ours):
        for at in range(0, 2000, 3):
            index.unmark_deleted(at * 5 + 1)
    assert (answers(again, queries)[4] == answers(ours, queries)[4]).mean() > 0.99


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("M", "dim"), [(5, 17), (16, 33), (48, 7)])
def test_from_lodestore_and_back(data, space, M, dim, tmp_path):
    vectors, queries = rows_of(data, dim, 2000), data.queries[:, :dim]
    ours = filled(hnswlib, space, vectors, M)
    # Some are replaced, so that there are numbers without an item.
    ours.add_items(vectors[100:150], np.arange(50) * 5 + 1)
    delete(ours, 2000)
    ours.save_index(tmp_path / "first")
    assert (tmp_path / "first").stat().st_size == ours.index_file_size()
    theirs = original.Index(space, dim)
    theirs.load_index(str(tmp_path / "first"))
    assert (theirs.element_count, theirs.M, theirs.ef_construction) == (2000, M, 100)
    assert theirs.index_file_size() == ours.index_file_size()
    expected = answers(ours, queries)
    found = answers(theirs, queries)
    assert (found[4] == expected[4]).mean() > 0.99
    theirs.save_index(str(tmp_path / "second"))
    again = hnswlib.Index(space, dim)
    again.load_index(tmp_path / "second")
    assert same(answers(again, queries), expected)
    # hnswlib goes on from there: it finds what it adds, and what was there.
    theirs.resize_index(2500)
    more = rows_of(data, dim, 2500)[2000:]
    theirs.add_items(more, np.arange(500) + 100_000)
    theirs.set_ef(100)
    if space != "ip":
        assert (theirs.knn_query(more, k=1)[0].ravel() == np.arange(500) + 100_000).mean() > 0.97


@pytest.mark.parametrize("space", SPACES)
def test_pickles_go_to_and_fro(data, space):
    vectors, queries = rows_of(data, 24, 800), data.queries[:, :24]
    theirs = filled(original, space, vectors, 12, 1000)
    delete(theirs, 800)
    ours = hnswlib.Index(params=theirs.__getstate__()[0])
    assert (ours.max_elements, ours.element_count, ours.deleted_count, ours.M) == (1000, 800, 267, 12)
    state = ours.__getstate__()
    back = original.Index(params=state[0])
    expected = answers(theirs, queries)
    assert same(answers(back, queries), expected)
    assert [*theirs.__getstate__()[0]] == [key for key in state[0] if key not in ("unlimited", "codes")]
    for key, value in theirs.__getstate__()[0].items():
        if not key.startswith("label_lookup") and key not in ("data_level0", "link_lists", "ef", "num_threads"):
            assert np.array_equal(state[0][key], value), key
    copy = pickle.loads(pickle.dumps(ours))
    assert same(answers(copy, queries), answers(ours, queries))
    for empty in (original.Index(space, 24), hnswlib.Index(space, 24)):
        params = empty.__getstate__()[0]
        assert hnswlib.Index(params=params).__getstate__()[0]["index_inited"] is False
        assert original.Index(params=params).element_count == 0


def test_exact_indexes_go_to_and_fro(data, tmp_path):
    vectors = rows_of(data, 24, 500)
    for one, other in [(original, hnswlib), (hnswlib, original)]:
        first = one.BFIndex("l2", 24)
        first.init_index(600)
        first.add_items(vectors, np.arange(500) + 3)
        first.save_index(str(tmp_path / "exact"))
        second = other.BFIndex("l2", 24)
        second.load_index(str(tmp_path / "exact"))
        found, expected = second.knn_query(data.queries[:, :24], k=7), first.knn_query(data.queries[:, :24], k=7)
        assert np.array_equal(found[0], expected[0]) and np.allclose(found[1], expected[1], atol=1e-5)


def test_an_empty_index_and_one_of_one_item(tmp_path):
    for count in (0, 1):
        for one, other in [(original, hnswlib), (hnswlib, original)]:
            index = one.Index("l2", 3)
            index.init_index(10)
            if count:
                index.add_items(np.ones((1, 3), np.float32), [77])
            index.save_index(str(tmp_path / "index"))
            assert (tmp_path / "index").stat().st_size == index.index_file_size()
            loaded = other.Index("l2", 3)
            loaded.load_index(str(tmp_path / "index"), max_elements=10)
            assert (loaded.element_count, loaded.max_elements) == (count, 10)
            loaded.add_items(np.zeros((2, 3), np.float32), [5, 6])
            assert loaded.knn_query(np.zeros(3, np.float32), k=count + 2)[0].shape == (1, count + 2)


def test_errors_are_the_same(data, tmp_path):
    """What both refuse, they refuse in the same words."""
    vectors = rows_of(data, 8, 20)
    indexes = []
    for module in (original, hnswlib):
        index = module.Index("l2", 8)
        index.init_index(20, allow_replace_deleted=True)
        index.add_items(vectors)
        index.mark_deleted(3)
        indexes.append((module, index))
    calls = [
        lambda module, index: module.Index("l1", 8),
        lambda module, index: index.init_index(10),
        lambda module, index: index.add_items(vectors[:, :5]),
        lambda module, index: index.add_items(vectors.reshape(2, 10, 8)),
        lambda module, index: index.add_items(vectors[:3], [1, 2]),
        lambda module, index: index.add_items(vectors[:3], np.zeros((3, 1))),
        lambda module, index: index.add_items(vectors[0], 99),
        lambda module, index: index.add_items(vectors[0], 3),
        lambda module, index: index.knn_query(vectors, k=20),
        lambda module, index: index.get_items([3]),
        lambda module, index: index.get_items([500]),
        lambda module, index: index.get_items(3),
        lambda module, index: index.get_items([1], "x"),
        lambda module, index: index.mark_deleted(3),
        lambda module, index: index.mark_deleted(500),
        lambda module, index: index.unmark_deleted(4),
        lambda module, index: index.unmark_deleted(500),
        lambda module, index: index.resize_index(19),
        lambda module, index: module.Index("l2", 8).load_index(str(tmp_path / "none")),
        lambda module, index: module.Index(params=index.__getstate__()[0] | {"ser_version": 2}),
        lambda module, index: module.Index(params=index.__getstate__()[0] | {"label_offset": 2}),
    ]
    for at, call in enumerate(calls):
        said = []
        for module, index in indexes:
            with pytest.raises(Exception) as raised:  # noqa: PT011, its text is compared
                call(module, index)
            said.append((type(raised.value), str(raised.value)))
        assert said[0] == said[1], at
