"""What calls return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray


class Record(NamedTuple):
    """A record's value."""

    vector: NDArray[np.float32]
    """Shape (dim,)."""
    payload: bytes
    tags: dict[str, int | str | list[int | str]]
    """To each field its value, or a list of several."""


class Hit(NamedTuple):
    """A record found."""

    key: Any
    """Of the type that the collection's keys have."""
    distance: float
    """The exact distance from the query, in the collection's metric."""
    payload: bytes | None
    """None if payloads were not asked for."""


def _plain(key: Any) -> Any:
    return int(key) if isinstance(key, np.integer) else key


class Hits(Sequence[Hit]):
    """The records found, nearest first: a sequence of Hit, and its columns."""

    __slots__ = ("complete", "distances", "keys", "payloads")

    keys: NDArray[np.uint64] | list[Any]
    """Shape (found,); a list unless keys are int, of 64 bits."""
    distances: NDArray[np.float32]
    """Shape (found,)."""
    payloads: list[bytes] | None
    """None if they were not asked for."""
    complete: bool
    """False if a timeout has cut the search short."""

    def __init__(
        self,
        keys: NDArray[np.uint64] | list[Any],
        distances: NDArray[np.float32],
        payloads: list[bytes] | None = None,
        complete: bool = True,
    ) -> None:
        self.keys = keys
        self.distances = distances
        self.payloads = payloads
        self.complete = complete

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Hits: ...
    def __getitem__(self, at: int | slice) -> Hit | Hits:
        if isinstance(at, slice):
            payloads = None if self.payloads is None else self.payloads[at]
            return Hits(self.keys[at], self.distances[at], payloads, self.complete)
        payload = None if self.payloads is None else self.payloads[at]
        return Hit(_plain(self.keys[at]), float(self.distances[at]), payload)

    def __iter__(self) -> Iterator[Hit]:
        payloads: Sequence[bytes | None] = [None] * len(self) if self.payloads is None else self.payloads
        keys = self.keys if isinstance(self.keys, list) else self.keys.tolist()
        return map(Hit, keys, self.distances.tolist(), payloads)

    def __repr__(self) -> str:
        return f"Hits(keys={self.keys}, distances={self.distances})"


class Group(NamedTuple):
    """Records that belong together, from Collection.group_by()."""

    id: Any
    """What group(hit) has said of them."""
    hits: Hits
    """Nearest first; at least one."""


class BatchHits:
    """What many queries found, a row each, nearest first."""

    __slots__ = ("complete", "counts", "distances", "keys")

    keys: NDArray[Any]
    """Shape (rows, k), of uint64, or of objects unless keys are int, of 64 bits. Behind a row's hits, if there are fewer than k,
    2**64 - 1 or None."""
    distances: NDArray[np.float32]
    """Shape (rows, k). Behind a row's hits, if there are fewer than k, infinity."""
    counts: NDArray[np.int64]
    """Shape (rows,): how many hits each row has."""
    complete: bool
    """False if a timeout has cut a row short, or left it out."""

    def __init__(
        self,
        keys: NDArray[Any],
        distances: NDArray[np.float32],
        counts: NDArray[np.int64],
        complete: bool = True,
    ) -> None:
        self.keys = keys
        self.distances = distances
        self.counts = counts
        self.complete = complete

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, row: int) -> Hits:
        """The hits of one query."""
        count = self.counts[row]
        keys = self.keys[row, :count]
        return Hits(keys.tolist() if keys.dtype == object else keys, self.distances[row, :count])

    def __iter__(self) -> Iterator[Hits]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"<lodestore.BatchHits of {self.keys.shape[0]} queries, k {self.keys.shape[1]}>"


class CollectionInfo(NamedTuple):
    """A collection's settings and size."""

    name: str
    dim: int
    element: str
    metric: str
    m: int
    ef_construction: int
    seed: int
    codes: str
    """What walks compare: "none", "8" or "4"."""
    len: int
    """Records."""
    slots: int
    """Slots given out, those of replaced and removed records included."""
    unlinked: int
    """Records that are found by comparing until they are linked, after a crash."""
    marked: int = 0
    """Records marked as deleted; len does not count them."""
    key: str = "int"
    """What keys are: "int", "u128", "uuid", "str" or "bytes"."""


