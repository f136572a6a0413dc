"""What numpy arrays are taken, how, and what is refused."""

import numpy as np
import pytest
from conftest import exact

import lodestore

FLOATS = {"f32": np.float32, "f16": np.float16}


@pytest.mark.parametrize("given", [np.float64, np.float32, np.float16, ">f4", np.longdouble])
def test_floats_of_any_size_are_taken(store, data, given):
    vectors = data.vectors[:20].astype(np.float16).astype(given)
    docs = store.collection("docs", dim=384)
    docs.put_many(range(20), vectors)
    assert np.array_equal(docs.get(3).vector, vectors[3].astype(np.float32))
    assert docs.search(vectors[3], k=1).keys == [3]
    assert docs.search_many(vectors[:5], k=1).keys.ravel().tolist() == list(range(5))


def test_lists_and_tuples_and_integers_are_taken(store):
    docs = store.collection("docs", dim=3)
    docs.put(1, [1, 2.5, 3])
    docs.put(2, (0, 0, 1))
    docs.put(3, np.arange(3, dtype=np.int64))
    docs.put_many((4, 5), [[1, 1, 1], (2, 2, 2)])
    assert docs.get(3).vector.tolist() == [0, 1, 2] and docs.get(5).vector.tolist() == [2, 2, 2]
    assert docs.search([1, 2.5, 3], k=1).keys == [1]


