"""What both kinds of index of `lodestore.hnswlib` have: rows, labels, filters, searching, threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodestore._native import Collection, KeySet, Store, in_memory
from lodestore._results import BatchHits

Labels = NDArray[np.uint64]
Floats = NDArray[np.float32]
Filter = Callable[[int], object] | KeySet | NDArray[np.bool_] | NDArray[np.integer[Any]] | Iterable[int]
# One for all rows, or one for each.
Filters = Filter | Sequence[Filter | None]

SPACES = {"l2": "l2", "ip": "ip", "cosine": "ip"}
# What the graph of a collection takes.
LEAST_M, MOST_M, MOST_EF = 2, 512, 65_536


def _by_row(filter: Filters | None, rows: int) -> Sequence[Any] | None:
    """The filters of the rows, if each has its own."""
    filters: Sequence[Any]
    if isinstance(filter, np.ndarray) and filter.ndim == 2 and filter.dtype == np.bool_:
        filters = list(filter)
    elif isinstance(filter, (list, tuple)) and any(
        one is None or callable(one) or isinstance(one, (np.ndarray, list, tuple, set, range, KeySet)) for one in filter
    ):
        filters = filter
    else:
        return None
    if len(filters) != rows:
        raise ValueError(f"filter is one for all rows, or one for each of the {rows}; got {len(filters)}")
    return filters


def real(data: ArrayLike, what: str) -> NDArray[Any]:
    """The data as an array, if it is of numbers that are real."""
    array = np.asarray(data)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"{what} must be real numbers, got {array.dtype}")
    return array


def floats(data: ArrayLike, what: str) -> Floats:
    """As float32. What is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return real(data, what).astype(np.float32, copy=False)


def integers(data: ArrayLike, dtype: type[Any], what: str) -> NDArray[Any]:
    """As whole numbers of a type. Negative labels count from its end, as in hnswlib."""
    array = real(data, what)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.trunc(array)) & (np.abs(array) < 2.0**63)
        if not whole.all():
            raise ValueError(f"{what} must be whole numbers, got {array[~whole].flat[0]}")
        array = array.astype(np.int64)
    return array.astype(dtype, copy=False)


class Base:
    """What both kinds of index have."""

    def __init__(self, space: str, dim: int) -> None:
        if space not in SPACES:
            raise RuntimeError("Space name must be one of l2, ip, or cosine.")
        self._space, self._dim = space, dim
        self._threads = os.cpu_count() or 1
        self._max_elements = 0
        self._store: Store | None = None
        self._collection: Collection | None = None
        # Held by calls that change what is in the index.
        self._changing = threading.RLock()

    def _open(self, **settings: Any) -> tuple[Store, Collection]:
        # Normalised vectors under "ip" have hnswlib's cosine distances, to zero vectors, too.
        store, metric = in_memory(), SPACES[self._space]
        return store, store.collection("items", self._dim, metric=metric, **settings)  # type: ignore[arg-type]

    def _items(self) -> Collection:
        if self._collection is None:
            raise RuntimeError("The index is not initiated: call init_index or load_index first.")
        return self._collection

    def _rows(self, data: ArrayLike) -> Floats:
        """The data as rows of float32, normalised if the space is."""
        rows = floats(data, "vectors")
        if rows.ndim not in (1, 2):
            raise RuntimeError(
                f"Input vector data wrong shape. Number of dimensions {rows.ndim}. Data must be a 1D or 2D array."
            )
        rows = np.atleast_2d(rows)
        if rows.shape[1] != self._dim:
            raise RuntimeError("Wrong dimensionality of the vectors")
        if self._space == "cosine":
            # What is not finite stays so, and is refused.
            with np.errstate(over="ignore", invalid="ignore"):
                norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
                rows = rows * (np.float32(1) / (norms + np.float32(1e-30)))[:, None]
        return rows

    def _labels(self, ids: ArrayLike, rows: int) -> Labels:
        labels = integers(ids, np.uint64, "labels")
        if not (labels.ndim == 1 and len(labels) == rows) and not (labels.ndim == 0 and rows == 1):
            raise RuntimeError(
                f"The input label shape {labels.ndim} does not match the input data vector shape {rows}"
            )
        return labels.reshape(rows)

    def _search(
        self,
        data: ArrayLike,
        k: int,
        num_threads: int,
        filter: Filters | None,
        ef: int | ArrayLike | None,
        padded: bool,
        few: str,
    ) -> tuple[Labels, Floats]:
        items, rows = self._items(), self._rows(data)
        threads = num_threads if num_threads > 0 else self._threads or os.cpu_count() or 1
        # None compares with all.
        efs = None if ef is None else np.maximum(integers(ef, np.int64, "ef"), max(k, 1))
        if isinstance(filter, (list, tuple)) and filter and all(isinstance(one, (bool, np.bool_)) for one in filter):
            filter = np.array(filter)
        filters = _by_row(filter, len(rows))
        if efs is not None and efs.ndim > 0 and efs.shape != (len(rows),):
            raise ValueError(f"ef is a number, or one for each of the {len(rows)} rows; got the shape {efs.shape}")

        def found(part: Floats, wanted: int, kept: Any) -> BatchHits:
            most = 1 if efs is not None and len(part) <= threads * 4 else threads
            return items.search_many(part, k, wanted, most, filter=kept, exact=efs is None)

        if efs is None or efs.ndim == 0:
            hits = found(rows, k if efs is None else int(efs), filter if filters is None else list(filters))
            labels, distances, counts = hits.keys, hits.distances, hits.counts
        else:
            labels = np.empty((len(rows), k), np.uint64)
            distances, counts = np.empty((len(rows), k), np.float32), np.empty(len(rows), np.int64)
            for wanted in np.unique(efs):
                at = np.flatnonzero(efs == wanted)
                hits = found(rows[at], int(wanted), filter if filters is None else [filters[row] for row in at.tolist()])
                labels[at], distances[at], counts[at] = hits.keys, hits.distances, hits.counts
        if not padded and (counts < k).any():
            raise RuntimeError(f"Cannot return the results in a contiguous 2D array. {few}")
        # Of equal distances the smaller label comes first.
        ties = np.flatnonzero((distances[:, 1:] == distances[:, :-1]).any(axis=1))
        if len(ties):
            order = np.lexsort((labels[ties], distances[ties]), axis=-1)
            labels[ties] = np.take_along_axis(labels[ties], order, axis=1)
        return labels, distances

    @staticmethod
    def _warn_of_loading() -> None:
        what = "Calling load_index for an already inited index. Old index is being deallocated."
        print(f"Warning: {what}", file=sys.stderr)

    def set_num_threads(self, num_threads: int) -> None:
        """Sets the threads of knn_query; 0 is one for each core."""
        self._threads = num_threads

    @property
    def num_threads(self) -> int:
        """Threads of knn_query."""
        return self._threads

    @num_threads.setter
    def num_threads(self, num_threads: int) -> None:
        self._threads = num_threads

    def _is_full(self, count: int) -> bool:
        """Whether there is no room for so many items; 0 is no limit."""
        return 0 < self._max_elements < count

    def get_max_elements(self) -> int:
        """How many items there is room for; 0 is no limit."""
        self._items()
        return self._max_elements
