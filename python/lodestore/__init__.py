"""An embedded, crash-safe vector store.

A store is a directory of named collections of records, each a key with a vector and a payload of bytes. Keys of a
collection are int, str, bytes or uuid.UUID, and have an order in which they can be gone through. A search finds the records nearest
to a vector, on files that are mapped into memory.

    import lodestore

    with lodestore.open("notes.store") as store:
        notes = store.collection("notes", dim=3, metric="cosine")
        notes.put(1, [0.1, 0.9, 0.3], b"the first note")  # on the disk when this returns
        for hit in notes.search([0.2, 0.8, 0.3], k=2):
            print(hit.key, hit.distance, hit.payload)

Metrics: "l2" is the squared Euclidean distance, "ip" is 1 - x.y, "cosine" is 1 - cos(x, y), "hamming" is the number of
bits that differ. Arrays are numpy's; what is not of a collection's own type is converted, or refused if it has no such
number. Store, Collection and Batch may be used from any thread, and release the GIL while they work.
"""

from lodestore._errors import (
    ClosedError,
    CorruptError,
    DimensionError,
    Error,
    InputError,
    LockedError,
    NotFoundError,
    StaleError,
    StorageError,
)
from lodestore._native import Batch, Collection, KeySet, Savepoint, Scan, Store, Stream, Tag, TagFilter, in_memory, open
from lodestore._results import (
    BatchHits,
    CollectionInfo,
    CollectionReport,
    Group,
    Hit,
    Hits,
    RecallAt,
    RecallReport,
    Record,
    MemoryStats,
    ScrubReport,
    StoreStats,
    VerifyReport,
)

__all__ = [
    "Batch",
    "BatchHits",
    "ClosedError",
    "Collection",
    "CollectionInfo",
    "CollectionReport",
    "CorruptError",
    "DimensionError",
    "Error",
    "Group",
    "Hit",
    "Hits",
    "InputError",
    "KeySet",
    "LockedError",
    "NotFoundError",
    "RecallAt",
    "RecallReport",
    "Record",
    "Savepoint",
    "Scan",
    "MemoryStats",
    "ScrubReport",
    "StaleError",
    "StorageError",
    "Store",
    "StoreStats",
    "Stream",
    "Tag",
    "TagFilter",
    "VerifyReport",
    "in_memory",
    "open",
]