def test_any_layout_is_taken(store, data):
    rows = np.arange(0, 200, 2)
    expected = data.vectors[rows, ::2]
    unaligned = np.frombuffer(b"x" + expected.tobytes(), np.uint8)[1:].view(np.float32).reshape(expected.shape)
    assert not unaligned.flags.aligned
    frozen = expected.copy()
    frozen.flags.writeable = False
    layouts = (data.vectors[:200:2, ::2], np.asfortranarray(expected), unaligned, expected[::-1][::-1], frozen)
    for number, matrix in enumerate(layouts):
        docs = store.collection(f"docs {number}", dim=192)
        docs.put_many(rows, matrix)
        for key in rows[::10]:
            assert np.array_equal(docs.get(key).vector, expected[key // 2])
        hits = docs.search_many(matrix[:10], k=1)
        assert hits.keys.ravel().tolist() == rows[:10].tolist()
    docs.put(1, data.vectors[9, ::-2])
    assert np.array_equal(docs.get(1).vector, data.vectors[9, ::-2])


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("element", ["f16", "i8", "u8"])
def test_elements_take_their_own_dtype(store, data, element, metric):
    dtype = {"f16": np.float16, "i8": np.int8, "u8": np.uint8}[element]
    codes = data.codes[:300].astype(np.int16)
    vectors = {"f16": data.vectors[:300], "i8": codes, "u8": codes + 128}[element].astype(dtype)
    docs = store.collection("docs", dim=384, metric=metric, element=element)
    docs.put_many(range(300), vectors)
    assert np.array_equal(docs.get(7).vector, vectors[7].astype(np.float32))
    hits = docs.search(vectors[7], k=5, ef=300)
    distances = exact(vectors, vectors[7], metric)
    assert np.allclose(hits.distances, np.sort(distances)[:5], rtol=1e-3, atol=1e-4)
    # The same numbers as floats are the same record.
    docs.put(7, vectors[7].astype(np.float64))
    assert np.array_equal(docs.get(7).vector, vectors[7].astype(np.float32))
    if element != "f16":
        with pytest.raises(lodestore.InputError, match="no number for 0.5"):
            docs.put(7, np.full(384, 0.5))
        with pytest.raises(lodestore.InputError, match="no number for 1000"):
            docs.put(7, np.full(384, 1000))


def test_bf16_is_rounded(store, data):
    docs = store.collection("docs", dim=384, element="bf16")
    docs.put(1, data.vectors[1])
    assert np.allclose(docs.get(1).vector, data.vectors[1], rtol=2**-8)


def test_bits_are_taken_packed_and_one_by_one(store, data):
    bits = data.codes[:100, :300] > 0
    docs = store.collection("docs", dim=300, element="bits")
    assert docs.metric == "hamming"
    packed = np.packbits(bits, axis=1, bitorder="little")
    docs.put_many(range(100), packed)
    docs.put(1, bits[1])
    docs.put(2, bits[2].astype(np.float32))
    docs.put(3, bits[3].astype(np.uint8))
    for key in range(5):
        assert np.array_equal(docs.get(key).vector, bits[key])
    for query in (packed[9], bits[9]):
        hits = docs.search(query, k=3, ef=100)
        assert hits.distances.tolist() == np.sort((bits ^ bits[9]).sum(axis=1))[:3].tolist()
    with pytest.raises(lodestore.InputError, match="bit 30[0-9]"):
        docs.put(1, np.full(38, 255, np.uint8))
    with pytest.raises(lodestore.DimensionError, match=r"\(39,\), expected is \(300,\), or \(38,\) of uint8"):
        docs.put(1, np.zeros(39, np.uint8))


@pytest.mark.parametrize(
    "keys", [[1, 2**64 - 1], (1, 2**64 - 1), np.array([1, 2**64 - 1], np.uint64), iter([np.uint8(1), 2**64 - 1])]
)
def test_keys_are_integers(store, keys):
    docs = store.collection("docs", dim=1)
    docs.put_many(keys, [[1], [2]])
    assert 1 in docs and 2**64 - 1 in docs and docs.search([2], k=1).keys == [2**64 - 1]
    assert np.int32(1) in docs and docs.remove(np.uint64(2**64 - 1))
    docs.put_many(np.arange(6, dtype=np.int16)[::2], [[0], [2], [4]])
    assert docs.get(4).vector == [4]


def refusals(docs):
    error, shape = lodestore.InputError, lodestore.DimensionError
    nan = [[1, float("nan")]]
    return [
        (shape, r"the vector is \(3,\), expected is \(2,\)", lambda: docs.put(1, [1, 2, 3])),
        (shape, r"\(1, 2\), expected is \(2,\)", lambda: docs.put(1, [[1, 2]])),
        (shape, r"\(\), expected is \(2,\)", lambda: docs.put(1, 5)),
        (shape, r"the matrix is \(2, 3\), expected is \(rows, 2\)", lambda: docs.put_many([1, 2], np.ones((2, 3)))),
        (shape, r"\(2,\), expected is \(rows, 2\)", lambda: docs.put_many([1], [1, 2])),
        (shape, "3 keys need 3 vectors, got 2", lambda: docs.put_many([1, 2, 3], np.ones((2, 2)))),
        (shape, "2 keys need 2 payloads, got 1", lambda: docs.put_many([1, 2], np.ones((2, 2)), [b""])),
        (shape, r"array of keys is \(1, 1\)", lambda: docs.put_many(np.ones((1, 1), int), np.ones((1, 2)))),
        (shape, r"the queries is \(2,\)", lambda: docs.search_many([1, 2])),
        (error, "row 0, component 1: NaN", lambda: docs.put_many([1], nan)),
        (error, "row 0, component 1: NaN", lambda: docs.search_many(nan)),
        (error, "not a finite", lambda: docs.put(1, [1e300, 0])),
        (error, r"from 0 to 2\*\*64 - 1, got -1", lambda: docs.put(-1, [1, 2])),
        (error, r"got 18446744073709551616", lambda: docs.get(2**64)),
        (error, r"got -5", lambda: docs.put_many(np.array([3, -5]), np.ones((2, 2)))),
        (TypeError, "a key is an integer, got str", lambda: docs.put("1", [1, 2])),
        (TypeError, "a key is an integer, got float", lambda: docs.remove(1.0)),
        (TypeError, "keys are integers, got an array of float64", lambda: docs.put_many(np.ones(1), np.ones((1, 2)))),
        (TypeError, "of numbers, got an array of complex128", lambda: docs.put(1, [1j, 2])),
        (TypeError, "of numbers, got an array of <U1", lambda: docs.put(1, ["1", "2"])),
        (TypeError, None, lambda: docs.put(1, [1, 2], "text")),
        (TypeError, "one for each row, got bytes", lambda: docs.put_many([1], np.ones((1, 2)), b"x")),
        (TypeError, None, lambda: docs.put_many([1], np.ones((1, 2)), ["text"])),
        (MemoryError, "smaller k", lambda: docs.search_many(np.ones((9, 2)), k=2**60)),
        (OverflowError, None, lambda: docs.search([1, 2], k=-1)),
    ]


def test_wrong_input_is_refused_and_changes_nothing(store):
    docs = store.collection("docs", dim=2)
    docs.put(1, [1, 2], b"kept")
    with np.errstate(over="ignore"):
        for number, (kind, text, call) in enumerate(refusals(docs)):
            with pytest.raises(kind, match=text):
                call()
                pytest.fail(f"number {number} was taken")
    assert len(docs) == 1 and docs.get(1).payload == b"kept" and docs.get(1).vector.tolist() == [1, 2]


def test_a_bad_row_anywhere_stops_all(store, data):
    docs = store.collection("docs", dim=384)
    vectors = data.vectors[:2000].copy()
    vectors[1999, 5] = np.inf
    with pytest.raises(lodestore.InputError, match="row 1999, component 5"):
        docs.put_many(range(2000), vectors)
    assert len(docs) == 0
