"""Directories that Chroma has made: cli/tests/chroma/make.py says how, and what is in them."""

import json
import os
import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import lodestore
from lodestore import chroma

DATA = Path(__file__).resolve().parents[2] / "cli" / "tests" / "chroma"
METRICS = {"glosses": "cosine", "few": "l2", "products": "ip"}


@pytest.fixture(params=["v04", "v15"])
def version(request):
    return request.param


@pytest.fixture
def directory(tmp_path, version):
    return Path(shutil.copytree(DATA / version / "store", tmp_path / "chroma"))


def change(directory, sql):
    with closing(sqlite3.connect(directory / "chroma.sqlite3", isolation_level=None)) as database:
        database.executescript(f"PRAGMA foreign_keys = OFF; BEGIN; {sql}; COMMIT")


def test_collections_are_as_chroma_says(directory, version, store):
    expected = json.loads((DATA / version / "expected.json").read_text())
    found = {one.name: one for one in chroma.collections(directory)}
    assert found.keys() == {*METRICS, "empty"} and found["empty"].dim is None
    for name, metric in METRICS.items():
        assert found[name] == (name, 12, metric)
        docs = chroma.take(directory, store, name)
        assert (docs.metric, docs.key, list(docs)) == (metric, str, sorted(expected[name]))
        for id, record in expected[name].items():
            got, true = docs.get(id), np.array(record["vector"], np.float32)
            if metric == "cosine":
                # 0.4 gives them normalised.
                true = true * (np.linalg.norm(got.vector) / np.linalg.norm(true))
            assert np.allclose(got.vector, true, atol=1e-5)
            payload = json.loads(got.payload) if got.payload else {}
            assert payload.get("document") == record["document"] and payload.get("metadata") == record["metadata"]
    with pytest.raises(lodestore.InputError, match="exists already"):
        chroma.take(directory, store, "few")
    assert store.verify().ok


def test_collections_are_named(directory, store):
    with pytest.raises(lodestore.NotFoundError, match="'empty', 'few', 'glosses', 'products'"):
        chroma.take(directory, store, "docs")
    with pytest.raises(lodestore.NotFoundError, match="called 'none'"):
        chroma.take(directory, store, "docs", "none")
    with pytest.raises(lodestore.CorruptError, match="never had a record"):
        chroma.take(directory, store, "empty")
    told = []
    docs = chroma.take(directory, store, "docs", "glosses", lambda done, of: told.append((done, of)), element="f16", m=8)
    assert docs.element == "f16" and docs.info().m == 8 and told[-1] == (len(docs), len(docs))
    with pytest.raises(lodestore.NotFoundError, match="chroma.sqlite3"):
        chroma.collections(directory.parent)


def test_the_queue_alone_makes_the_same_records(directory, store):
    before = list(chroma.take(directory, store, "before", "few").iter(records=True))
    change(directory, "DELETE FROM embedding_metadata; DELETE FROM embeddings; DELETE FROM max_seq_id")
    after = list(chroma.take(directory, store, "after", "few").iter(records=True))
    assert len(before) == 3 and [key for key, _ in before] == [key for key, _ in after]
    assert all(np.array_equal(a.vector, b.vector) and a.payload == b.payload for (_, a), (_, b) in zip(before, after, strict=True))


