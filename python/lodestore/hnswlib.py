"""A drop-in for hnswlib's Python module, on lodestore.

    from lodestore import hnswlib

    index = hnswlib.Index(space="l2", dim=16)
    index.init_index(max_elements=10_000, ef_construction=200, M=16)
    index.add_items(vectors, ids)
    labels, distances = index.knn_query(vectors[:5], k=3)

Names, arguments, defaults, types of exceptions and their texts are hnswlib's. An index lives in memory, in a collection
of its own. What differs:

- Calls may run at the same time from any threads, also searches while items are added.
- Before init_index() or load_index(), and for queries of a wrong dimension, calls raise RuntimeError.
- A call of add_items() that has no room for all of its new labels adds none. Its num_threads is taken and has no
  effect: all cores link, and make the same graph as one.
- Numbers that are not finite are refused.
- A label that is added in place of a deleted one, while it is there itself, is updated and stays one.
- With a filter, k items come back whenever there are so many.
- Files are hnswlib's, and so is what an Index is pickled as; a graph that is read is made again, not taken over.
- save_index() raises OSError where it cannot write. A load_index() that fails leaves the index as it was.
- BFIndex finds k or raises, normalises queries of "cosine", and keeps its labels when it is loaded.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodestore import _hnswfile
from lodestore._native import Collection, in_memory

__all__ = ["BFIndex", "Index"]

_Labels = NDArray[np.uint64]
_Floats = NDArray[np.float32]
_Filter = Callable[[int], object]

_SPACES = {"l2": "l2", "ip": "ip", "cosine": "ip"}
# What the graph of a collection takes.
_LEAST_M, _MOST_M, _MOST_EF = 2, 512, 65_536


class _Base:
    """What both kinds of index have."""

    def __init__(self, space: str, dim: int) -> None:
        if space not in _SPACES:
            raise RuntimeError("Space name must be one of l2, ip, or cosine.")
        self._space, self._dim = space, dim
        self._threads = os.cpu_count() or 1
        self._max_elements = 0
        self._collection: Collection | None = None
        # Held by calls that change what is in the index.
        self._changing = threading.RLock()

    def _open(self, **settings: Any) -> Collection:
        # Normalised vectors under "ip" have hnswlib's cosine distances, to zero vectors, too.
        metric = _SPACES[self._space]
        return in_memory().collection("items", self._dim, metric=metric, **settings)  # type: ignore[arg-type]

    def _items(self) -> Collection:
        if self._collection is None:
            raise RuntimeError("The index is not initiated: call init_index or load_index first.")
        return self._collection

    def _rows(self, data: ArrayLike) -> _Floats:
        """The data as rows of float32, normalised if the space is."""
        rows = np.asarray(data, np.float32)
        if rows.ndim not in (1, 2):
            raise RuntimeError(
                f"Input vector data wrong shape. Number of dimensions {rows.ndim}. Data must be a 1D or 2D array."
            )
        rows = np.atleast_2d(rows)
        if rows.shape[1] != self._dim:
            raise RuntimeError("Wrong dimensionality of the vectors")
        if self._space == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            rows = rows * (np.float32(1) / (norms + np.float32(1e-30)))[:, None]
        return rows

    def _labels(self, ids: ArrayLike, rows: int) -> _Labels:
        with np.errstate(invalid="ignore"):
            labels = np.asarray(ids).astype(np.uint64)
        if not (labels.ndim == 1 and len(labels) == rows) and not (labels.ndim == 0 and rows == 1):
            raise RuntimeError(
                f"The input label shape {labels.ndim} does not match the input data vector shape {rows}"
            )
        return labels.reshape(rows)

    def _search(
        self, data: ArrayLike, k: int, num_threads: int, filter: _Filter | None, exact: bool, ef: int, few: str
    ) -> tuple[_Labels, _Floats]:
        items, rows = self._items(), self._rows(data)
        threads = num_threads if num_threads > 0 else self._threads or os.cpu_count() or 1
        if not exact and len(rows) <= threads * 4:
            threads = 1
        hits = items.search_many(rows, k, max(ef, k), threads, filter=filter, exact=exact)
        if (hits.counts < k).any():
            raise RuntimeError(f"Cannot return the results in a contiguous 2D array. {few}")
        labels, distances = hits.keys, hits.distances
        # Of equal distances the smaller label comes first.
        for row in np.flatnonzero((distances[:, 1:] == distances[:, :-1]).any(axis=1)):
            order = np.lexsort((labels[row], distances[row]))
            labels[row] = labels[row][order]
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

    def get_max_elements(self) -> int:
        """How many items there is room for."""
        self._items()
        return self._max_elements


class Index(_Base):
    """Approximate nearest neighbours. Made of a space, "l2", "ip" or "cosine", and a dimension; or of the dictionary that
    an index is pickled as, or of another index, which is copied. See the module for what differs from hnswlib.Index."""

    def __init__(
        self,
        space: str | None = None,
        dim: int | None = None,
        *,
        params: dict[str, Any] | None = None,
        index: Index | None = None,
    ) -> None:
        if index is not None:
            params = index.__getstate__()[0]
        if params is not None:
            self.__setstate__((params,))
            return
        if space is None or dim is None:
            raise TypeError("an Index is made of a space and a dim, of params, or of an index")
        super().__init__(space, dim)
        self._ef = 10
        self._M = self._ef_construction = 0
        self._seed = 100
        self._allow_replace = False
        # The next label of items that come without, as hnswlib counts.
        self._next = 0
        self._live: set[int] = set()
        # Of deleted items the vectors, in the order of their deletion: they may come back.
        self._deleted: dict[int, _Floats] = {}

    def init_index(
        self,
        max_elements: int,
        M: int = 16,
        ef_construction: int = 200,
        random_seed: int = 100,
        allow_replace_deleted: bool = False,
    ) -> None:
        """Makes the index ready to be filled."""
        if self._collection is not None:
            raise RuntimeError("The index is already initiated.")
        self._begin(max_elements, M, max(ef_construction, M), random_seed, allow_replace_deleted)

    def _begin(self, max_elements: int, M: int, ef_construction: int, seed: int, allow_replace: bool) -> None:
        if M > _hnswfile.MOST_M:
            print(f"warning: M is {M}, which is more than {_hnswfile.MOST_M}: that is taken instead", file=sys.stderr)
            M = _hnswfile.MOST_M
        collection = self._graph_of(M, ef_construction, seed)
        self._max_elements, self._M, self._ef_construction, self._seed = max_elements, M, ef_construction, seed
        self._allow_replace = allow_replace
        self._next, self._live, self._deleted = 0, set(), {}
        self._collection = collection

    def _graph_of(self, M: int, ef_construction: int, seed: int) -> Collection:
        m = min(max(M, _LEAST_M), _MOST_M)
        ef_construction = min(max(ef_construction, 1), _MOST_EF)
        return self._open(m=m, ef_construction=ef_construction, seed=seed % 2**64)

    def add_items(
        self, data: ArrayLike, ids: ArrayLike | None = None, num_threads: int = -1, replace_deleted: bool = False
    ) -> None:
        """Adds rows of data, or puts them in the place of items with the same label."""
        items, rows = self._items(), self._rows(data)
        with self._changing:
            if replace_deleted and not self._allow_replace:
                raise RuntimeError("Replacement of deleted elements is disabled in constructor")
            if ids is None:
                labels = np.arange(self._next, self._next + len(rows), dtype=np.uint64)
            else:
                labels = self._labels(ids, len(rows))
            listed = labels.tolist()
            wanted = set(listed)
            back = wanted & self._deleted.keys()
            if back and self._allow_replace and not replace_deleted:
                raise RuntimeError(
                    "Can't use addPoint to update deleted elements if replacement of deleted elements is enabled."
                )
            new = wanted - self._live - back
            spare = min(len(new), len(self._deleted) - len(back)) if replace_deleted else 0
            if self.element_count + len(new) - spare > self._max_elements:
                raise RuntimeError("The number of elements exceeds the specified limit")
            items.put_many(labels, rows)
            for label in back:
                del self._deleted[label]
            for _ in range(spare):
                self._deleted.pop(next(iter(self._deleted)))
            self._live |= wanted
            self._next += len(rows)

    def knn_query(
        self, data: ArrayLike, k: int = 1, num_threads: int = -1, filter: _Filter | None = None
    ) -> tuple[_Labels, _Floats]:
        """Labels and distances of the k nearest items of each row, nearest first: two arrays of the shape (rows, k)."""
        return self._search(data, k, num_threads, filter, False, self._ef, "Probably ef or M is too small")

    @overload
    def get_items(self, ids: ArrayLike | None = None, return_type: Literal["numpy"] = "numpy") -> _Floats: ...
    @overload
    def get_items(self, ids: ArrayLike | None, return_type: Literal["list"]) -> list[list[float]]: ...
    def get_items(self, ids: ArrayLike | None = None, return_type: str = "numpy") -> _Floats | list[list[float]]:
        """The vectors of items; of "cosine" they are normalised."""
        if return_type not in ("numpy", "list"):
            raise ValueError('return_type should be "numpy" or "list"')
        items = self._items()
        if ids is not None and np.ndim(ids) == 0:
            raise ValueError("get_items accepts a list of indices and returns a list of vectors")
        found = []
        labels = np.empty(0, np.uint64) if ids is None else np.asarray(ids).astype(np.uint64)
        for label in labels.reshape(-1)[: len(labels)].tolist():
            record = items.get(label)
            if record is None:
                raise RuntimeError("Label not found")
            found.append(record.vector)
        vectors = np.stack(found) if found else np.empty(0, np.float32)
        return vectors if return_type == "numpy" else vectors.tolist()

    def get_ids_list(self) -> list[int]:
        """The labels of all items, deleted ones included."""
        self._items()
        with self._changing:
            return [*self._live, *self._deleted]

    def mark_deleted(self, label: int) -> None:
        """Hides an item from searches. It counts until another is put in its place."""
        items, label = self._items(), int(label)
        with self._changing:
            if label in self._deleted:
                raise RuntimeError("The requested to delete element is already deleted")
            record = items.get(label) if label in self._live else None
            if record is None:
                raise RuntimeError("Label not found")
            items.remove(label)
            self._live.remove(label)
            self._deleted[label] = record.vector

    def unmark_deleted(self, label: int) -> None:
        """Brings a deleted item back."""
        items, label = self._items(), int(label)
        with self._changing:
            if label not in self._deleted:
                live = label in self._live
                raise RuntimeError("The requested to undelete element is not deleted" if live else "Label not found")
            items.put(label, self._deleted[label])
            self._live.add(label)
            del self._deleted[label]

    def resize_index(self, new_size: int) -> None:
        """Makes room for another number of items."""
        self._items()
        with self._changing:
            if new_size < self.element_count:
                raise RuntimeError("Cannot resize, max element is less than the current number of elements")
            self._max_elements = new_size

    def set_ef(self, ef: int) -> None:
        """Sets the candidates that searches keep: more find more and take longer."""
        self._ef = ef

    @property
    def ef(self) -> int:
        """Candidates that searches keep."""
        return self._ef

    @ef.setter
    def ef(self, ef: int) -> None:
        self._ef = ef

    def get_current_count(self) -> int:
        """How many items there are, deleted ones included."""
        self._items()
        return self.element_count

    @property
    def space(self) -> str:
        """The space: "l2", "ip" or "cosine"."""
        return self._space

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self._dim

    @property
    def M(self) -> int:
        """Links of an item on the levels above 0; on level 0 twice as many."""
        return self._M

    @property
    def ef_construction(self) -> int:
        """Candidates that are kept while an item is added."""
        return self._ef_construction

    @property
    def max_elements(self) -> int:
        """How many items there is room for."""
        return self._max_elements

    @property
    def element_count(self) -> int:
        """How many items there are, deleted ones included."""
        return len(self._live) + len(self._deleted)

    def _graph(self) -> _hnswfile.Graph:
        """All items, deleted ones included, as hnswlib lays them out."""
        items = self._items()
        with self._changing:
            labels = [*self._live, *self._deleted]
            live = [record.vector for label in self._live if (record := items.get(label)) is not None]
            vectors = np.array([*live, *self._deleted.values()], np.float32).reshape(len(labels), self._dim)
            if self._deleted or items.info().slots != len(labels):
                # Paths lead through what was removed or replaced, which has no place there.
                items = self._graph_of(self._M, self._ef_construction, self._seed)
                items.put_many(labels, vectors)
            links = [items.links(label) or [[]] for label in labels]
            settings = (self._max_elements, self._M, self._ef_construction)
            return _hnswfile.graph(labels, vectors, set(self._deleted), links, settings)

    def _fill(self, header: Any, elements: Any, max_elements: int, seed: int, allow_replace: bool) -> None:
        """Becomes an index of these; stays what it was if that fails."""
        places: dict[int, int] = {}
        hidden = (elements["flags"] & _hnswfile.DELETED) != 0
        for at, label in enumerate(elements["label"].tolist()):
            # A replaced item may be there twice.
            if label not in places or not hidden[at]:
                places[label] = at
        rows = np.fromiter(places.values(), np.int64, len(places))
        live, deleted = rows[~hidden[rows]], rows[hidden[rows]]
        M, ef_construction = int(header["M"]), int(header["ef_construction"])
        collection = self._graph_of(M, ef_construction, seed)
        collection.put_many(elements["label"][live], elements["vector"][live])
        with self._changing:
            self._collection, self._max_elements, self._M = collection, max_elements, M
            self._ef_construction, self._seed, self._allow_replace = ef_construction, seed, allow_replace
            self._next, self._live = len(elements), set(elements["label"][live].tolist())
            vectors = elements["vector"][deleted].astype(np.float32)
            self._deleted = dict(zip(elements["label"][deleted].tolist(), vectors, strict=True))

    def save_index(self, path_to_index: str | os.PathLike[str]) -> None:
        """Writes a file that hnswlib reads, too. It holds all of the index, or what it held before."""
        _hnswfile.save(path_to_index, self._graph())

    def load_index(
        self, path_to_index: str | os.PathLike[str], max_elements: int = 0, allow_replace_deleted: bool = False
    ) -> None:
        """Reads a file of this module or of hnswlib, and makes the graph anew."""
        header, elements = _hnswfile.load(path_to_index, self._dim)
        if self._collection is not None:
            self._warn_of_loading()
        room = max_elements if max_elements >= len(elements) else max(int(header["max_elements"]), len(elements))
        self._fill(header, elements, room, self._seed, allow_replace_deleted)
        self._ef = 10

    def index_file_size(self) -> int:
        """Bytes that save_index() would write."""
        return self._graph().size()

    def __getstate__(self) -> tuple[dict[str, Any]]:
        state: dict[str, Any] = {"ser_version": 1, "space": self._space, "dim": self._dim}
        with self._changing:
            state |= {"index_inited": self._collection is not None, "ep_added": self.element_count > 0}
            state |= {"normalize": self._space == "cosine", "num_threads": self._threads, "seed": self._seed}
            state["ef"] = self._ef
            if self._collection is None:
                return (state,)
            graph = self._graph()
            header = graph.header[0]
            state |= {field: header[field].item() for field in _hnswfile.HEADER.names or ()}
            state |= {"has_deletions": bool(self._deleted), "allow_replace_deleted": self._allow_replace}
            state["size_links_per_element"] = graph.uppers.dtype.itemsize
            levels = np.zeros(int(header["max_elements"]), np.int32)
            levels[: len(graph.levels)] = graph.levels
            state["label_lookup_external"] = graph.elements["label"].copy()
            state["label_lookup_internal"] = np.arange(len(graph.elements), dtype=np.uint32)
            state["element_levels"] = levels
            state["data_level0"] = graph.elements.view(np.int8)
            state["link_lists"] = graph.uppers.view(np.int8)
            return (state,)

    def __setstate__(self, state: tuple[dict[str, Any]]) -> None:
        if len(state) != 1:
            raise RuntimeError("Invalid state!")
        (params,) = state
        if params["ser_version"] != 1:
            raise RuntimeError("Unpickle Error: Invalid serialization version!")
        Index.__init__(self, params["space"], params["dim"])
        self._threads, self._seed, self._ef = params["num_threads"], params["seed"], params["ef"]
        if not params["index_inited"]:
            return
        for field, value in _hnswfile.expected(params, self._dim).items():  # type: ignore[arg-type]
            if params[field] != value:
                raise RuntimeError(f"Unpickle Error: Invalid value of {field} ")
        count, element = params["cur_element_count"], _hnswfile.element(params["M"], self._dim)
        level0 = np.ascontiguousarray(params["data_level0"]).view(np.uint8)
        if level0.size != count * element.itemsize:
            raise RuntimeError("Unpickle Error: Invalid value of data_level0 ")
        elements = level0.view(element)
        room, allow = max(params["max_elements"], count), params.get("allow_replace_deleted", False)
        self._fill(params, elements, room, self._seed, allow)

    def __repr__(self) -> str:
        return f"<hnswlib.Index(space='{self._space}', dim={self._dim})>"


class BFIndex(_Base):
    """Exact nearest neighbours, by comparing with every item. See the module for what differs from hnswlib.BFIndex."""

    def init_index(self, max_elements: int) -> None:
        """Makes the index ready to be filled."""
        if self._collection is not None:
            raise RuntimeError("The index is already initiated.")
        self._begin(max_elements)

    def _begin(self, max_elements: int) -> None:
        # Nobody walks its graph.
        self._collection = self._open(m=_LEAST_M, ef_construction=1, codes="none")
        self._max_elements = max_elements
        self._present: set[int] = set()

    def add_items(self, data: ArrayLike, ids: ArrayLike | None = None) -> None:
        """Adds rows of data, or puts them in the place of items with the same label."""
        items, rows = self._items(), self._rows(data)
        with self._changing:
            first = len(self._present)
            labels = np.arange(first, first + len(rows)) if ids is None else self._labels(ids, len(rows))
            wanted = self._present.union(labels.tolist())
            if len(wanted) > self._max_elements:
                raise RuntimeError("The number of elements exceeds the specified limit\n")
            items.put_many(labels, rows)
            self._present = wanted

    def delete_vector(self, label: int) -> None:
        """Removes an item, if there is one of that label."""
        items, label = self._items(), int(label)
        with self._changing:
            self._present.discard(label)
            items.remove(label)

    def knn_query(
        self, data: ArrayLike, k: int = 1, num_threads: int = -1, filter: _Filter | None = None
    ) -> tuple[_Labels, _Floats]:
        """Labels and distances of the k nearest items of each row, nearest first: two arrays of the shape (rows, k)."""
        return self._search(data, k, num_threads, filter, True, k, "There are not enough elements.")

    def save_index(self, path_to_index: str | os.PathLike[str]) -> None:
        """Writes a file that hnswlib reads, too. It holds all of the index, or what it held before."""
        items = self._items()
        with self._changing:
            labels = list(self._present)
            vectors = [record.vector for label in labels if (record := items.get(label)) is not None]
            rows = np.array(vectors, np.float32).reshape(len(labels), self._dim)
            _hnswfile.save_bf(path_to_index, labels, rows, self._max_elements)

    def load_index(self, path_to_index: str | os.PathLike[str], max_elements: int = 0) -> None:
        """Reads a file of this module or of hnswlib. There is room for max_elements, or for as many as there was."""
        room, elements = _hnswfile.load_bf(path_to_index, self._dim)
        if self._collection is not None:
            self._warn_of_loading()
        loaded = BFIndex(self._space, self._dim)
        loaded._begin(max_elements if max_elements >= len(elements) else room)
        loaded._items().put_many(elements["label"], elements["vector"])
        with self._changing:
            self._collection, self._max_elements = loaded._collection, loaded._max_elements
            self._present = set(elements["label"].tolist())

    def get_current_count(self) -> int:
        """How many items there are."""
        self._items()
        return len(self._present)

    def __repr__(self) -> str:
        return f"<hnswlib.BFIndex(space='{self._space}', dim={self._dim})>"