class ScrubReport(NamedTuple):
    """What Store.scrub() has read, and what is not as it was written."""

    ended: float
    """When it came to its end, as time.time()."""
    slots: int
    """Slots of which vector, code, id and key were looked at."""
    pages: int
    """Pages of links, tombstones and checksums."""
    rows: int
    """Rows of the catalogue."""
    problems: list[str]
    """Everything that is wrong, one sentence each; the first hundred."""
    problem_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0


class MemoryStats(NamedTuple):
    """What a store has in memory, in bytes. None is said where the system does not tell, and of limits without a budget."""

    budget: int | None
    changed: int
    """Changed pages, which the store keeps until the next checkpoint."""
    changed_limit: int | None
    """Writers wait for a checkpoint when there are more of those."""
    catalog_limit: int
    """The most that pages of the catalogue take."""
    hot: int
    """What every search reads, of all collections: links, codes (without them vectors), ids."""
    hot_in_memory: int | None
    """What of that is in memory, the system's copies included."""
    hot_limit: int | None
    """What is more than this is not kept in memory."""
    vectors: int
    """The other vectors: those of collections with codes."""
    vectors_in_memory: int | None
    packed: int
    """Packed neighbourhoods."""
    process: int | None
    """Memory of the whole process: its own, and what it has mapped."""


class StoreStats(NamedTuple):
    """Counts and sizes of a store. Sizes are in bytes."""

    collections: list[CollectionInfo]
    records: int
    files: list[tuple[str, int]]
    """Each file's name, relative to the store, and length."""
    bytes: int
    """Length of all files together."""
    last_lsn: int
    """The number of the last log record."""
    durable_lsn: int
    """Log records up to this one survive a power loss."""
    checkpoint_lsn: int
    """Log records up to this one are in the last checkpoint."""
    log_bytes: int
    log_syncs: int
    """Syncs of the log since the store was opened."""
    checkpoints: int
    """Checkpoints since the store was opened."""
    dirty_bytes: int
    """Bytes of changed pages that are in memory until the next checkpoint."""
    readers: int
    """Stores opened with read_only at this moment, in this process or others."""
    poisoned: str | None
    """Why the store takes no more writes, if it does not."""
    kernel: str
    """What computes distances: "avx512", "avx2", "neon" or "scalar"."""
    scrub: ScrubReport | None = None
    """What the last scrub() has found, if there was one since the store was opened."""
    memory: MemoryStats | None = None
    """What is in memory, and the budget for it."""


class CollectionReport(NamedTuple):
    """What verify() looked at in one collection."""

    name: str
    records: int
    slots: int
    """Slots whose checksums were compared."""
    pages: int
    """Pages whose checksums were compared."""
    links: int
    unreachable: int
    """Records that no path of links leads to from the entry point."""
    no_in_links: int
    """Records that no link points at."""
    marked: int = 0
    """Records marked as deleted; records counts them."""


class VerifyReport(NamedTuple):
    """What verify() found."""

    collections: list[CollectionReport]
    problems: list[str]
    """Everything that is wrong, one sentence each; the first hundred of each collection."""
    problem_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0


class RecallAt(NamedTuple):
    """Recall at one ef."""

    ef: int
    recall: float
    """The share of the true nearest that was found, 0 to 1."""
    low: float
    """The interval that holds the collection's recall with 95 % confidence."""
    high: float
    distances: float
    """Distances computed by a search, on average."""


class RecallReport(NamedTuple):
    """How much of what an exact search finds searches find with rising ef. Queries are stored vectors, each without
    itself."""

    k: int
    samples: int
    records: int
    rows: list[RecallAt]
    """One for each ef, rising, up to the first at which everything was found."""
    lsn: int = 0
    """The store's last write then: StoreStats.last_lsn less this is how many it has seen since."""

    def ef_for(self, recall: float) -> int | None:
        """The least measured ef with which that share of the true neighbours was found; None if none was enough."""
        return next((row.ef for row in self.rows if row.recall >= recall), None)


for _class in (
    Record, Hit, Hits, Group, BatchHits, CollectionInfo, ScrubReport, StoreStats, CollectionReport, VerifyReport, RecallAt,
    RecallReport,
):  # fmt: skip
    _class.__module__ = "lodestore"
del _class