@pytest.mark.parametrize("sql", [
    "UPDATE embeddings_queue SET vector = x'00000000' WHERE vector NOT NULL",
    "UPDATE embeddings_queue SET vector = 'text' WHERE vector NOT NULL",
    "UPDATE embeddings_queue SET operation = 9",
    "UPDATE embeddings_queue SET encoding = 'FLOAT64' WHERE vector NOT NULL",
    "DELETE FROM max_seq_id; UPDATE embeddings_queue SET metadata = '{' WHERE operation = 2",
    "DELETE FROM max_seq_id; UPDATE embeddings_queue SET metadata = '[1]' WHERE operation = 2",
    "UPDATE embeddings_queue SET vector = NULL WHERE operation = 2",
    "UPDATE embeddings_queue SET id = x'ff' WHERE operation = 2",
    "UPDATE collections SET dimension = 100000",
    "UPDATE collections SET dimension = 13",
    "UPDATE collections SET dimension = 'x'",
    "UPDATE segments SET id = '../' || id",
    "DELETE FROM segments",
    "UPDATE max_seq_id SET seq_id = 'x'",
    "DELETE FROM embeddings WHERE embedding_id = 'gloss 2'",
    "INSERT INTO embeddings (segment_id, embedding_id, seq_id) SELECT segment_id, 'more', 1 FROM embeddings WHERE embedding_id = 'made'",
    "DROP TABLE embeddings; CREATE VIEW embeddings AS SELECT * FROM segments",
    "DROP TABLE max_seq_id",
    "UPDATE embedding_metadata SET string_value = NULL, int_value = NULL, float_value = 9e999",
    "UPDATE embedding_metadata SET string_value = x'ff'",
    "UPDATE embeddings SET embedding_id = x'ff' WHERE embedding_id = 'gloss 2'",
    "DELETE FROM max_seq_id; UPDATE embeddings_queue SET metadata = '{\"a\": NaN}' WHERE metadata NOT NULL",
    "DELETE FROM max_seq_id; UPDATE embeddings_queue SET metadata = '{\"a\": \"\\ud800\"}' WHERE metadata NOT NULL",
])  # fmt: skip
def test_a_damaged_database_is_refused(directory, store, sql):
    change(directory, sql)
    with pytest.raises(lodestore.CorruptError):
        chroma.take(directory, store, "glosses")
    assert store.collections() == []


def test_damaged_files_are_refused(directory, version, store):
    (segment,) = (path for path in directory.iterdir() if path.is_dir())
    before = len(chroma.take(directory, lodestore.in_memory(), "glosses"))
    for file in segment.iterdir():
        sound = file.read_bytes()
        file.write_bytes(sound[: len(sound) // 32])
        with pytest.raises(lodestore.CorruptError):
            chroma.take(directory, store, "glosses")
        file.unlink()
        if (version, file.name) == ("v04", "index_metadata.pickle"):
            # Its queue has everything, and nothing says that there was an index.
            assert len(chroma.take(directory, store, "glosses")) == before
            store = lodestore.in_memory()
            file.write_bytes(sound)
            continue
        with pytest.raises((OSError, lodestore.CorruptError)):
            chroma.take(directory, store, "glosses")
        file.write_bytes(sound)
    database = directory / "chroma.sqlite3"
    sound = database.read_bytes()
    for page in range(0, len(sound) // 512, 7):
        bytes = bytearray(sound)
        bytes[page * 512 + 7 : page * 512 + 71] = b"\xa5" * 64
        database.write_bytes(bytes)
        try:
            chroma.take(directory, store, f"of {page}", "glosses")
        except lodestore.Error:
            pass


def test_nothing_in_a_pickle_is_called(directory, store, tmp_path):
    (segment,) = (path for path in directory.iterdir() if path.is_dir())

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    for evil in (Evil(), {"id_to_label": Evil()}, {"id_to_label": {"x": Evil()}}, {"id_to_label": {"x": [1]}}, {"id_to_label": {"x": 999}}):
        (segment / "index_metadata.pickle").write_bytes(pickle.dumps(evil))
        with pytest.raises(lodestore.CorruptError):
            chroma.take(directory, store, "glosses")
    assert not (tmp_path / "made").exists()
    # A number of a place for which there is no memory, where room is made for all places before it; one label for two ids.
    for evil in (b"Nr\xff\xff\xff\xff.", pickle.dumps({"id_to_label": {"gloss 1": 1, "gloss 2": 1}})):
        (segment / "index_metadata.pickle").write_bytes(evil)
        with pytest.raises(lodestore.CorruptError):
            chroma.take(directory, store, "glosses")
