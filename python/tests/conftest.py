"""Real data for all tests: the demo's glosses, their sentence vectors, and the true neighbours of 200 queries.

demo/data/README.md describes the files.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lodestore

DATA = Path(__file__).resolve().parents[2] / "demo" / "data"


def read_q8(name):
    raw = (DATA / f"{name}.q8").read_bytes()
    rows, dim = np.frombuffer(raw, "<u4", 2)
    scales = np.frombuffer(raw, "<f4", rows, offset=8)
    codes = np.frombuffer(raw, "i1", rows * dim, offset=8 + 4 * int(rows)).reshape(rows, dim)
    return codes, codes.astype(np.float32) * scales[:, None]


@pytest.fixture(scope="session")
def data():
    codes, vectors = read_q8("glosses")
    _, queries = read_q8("queries")
    truth = np.fromfile(DATA / "groundtruth.ivecs", "<i4").reshape(len(queries), -1)[:, 1:]
    texts = (DATA / "glosses.txt").read_bytes().splitlines()
    return SimpleNamespace(codes=codes, vectors=vectors, queries=queries, truth=truth, texts=texts)


@pytest.fixture(scope="session")
def glosses(data):
    """All 5,000 glosses with their texts. Tests only read it."""
    docs = lodestore.in_memory().collection("glosses", dim=384, metric="cosine")
    docs.put_many(np.arange(5000), data.vectors, data.texts)
    return docs


@pytest.fixture
def store():
    with lodestore.in_memory() as store:
        yield store


def exact(vectors, query, metric):
    """Distances from a query to all vectors, in float64."""
    vectors, query = np.asarray(vectors, np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        return ((vectors - query) ** 2).sum(axis=1)
    dots = vectors @ query
    if metric == "ip":
        return 1 - dots
    return 1 - dots / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
