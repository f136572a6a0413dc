"""What hnswlib's users do, and its own tests look at, with asserts that can fail."""

import os
import pickle
import threading

import numpy as np
import pytest
from conftest import exact

from lodestore import hnswlib


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def self_recall(index, vectors, labels=None):
    found = index.knn_query(vectors, k=1)[0].ravel()
    return (found == (np.arange(len(vectors)) if labels is None else labels)).mean()


def test_halves_are_saved_loaded_deleted_and_brought_back(rng, tmp_path, monkeypatch):
    """10,000 vectors of 16 components at ef 10, built by 4 threads; the file lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    points = rng.random((10_000, 16), np.float32)
    index = hnswlib.Index(space="l2", dim=16)
    index.init_index(max_elements=5000, ef_construction=100, M=16)
    index.set_ef(10)
    index.set_num_threads(4)
    index.add_items(points[:5000])
    assert self_recall(index, points[:5000]) >= 0.9995
    labels, _ = index.knn_query(points[:5000], k=1)
    assert np.array_equal(index.get_items(labels), points[labels.ravel()])
    index.save_index("half.bin")
    assert os.path.isfile("half.bin") and os.listdir() == ["half.bin"]
    index = hnswlib.Index(space="l2", dim=16)
    index.load_index("half.bin", max_elements=10_000)
    os.remove("half.bin")
    index.add_items(points[5000:])
    assert self_recall(index, points) >= 0.9995
    assert sorted(index.get_ids_list()) == list(range(10_000))

    for label in np.arange(5000, dtype=np.uint64):
        index.mark_deleted(label)
    assert index.knn_query(points[:5000], k=1)[0].min() >= 5000
    assert self_recall(index, points[5000:], np.arange(5000, 10_000)) > 0.999
    index.save_index("deleted.bin")
    index = hnswlib.Index(space="l2", dim=16)
    index.load_index("deleted.bin")
    assert index.knn_query(points[:5000], k=1)[0].min() >= 5000 and index.get_current_count() == 10_000
    for label in range(5000):
        index.unmark_deleted(label)
    index.set_ef(100)
    assert self_recall(index, points) >= 0.9995


def test_filters_of_every_kind_find_the_same(rng):
    points = rng.random((4000, 16), np.float32)
    index, brute = hnswlib.Index("l2", 16), hnswlib.BFIndex("l2", 16)
    index.init_index(4000)
    brute.init_index(4000)
    index.add_items(points)
    brute.add_items(points)
    assert self_recall(index, points) > 0.999
    even = lambda label: label % 2 == 0  # noqa: E731
    mask = np.arange(4000) % 2 == 0
    labels, _ = index.knn_query(points, k=1, num_threads=1, filter=even)
    assert labels.max() % 2 == 0 and (labels % 2 == 0).all()
    assert (labels.ravel() == np.arange(4000)).mean() == 0.5
    for module in (index, brute):
        expected = module.knn_query(points[:50], k=5, filter=even)
        kinds = [mask, np.flatnonzero(mask), np.flatnonzero(mask).astype(np.int32), range(0, 4000, 2)]
        for kind in [*kinds, mask.tolist(), set(range(0, 4000, 2))]:
            found = module.knn_query(points[:50], k=5, filter=kind)
            # What is a set may be found in another way than what a function says, and so a little better or worse.
            if module is brute:
                assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
            assert (found[0] % 2 == 0).all() and (found[0] == expected[0]).mean() > 0.9
    # One for each row: of those that a filter lets through, the true nearest.
    filters = [None, even, ~mask, np.array([7, 9, 1001, 1003, 3999]), [5, 6, 8, 10, 12]] * 2
    labels, distances = brute.knn_query(points[:10], k=5, filter=filters)
    allowed = [range(4000), range(0, 4000, 2), range(1, 4000, 2), [7, 9, 1001, 1003, 3999], [5, 6, 8, 10, 12]] * 2
    for row, keys in enumerate(allowed):
        keys = np.array(keys)
        true = keys[np.argsort(exact(points[keys], points[row], "l2"))[:5]]
        assert labels[row].tolist() == true.tolist()
        found = index.knn_query(points[row], k=5, filter=filters[row])[0][0].tolist()
        assert set(found) <= set(keys.tolist()) and len(set(found) & set(true.tolist())) >= 4
    masks = rng.random((10, 4000)) < 0.5
    labels, _ = index.knn_query(points[:10], k=5, filter=masks)
    assert masks[np.arange(10)[:, None], labels.astype(int)].all()
    with pytest.raises(ValueError, match="one for each of the 10; got 9"):
        index.knn_query(points[:10], k=1, filter=filters[:9])
    # A label behind the end of a mask is none of its.
    assert index.knn_query(points[3000], k=3, filter=mask[:5])[0].max() < 5


def test_ef_and_padding_for_one_call(rng):
    points = rng.random((3000, 24), np.float32)
    index = hnswlib.Index("l2", 24)
    index.init_index(3000, M=5, ef_construction=20)
    index.add_items(points)
    queries = rng.random((200, 24), np.float32)
    true = np.array([np.argsort(exact(points, query, "l2"))[:5] for query in queries])
    recall = lambda labels: np.mean([len(set(a) & set(b)) / 5 for a, b in zip(labels, true, strict=True)])  # noqa: E731
    low, high = (index.knn_query(queries, k=5, ef=ef)[0] for ef in (5, 400))
    assert recall(low.tolist()) < recall(high.tolist()) and index.ef == 10
    efs = np.where(np.arange(200) % 2 == 0, 5, 400)
    labels, _ = index.knn_query(queries, k=5, ef=efs)
    assert np.array_equal(labels[::2], low[::2]) and np.array_equal(labels[1::2], high[1::2])
    with pytest.raises(ValueError, match="one for each of the 200 rows"):
        index.knn_query(queries, ef=efs[:3])
    with pytest.raises(RuntimeError, match="contiguous 2D array"):
        index.knn_query(queries, k=4, filter=[3, 4])
    labels, distances = index.knn_query(queries, k=4, filter=[3, 4], padded=True)
    assert (np.sort(labels[:, :2]) == [3, 4]).all() and (labels[:, 2:] == 2**64 - 1).all()
    assert np.isinf(distances[:, 2:]).all() and np.isfinite(distances[:, :2]).all()
    assert index.knn_query(queries, k=0)[0].shape == (200, 0)


def test_replaced_items_are_found_as_well_as_others(rng):
    """Recall after all of the index was replaced is that of one that was not."""
    count, k = 1200, 50
    points, more = rng.random((count, 16), np.float32), rng.random((count, 16), np.float32)
    queries = rng.random((200, 16), np.float32)
    replaced = hnswlib.Index("l2", 16)
    replaced.init_index(2 * count, ef_construction=200, M=16, allow_replace_deleted=True)
    replaced.add_items(points)
    replaced.add_items(more, np.arange(count) + 10_000)
    for label in range(count):
        replaced.mark_deleted(label)
    replaced.add_items(points, np.arange(count) + 20_000, replace_deleted=True)
    assert replaced.get_current_count() == 2 * count and replaced.deleted_count == 0
    plain = hnswlib.Index("l2", 16)
    plain.init_index(2 * count, ef_construction=200, M=16)
    plain.add_items(points, np.arange(count) + 20_000)
    plain.add_items(more, np.arange(count) + 10_000)
    recalls = []
    for index in (replaced, plain):
        index.set_ef(k)
        labels, _ = index.knn_query(queries, k=k)
        right = 0
        for row, query in enumerate(queries):
            distances = np.concatenate([exact(points, query, "l2"), exact(more, query, "l2")])
            keys = np.concatenate([np.arange(count) + 20_000, np.arange(count) + 10_000])
            right += len(set(labels[row].tolist()) & set(keys[np.argsort(distances)[:k]].tolist()))
        recalls.append(right / (k * len(queries)))
    assert min(recalls) > 0.98 and abs(recalls[0] - recalls[1]) < 0.02, recalls
    # Again and again, at full capacity, through a pickle.
    for round in range(3):
        labels = replaced.get_ids_list()[::2]
        for label in labels:
            replaced.mark_deleted(label)
        replaced = pickle.loads(pickle.dumps(replaced))
        new = np.arange(len(labels)) + 100_000 * (round + 1)
        replaced.add_items(points[: len(labels)], new, replace_deleted=True)
        assert replaced.get_current_count() == 2 * count and replaced.deleted_count == 0
        found = replaced.knn_query(points[: len(labels)], k=2)[0]
        assert (found == new[:, None]).any(axis=1).mean() > 0.98


def test_pickles_of_all_spaces_and_states(rng):
    for space, dim in [("ip", 16), ("l2", 53), ("cosine", 32)]:
        points, queries = rng.random((1000, dim), np.float32), rng.random((100, dim), np.float32)
        index = pickle.loads(pickle.dumps(hnswlib.Index(space, dim)))
        index.num_threads = 4
        index.init_index(1100, ef_construction=200, M=32)
        index.ef = 400
        index = pickle.loads(pickle.dumps(index))
        assert (index.ef, index.M, index.ef_construction, index.num_threads) == (400, 32, 200, 4)
        index.add_items(points)
        assert index.get_items().shape == (0,)
        copy = pickle.loads(pickle.dumps(index))
        for one in (index, copy):
            labels, distances = one.knn_query(queries, k=25)
            for row, query in enumerate(queries):
                all_distances = exact(points, query, space)
                assert len(set(labels[row].tolist()) & set(np.argsort(all_distances)[:25].tolist())) >= 24
                assert np.allclose(distances[row], np.sort(all_distances)[:25], atol=1e-3)
        assert np.array_equal(copy.knn_query(queries, k=25)[0], index.knn_query(queries, k=25)[0])
        copy.add_items(points[:50] + 1, np.arange(1000, 1050))
        assert (copy.element_count, index.element_count) == (1050, 1000)


def test_distances_of_every_dimension():
    points = np.arange(5)[:, None] + np.ones((1, 1))
    for space in ("l2", "ip", "cosine"):
        for dim in [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 129, 161]:
            data = np.hstack([points] * dim) + np.linspace(0, 1, dim)
            index = hnswlib.Index(space, dim)
            index.init_index(5, ef_construction=100, M=16)
            index.set_ef(10)
            # Of float64, as a list, and the same number as there are.
            index.add_items(data.tolist() if dim % 2 else data)
            labels, distances = index.knn_query(data, k=5)
            true = np.array([np.sort(exact(data, query, space)) for query in data])
            scale = np.maximum(np.abs(true), 1)
            assert (np.abs(distances - true) / scale).max() < 1e-4, (space, dim)
            assert (np.sort(labels) == np.arange(5)).all()


def test_threads_delete_and_replace_at_once(rng):
    points = rng.random((2000, 16), np.float32)
    for round in range(3):
        index = hnswlib.Index("l2", 16)
        index.init_index(2000, ef_construction=50, M=8, random_seed=round, allow_replace_deleted=True)
        index.add_items(points)
        deleted, errors = set(range(0, 2000, 2)), []

        def run(work):
            def guarded():
                try:
                    work()
                except BaseException as error:
                    errors.append(error)

            return threading.Thread(target=guarded)

        def remove(first):
            for label in range(first, 2000, 50):
                index.mark_deleted(label)

        def replace(first):
            for label in range(first, 2000, 50):
                index.add_items(points[label], 10_000 + label, replace_deleted=True)
                index.knn_query(points[label], k=3)

        for work in (remove, replace):
            threads = [run(lambda first=first, work=work: work(first)) for first in range(0, 50, 2)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            assert not errors
            found = set(index.knn_query(points, k=5)[0].ravel().tolist())
            assert not found & deleted
        assert index.deleted_count == 0 and self_recall(index, points[::2], 10_000 + np.arange(0, 2000, 2)) > 0.98


def test_searching_while_adding(rng):
    points = rng.random((4000, 16), np.float32)
    index = hnswlib.Index("l2", 16)
    index.init_index(max_elements=0)
    index.add_items(points[:100])
    adding = threading.Thread(target=lambda: [index.add_items(points[at : at + 100]) for at in range(100, 4000, 100)])
    adding.start()
    rounds = 0
    while adding.is_alive() or rounds == 0:
        labels, distances = index.knn_query(points[:100], k=3)
        assert (labels[:, 0] == np.arange(100)).mean() > 0.98 and (np.diff(distances) >= 0).all()
        rounds += 1
    adding.join()
    assert index.element_count == 4000 and self_recall(index, points) > 0.999


def test_no_limit_is_kept(rng, tmp_path):
    points = rng.random((50, 4), np.float32)
    index = hnswlib.Index("l2", 4)
    index.init_index(max_elements=0)
    index.add_items(points)
    copy = pickle.loads(pickle.dumps(index))
    copy.add_items(points, np.arange(50) + 100)
    assert (copy.element_count, copy.max_elements, index.element_count) == (100, 0, 50)
    index.save_index(tmp_path / "index")
    loaded = hnswlib.Index("l2", 4)
    loaded.load_index(tmp_path / "index")
    assert loaded.max_elements == 50
    exact_index = hnswlib.BFIndex("l2", 4)
    exact_index.init_index(0)
    exact_index.add_items(points)
    assert exact_index.get_current_count() == 50


def test_progress_is_told_and_may_stop(rng):
    points = rng.random((3000, 48), np.float32)
    index = hnswlib.Index("l2", 48)
    index.init_index(3000)
    told = []
    index.add_items(points, progress=lambda done, all: told.append((done, all)))
    assert told[-1] == (3000, 3000) and told == sorted(told)
    other = hnswlib.Index("l2", 48)
    other.init_index(3000)

    def stop(done, all):
        raise KeyError(done)

    with pytest.raises(KeyError):
        other.add_items(points, progress=stop)
    count = other.element_count
    assert count < 3000 and sorted(other.get_ids_list()) == list(range(count))
    other.add_items(points, np.arange(3000))
    assert other.element_count == 3000 and self_recall(other, points) > 0.99


def test_the_readme_of_hnswlib_runs():
    dim, num_elements = 128, 2000
    data = np.float32(np.random.random((num_elements, dim)))
    ids = np.arange(num_elements)
    p = hnswlib.Index(space="l2", dim=dim)
    p.init_index(max_elements=num_elements, ef_construction=200, M=16)
    p.add_items(data, ids)
    p.set_ef(50)
    labels, distances = p.knn_query(data, k=1)
    assert labels.shape == distances.shape == (num_elements, 1) and (labels.ravel() == ids).mean() > 0.99
    p_copy = pickle.loads(pickle.dumps(p))
    assert (p_copy.space, p_copy.dim, p_copy.M, p_copy.ef_construction) == ("l2", dim, 16, 200)
    assert (p_copy.element_count, p_copy.max_elements, p_copy.ef) == (num_elements, num_elements, 50)
