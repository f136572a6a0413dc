"""The drop-in for hnswlib."""

import copy
import pickle
import threading

import numpy as np
import pytest
from conftest import exact

from lodestore import hnswlib


@pytest.fixture(scope="module")
def small(data):
    """2,000 vectors of 16 components."""
    return np.ascontiguousarray(data.vectors[:2000, :16])


def index_of(vectors, space="l2", ids=None, **settings):
    index = hnswlib.Index(space=space, dim=vectors.shape[1])
    index.init_index(**{"max_elements": len(vectors), "ef_construction": 100, "M": 16} | settings)
    index.add_items(vectors, ids)
    return index


def normalised(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
def test_neighbours_and_distances_are_right(small, space):
    index = index_of(small, space)
    index.set_ef(100)
    labels, distances = index.knn_query(small[:200], k=10)
    assert labels.shape == distances.shape == (200, 10)
    assert labels.dtype == np.uint64 and distances.dtype == np.float32
    brute = hnswlib.BFIndex(space, 16)
    brute.init_index(2000)
    brute.add_items(small)
    true_labels, true_distances = brute.knn_query(small[:200], k=10)
    right = [len(set(a) & set(b)) for a, b in zip(labels.tolist(), true_labels.tolist(), strict=True)]
    assert sum(right) / 2000 > 0.97
    for row in range(0, 200, 10):
        all_distances = exact(small, small[row], space)
        assert np.allclose(true_distances[row], np.sort(all_distances)[:10], atol=1e-5)
        assert np.allclose(distances[row], all_distances[labels[row]], atol=1e-5)


def test_what_is_found_is_oneself(data, small):
    """As hnswlib's own tests have it: ef 10, four threads, halves added one after the other."""
    index = hnswlib.Index("l2", 16)
    index.init_index(max_elements=5000, ef_construction=100, M=16)
    index.set_num_threads(4)
    index.set_ef(10)
    points = data.vectors[:, :16]
    for half in (slice(0, 2500), slice(2500, 5000)):
        index.add_items(points[half])
    labels, distances = index.knn_query(points, k=1)
    assert (labels.ravel() == np.arange(5000)).mean() > 0.999 and (distances[labels.ravel() == np.arange(5000)] == 0).all()


def test_properties_and_defaults(small):
    index = hnswlib.Index("cosine", 16)
    assert (index.space, index.dim, index.ef, index.M, index.ef_construction) == ("cosine", 16, 10, 0, 0)
    assert (index.max_elements, index.element_count) == (0, 0)
    index.init_index(100)
    assert (index.M, index.ef_construction, index.get_max_elements(), index.max_elements) == (16, 200, 100, 100)
    index.add_items(small[:7])
    assert index.get_current_count() == index.element_count == 7
    index.ef, index.num_threads = 33, 3
    assert (index.ef, index.num_threads) == (33, 3)
    assert repr(index) == "<hnswlib.Index(space='cosine', dim=16)>"
    assert repr(hnswlib.BFIndex("ip", 3)) == "<hnswlib.BFIndex(space='ip', dim=3)>"
    index = hnswlib.Index("l2", 16)
    index.init_index(10, M=30, ef_construction=5)
    assert index.ef_construction == 30


def test_labels(small):
    index = index_of(small[:10], max_elements=100)
    assert sorted(index.get_ids_list()) == list(range(10))
    index.add_items(small[10:12], ids=[77, -1])
    assert sorted(index.get_ids_list())[-2:] == [77, 2**64 - 1]
    # The counter of automatic labels counts rows, whatever their labels.
    index.add_items(small[12])
    assert 12 in index.get_ids_list()
    index.add_items(small[13], 99)
    index.add_items([small[14].tolist()], np.array([[55]])[0])
    labels, _ = index.knn_query(small[14], k=1)
    assert labels.tolist() == [[55]]
    index.add_items(small[20], 55)
    assert index.get_current_count() == 15
    assert np.array_equal(index.get_items([55])[0], small[20])


def test_numbers_that_are_none_are_refused(small):
    index = index_of(small[:10], max_elements=100)
    brute = hnswlib.BFIndex("l2", 16)
    brute.init_index(100)
    for wrong, error in [(1j, TypeError), ("1", TypeError), (np.nan, ValueError), (1.5, ValueError), (1e30, ValueError)]:
        for each in (index, brute):
            with pytest.raises(error, match="^labels must be"):
                each.add_items(small[10], [wrong])
        with pytest.raises(error, match="^labels must be"):
            index.get_items([wrong])
        with pytest.raises(error, match="^ef must be"):
            index.knn_query(small[10], ef=wrong)
    for wrong in (small[10] * 1j, small[10].astype(str)):
        for call in (index.add_items, index.knn_query, brute.add_items):
            with pytest.raises(TypeError, match="^vectors must be real numbers, got "):
                call(wrong)
    for wrong in (np.full(16, 1e300), np.full(16, np.nan)):
        for call in (index.add_items, index.knn_query, brute.add_items):
            with pytest.raises(RuntimeError):
                call(wrong)
    assert index.get_current_count() == 10 and brute.get_current_count() == 0
    # Whole numbers are labels whatever their type, lists and rows of float64 are vectors.
    index.add_items(small[10:12].astype(np.float64), np.array([20.0, 21.0]))
    index.add_items(small[12].tolist(), [True])
    assert sorted(index.get_ids_list()) == [*range(10), 20, 21]


def test_labels_that_exact_indexes_give_are_new(small, tmp_path):
    index = hnswlib.BFIndex("l2", 16)
    index.init_index(100)
    index.add_items(small[:4])
    index.delete_vector(1)
    index.add_items(small[4:6])
    assert index.knn_query(small[:6], k=1, padded=True)[0].ravel().tolist()[2:] == [2, 3, 4, 5]
    assert index.get_current_count() == 5


def test_items_come_back(small):
    index = index_of(small[:50])
    assert np.array_equal(index.get_items(np.arange(50)), small[:50])
    assert np.array_equal(index.get_items(np.arange(50).reshape(50, 1)), small[:50])
    assert index.get_items([3, 4], return_type="list") == small[3:5].tolist()
    assert index.get_items().shape == (0,) and index.get_items(None, "list") == []
    cosine = index_of(small[:50], "cosine")
    assert np.allclose(cosine.get_items([5]), normalised(small[5:6]), atol=1e-6)


def test_deleting_and_bringing_back(small):
    index = index_of(small[:500], ef_construction=200)
    index.set_ef(100)
    for label in range(0, 500, 2):
        index.mark_deleted(np.uint64(label))
    assert index.get_current_count() == 500 and len(index.get_ids_list()) == 500
    labels, _ = index.knn_query(small[:500], k=10)
    assert (labels % 2 == 1).all()
    with pytest.raises(RuntimeError, match="^Label not found$"):
        index.get_items([2])
    for label in range(0, 500, 2):
        index.unmark_deleted(label)
    labels, _ = index.knn_query(small[:500], k=1)
    assert (labels.ravel() == np.arange(500)).mean() > 0.99
    index.mark_deleted(4)
    index.add_items(small[600], 4)
    assert np.array_equal(index.get_items([4])[0], small[600])
    with pytest.raises(RuntimeError, match="is not deleted"):
        index.unmark_deleted(4)


def test_replacing_deleted_items(small):
    index = index_of(small[:1000], allow_replace_deleted=True)
    index.set_ef(50)
    deleted = list(range(500))
    for label in deleted:
        index.mark_deleted(label)
    with pytest.raises(RuntimeError, match="^Can't use addPoint to update deleted elements if replacement of"):
        index.add_items(small[0], 0)
    index.add_items(small[1000:1500], np.arange(1000, 1500), replace_deleted=True)
    assert index.get_current_count() == 1000 and sorted(index.get_ids_list()) == list(range(500, 1500))
    labels, _ = index.knn_query(small[500:1500], k=1)
    assert (labels.ravel() == np.arange(500, 1500)).mean() > 0.99
    with pytest.raises(RuntimeError, match="exceeds the specified limit"):
        index.add_items(small[1500], 1500, replace_deleted=True)
    # One that is there stays one.
    index.mark_deleted(500)
    index.add_items(small[7], 501, replace_deleted=True)
    assert index.get_ids_list().count(501) == 1 and index.get_current_count() == 1000


def test_filters(small):
    index = index_of(small)
    for k in (1, 10):
        labels, _ = index.knn_query(small[:100], k=k, num_threads=1, filter=lambda label: label % 2 == 0)
        assert (labels % 2 == 0).all()
    labels, _ = index.knn_query(small[:3], k=2, filter=lambda label: label in (5, 1700))
    assert [sorted(row) for row in labels.tolist()] == [[5, 1700]] * 3
    with pytest.raises(RuntimeError, match="contiguous 2D array"):
        index.knn_query(small[:3], k=3, filter=lambda label: label in (5, 1700))

    def fails(label):
        raise KeyError(label)

    with pytest.raises(KeyError):
        index.knn_query(small, k=1, num_threads=2, filter=fails)


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_files_and_pickles_hold_all(small, space, tmp_path):
    index = index_of(small[:600], space, np.arange(600) * 3, max_elements=700, M=8, allow_replace_deleted=True)
    for label in range(0, 300, 3):
        index.mark_deleted(label)
    index.add_items(small[700:720], replace_deleted=True, ids=np.arange(5000, 5020))
    index.set_ef(80)
    index.save_index(str(tmp_path / "index.bin"))
    assert (tmp_path / "index.bin").stat().st_size == index.index_file_size()
    loaded = hnswlib.Index(space, 16)
    loaded.load_index(str(tmp_path / "index.bin"), allow_replace_deleted=True)
    assert loaded.ef == 10
    loaded.ef = 80
    queries = small[:100]
    for other in (loaded, pickle.loads(pickle.dumps(index)), copy.deepcopy(index), hnswlib.Index(index=index)):
        assert sorted(other.get_ids_list()) == sorted(index.get_ids_list())
        for setting in ("ef", "M", "ef_construction", "max_elements", "element_count", "space", "dim"):
            assert getattr(other, setting) == getattr(index, setting), setting
        labels, distances = other.knn_query(queries, k=5)
        expected, true_distances = index.knn_query(queries, k=5)
        assert np.array_equal(labels, expected) and np.array_equal(distances, true_distances)
        other.unmark_deleted(297)
        assert 297 in other.knn_query(other.get_items([297]), k=1)[0]
        other.add_items(small[800:810], np.arange(6000, 6010), replace_deleted=True)
    larger = hnswlib.Index(space, 16)
    larger.load_index(tmp_path / "index.bin", max_elements=900)
    assert larger.max_elements == 900


def test_the_graph_in_a_file_is_whole(small, tmp_path):
    """hnswlib walks it as it is: links within bounds, on levels that both ends have, and everything is reached."""
    from lodestore import _hnswfile

    index = index_of(small[:1000], M=6)
    for label in range(0, 1000, 7):
        index.mark_deleted(label)
    header, elements, levels, uppers = _hnswfile.split(index._bytes(), 16)
    levels, uppers = np.array(levels), np.frombuffer(uppers, _hnswfile.upper(6))
    assert header["max_level"] == levels.max() == levels[header["enterpoint_node"]]
    assert len(uppers) == levels.sum()
    starts = np.cumsum(levels) - levels
    for at in range(1000):
        lists = [elements[at], *uppers[starts[at] : starts[at] + levels[at]]]
        for level, one in enumerate(lists):
            links = one["links"][: one["count"]].tolist()
            assert one["count"] <= (12 if level == 0 else 6) and len(set(links)) == len(links) and at not in links
            assert all(levels[link] >= level for link in links)
    reached, todo = set(), [int(header["enterpoint_node"])]
    while todo:
        at = todo.pop()
        if at not in reached:
            reached.add(at)
            todo += elements[at]["links"][: elements[at]["count"]].tolist()
    assert len(reached) > 990


def test_damaged_files_are_refused(small, tmp_path):
    index, path = index_of(small[:100]), tmp_path / "index.bin"
    index.save_index(path)
    whole = path.read_bytes()
    with pytest.raises(RuntimeError, match="^Cannot open file$"):
        index.load_index(str(tmp_path / "none"))
    rng = np.random.default_rng(7)
    damaged = [whole[:50], whole[:-1], whole + b"x", b"", whole[:16] + b"\xff" * 8 + whole[24:]]
    for _ in range(100):
        bad = bytearray(whole)
        bad[rng.integers(8, 96)] ^= 1 << rng.integers(8)
        damaged.append(bytes(bad))
    refused = 0
    for bad in damaged:
        path.write_bytes(bad)
        try:
            hnswlib.Index("l2", 16).load_index(path)
        except RuntimeError as error:
            assert str(error) == "Index seems to be corrupted or unsupported"
            refused += 1
    assert refused > 60
    with pytest.raises(RuntimeError, match="corrupted"):
        path.write_bytes(whole)
        hnswlib.Index("l2", 17).load_index(path)
    # The failures above have left the index as it was.
    assert index.get_current_count() == 100 and (index.knn_query(small[:100])[0].ravel() == np.arange(100)).all()
    with pytest.raises(OSError):
        index.save_index(tmp_path / "no" / "folder")


def test_the_number_of_an_open_file_is_no_path(small):
    for index, path in [(index_of(small[:10]), 1), (hnswlib.BFIndex("l2", 16), True)]:
        with pytest.raises(TypeError):
            index.load_index(path)
    with pytest.raises(TypeError):
        index_of(small[:10]).save_index(2)


def test_an_index_that_is_loaded_again_says_so(small, tmp_path, capfd):
    index = index_of(small[:10])
    index.save_index(tmp_path / "index.bin")
    index.load_index(tmp_path / "index.bin")
    assert "Warning: Calling load_index for an already inited index." in capfd.readouterr().err


def test_resizing(small):
    index = index_of(small[:100])
    with pytest.raises(RuntimeError, match="^The number of elements exceeds the specified limit$"):
        index.add_items(small[100:102])
    assert index.get_current_count() == 100
    index.resize_index(101)
    index.add_items(small[100])
    with pytest.raises(RuntimeError, match="^Cannot resize, max element is less than the current number of elements$"):
        index.resize_index(100)
    for threads in range(8):
        index.set_num_threads(threads)
        assert (index.knn_query(small[:101], k=1)[0].ravel() == np.arange(101)).mean() > 0.97


def test_exact_indexes(small, tmp_path):
    index = hnswlib.BFIndex("cosine", 16)
    index.init_index(max_elements=200)
    index.add_items(small[:100], np.arange(100) + 7)
    index.delete_vector(8)
    index.delete_vector(8)
    assert index.get_current_count() == 99 and index.get_max_elements() == 200
    labels, distances = index.knn_query(small[:100] * 5, k=1)
    assert (np.delete(labels.ravel(), 1) == np.delete(np.arange(100) + 7, 1)).all() and distances[0] < 1e-6
    path = tmp_path / "exact.bin"
    index.save_index(path)
    assert path.stat().st_size == 24 + 200 * (16 * 4 + 8)
    loaded = hnswlib.BFIndex("cosine", 16)
    loaded.load_index(path)
    assert np.array_equal(loaded.knn_query(small[:50], k=9)[0], index.knn_query(small[:50], k=9)[0])
    loaded.delete_vector(7)
    assert loaded.get_current_count() == 98
    with pytest.raises(RuntimeError, match="not enough elements"):
        loaded.knn_query(small[:2], k=99)
    with pytest.raises(RuntimeError, match="exceeds the specified limit\n$"):
        loaded.add_items(small[:150])
    labels, _ = index.knn_query(small[:20], k=3, filter=lambda label: label % 3 == 0)
    assert (labels % 3 == 0).all()


def test_complaints_are_hnswlibs(small):
    index, empty = index_of(small[:20]), hnswlib.Index("l2", 16)
    index.mark_deleted(19)
    few = "Cannot return the results in a contiguous 2D array. Probably ef or M is too small"
    shape = "Input vector data wrong shape. Number of dimensions 3. Data must be a 1D or 2D array."
    calls = [
        ("Space name must be one of l2, ip, or cosine.", lambda: hnswlib.Index("l1", 16)),
        ("The index is already initiated.", lambda: index.init_index(10)),
        ("Wrong dimensionality of the vectors", lambda: index.add_items(small[:2, :5])),
        ("Wrong dimensionality of the vectors", lambda: index.knn_query(small[:2, :5])),
        (shape, lambda: index.add_items(small[:8].reshape(2, 4, 16))),
        ("The input label shape 1 does not match the input data vector shape 2", lambda: index.add_items(small[:2], [1])),
        ("Replacement of deleted elements is disabled in constructor", lambda: index.add_items(small[0], 1, -1, True)),
        (few, lambda: index.knn_query(small[:2], k=20)),
        ("Label not found", lambda: index.mark_deleted(500)),
        ("Label not found", lambda: index.unmark_deleted(500)),
        ("Label not found", lambda: index.get_items([500])),
        ("Label not found", lambda: index.get_items([19])),
        ("The requested to delete element is already deleted", lambda: index.mark_deleted(19)),
        ("The requested to undelete element is not deleted", lambda: index.unmark_deleted(1)),
        ("Invalid state!", lambda: empty.__setstate__(({}, {}))),
    ]
    for text, call in calls:
        with pytest.raises(RuntimeError) as raised:
            call()
        assert str(raised.value) == text
    for call in (empty.get_ids_list, empty.index_file_size, lambda: empty.knn_query(small[0]), empty.get_current_count):
        with pytest.raises(RuntimeError, match="not initiated"):
            call()
    with pytest.raises(ValueError, match='^return_type should be "numpy" or "list"$'):
        index.get_items([1], return_type="x")
    with pytest.raises(ValueError, match="^get_items accepts a list of indices and returns a list of vectors$"):
        index.get_items(np.uint64(1))
    state = index.__getstate__()[0]
    for field, text in [("ser_version", "Invalid serialization version!"), ("label_offset", "Invalid value of label_offset_ ")]:
        with pytest.raises(RuntimeError, match=text):
            hnswlib.Index(params=state | {field: 5})


def test_many_threads_delete_replace_and_search(small):
    index = index_of(small[:1000], allow_replace_deleted=True)
    index.set_ef(50)
    errors = []

    def churn(first):
        try:
            for label in range(first, 1000, 8):
                index.mark_deleted(label)
                index.add_items(small[1000 + label % 1000], 1000 + label, replace_deleted=True)
                index.knn_query(small[label], k=3)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(index.get_ids_list()) == list(range(1000, 2000))
    assert (index.knn_query(small[1000:], k=1)[0].ravel() == np.arange(1000, 2000)).mean() > 0.98
