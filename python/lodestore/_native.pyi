from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, SupportsIndex, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodestore._results import (
    BatchHits,
    CollectionInfo,
    Hits,
    RecallReport,
    Record,
    StoreStats,
    VerifyReport,
)

__all__ = ["Batch", "Collection", "Store", "in_memory", "open"]

def open(
    path: str | PathLike[str],
    *,
    create: bool = True,
    durability: Literal["sync", "buffered"] | float = "sync",
    threads: int = 0,
    residency: Literal["mapped", "resident", "packed"] = "mapped",
) -> Store: ...
def in_memory() -> Store: ...
@final
class Store:
    @property
    def path(self) -> Path | None: ...
    def collection(
        self,
        name: str,
        dim: int | None = None,
        metric: Literal["l2", "ip", "cosine", "hamming"] | None = None,
        key: type[int] = int,
        element: Literal["f32", "f16", "bf16", "i8", "u8", "bits"] | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        codes: Literal["auto", "none", "8", "4"] | None = None,
        seed: int | None = None,
    ) -> Collection: ...
    def collections(self) -> list[CollectionInfo]: ...
    def batch(self) -> Batch: ...
    def sync(self) -> None: ...
    def checkpoint(self) -> None: ...
    def stats(self) -> StoreStats: ...
    def verify(self) -> VerifyReport: ...
    def close(self) -> None: ...
    def __enter__(self) -> Store: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        _exc_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class Collection:
    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def element(self) -> str: ...
    def info(self) -> CollectionInfo: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: SupportsIndex, /) -> bool: ...
    def put(self, key: SupportsIndex, vector: ArrayLike, payload: bytes | bytearray = b"") -> None: ...
    def put_many(
        self,
        keys: NDArray[np.integer[Any]] | Iterable[SupportsIndex],
        matrix: ArrayLike,
        payloads: Iterable[bytes | bytearray] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None: ...
    def get(self, key: SupportsIndex) -> Record | None: ...
    def links(self, key: SupportsIndex) -> list[list[int]] | None: ...
    def remove(self, key: SupportsIndex) -> bool: ...
    def search(
        self,
        query: ArrayLike,
        k: int = 10,
        ef: int | None = None,
        recall: float | None = None,
        payloads: bool = True,
        filter: Callable[[int], object] | None = None,
        exact: bool = False,
    ) -> Hits: ...
    def search_many(
        self,
        queries: ArrayLike,
        k: int = 10,
        ef: int | None = None,
        threads: int = 0,
        filter: Callable[[int], object] | None = None,
        exact: bool = False,
    ) -> BatchHits: ...
    def recall(self, samples: int = 1000, k: int = 10, seed: int = 0) -> RecallReport: ...

@final
class Batch:
    def put(
        self, collection: Collection, key: SupportsIndex, vector: ArrayLike, payload: bytes | bytearray = b""
    ) -> None: ...
    def remove(self, collection: Collection, key: SupportsIndex) -> None: ...
    def commit(self) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __enter__(self) -> Batch: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        _exc_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
