#!/usr/bin/env python3
"""Makes the directories of Chroma that the tests read: run it with each version of chromadb there is one of.

    python make.py OUT      # OUT/store, and OUT/expected.json with what chromadb itself says that is in it

Made so: 0.4.24 -> v04, 1.5.9 -> v15. The vectors are the first components of the demo's.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import chromadb
import numpy as np

HERE = Path(__file__).resolve().parent
LATE = not chromadb.__version__.startswith("0.")
DIM = 12


def glosses():
    data = HERE.parents[2] / "demo" / "data"
    raw = (data / "glosses.q8").read_bytes()
    rows, dim = np.frombuffer(raw, "<u4", 2)
    scales = np.frombuffer(raw, "<f4", rows, offset=8)
    codes = np.frombuffer(raw, "i1", rows * dim, offset=8 + 4 * int(rows)).reshape(rows, dim)
    texts = [line[:30] for line in (data / "glosses.txt").read_text().splitlines()]
    return (codes[:, :DIM] * scales[:, None]).astype(np.float32), texts


def client(path):
    return chromadb.PersistentClient(path=str(path), settings=chromadb.Settings(anonymized_telemetry=False))


def make(path):
    vectors, texts = glosses()
    chroma = client(path)

    def rows(first, last):
        return {"ids": [f"gloss {n}" for n in range(first, last)], "embeddings": vectors[first:last].tolist()}

    settings = {"hnsw:space": "cosine", "hnsw:sync_threshold": 40, "hnsw:batch_size": 10, "hnsw:M": 3}
    docs = chroma.create_collection("glosses", metadata=settings)
    metadata = [{"n": n, "half": n / 2, "word": texts[n].split()[0], "even": n % 2 == 0} for n in range(45)]
    docs.add(**rows(0, 45), documents=texts[:45], metadatas=metadata)
    docs.add(**rows(45, 60))
    docs.delete(ids=["gloss 3", "gloss 55"])
    if LATE:
        # 0.4 loses the vector of one that is added again.
        docs.add(**rows(3, 4), documents=["again"])
    docs.add(ids=["gloss 8"], embeddings=[vectors[100].tolist()], documents=["is there, so nothing changes"])
    docs.update(ids=["gloss 5"], embeddings=[vectors[101].tolist()], metadatas=[{"n": -1, "new": "ü"}])
    docs.update(ids=["gloss 6"], metadatas=[{"word": "other"}])
    docs.update(ids=["no such"], embeddings=[vectors[102].tolist()])
    docs.upsert(ids=["gloss 7", "made"], embeddings=vectors[103:105].tolist(), documents=["up", "made"])
    if LATE:
        docs.update(ids=["gloss 9"], metadatas=[{"word": None, "list": ["a", "b"]}])
        docs.add(**{**rows(60, 61), "ids": ["listed"]}, metadatas=[{"list": [1, 2, 3], "flags": [True]}])
    # Of these nothing is in an index, and with 1.x nothing but the queue.
    few = chroma.create_collection("few", metadata={"about": "as few as there are"})
    few.add(**rows(0, 4), documents=texts[:4])
    few.delete(ids=["gloss 1"])
    if LATE:
        chroma.create_collection("products", configuration={"hnsw": {"space": "ip"}}).add(**rows(0, 2))
    else:
        chroma.create_collection("products", metadata={"hnsw:space": "ip"}).add(**rows(0, 2))
    chroma.create_collection("empty")


def read(path):
    found = {}
    for name in ("glosses", "few", "products"):
        all = client(path).get_collection(name).get(include=["embeddings", "documents", "metadatas"])
        columns = [all[column] for column in ("ids", "embeddings", "documents", "metadatas")]
        found[name] = {
            id: {"vector": [float(x) for x in vector], "document": document, "metadata": metadata}
            for id, vector, document, metadata in zip(*columns)
        }
    return found


if __name__ == "__main__":
    out = Path(sys.argv[1])
    if len(sys.argv) > 2:
        {"make": make, "read": lambda path: (out / "expected.json").write_text(json.dumps(read(path)))}[sys.argv[2]](
            out / sys.argv[3]
        )
        sys.exit()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    # Each in a process of its own, and what is read is a copy: reading writes.
    for what in (["make", "store"], ["read", "copy"]):
        subprocess.run([sys.executable, __file__, out, *what], check=True)
        if what[0] == "make":
            shutil.copytree(out / "store", out / "copy")
    shutil.rmtree(out / "copy")
    for segment in (out / "store").iterdir():
        if segment.is_dir() and not (segment / "index_metadata.pickle").exists():
            # Room for an index that nothing was written to.
            shutil.rmtree(segment)
    # Small pages, so that the many tables take little room.
    database = sqlite3.connect(out / "store" / "chroma.sqlite3", isolation_level=None)
    database.execute("PRAGMA page_size = 512")
    database.execute("VACUUM")
