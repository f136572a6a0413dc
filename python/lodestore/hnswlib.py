"""A drop-in for hnswlib's Python module, on lodestore.

    from lodestore import hnswlib

    index = hnswlib.Index(space="l2", dim=16)
    index.init_index(max_elements=10_000, ef_construction=200, M=16)
    index.add_items(vectors, ids)
    labels, distances = index.knn_query(vectors[:5], k=3)

Names, arguments, defaults, types of exceptions and their texts are hnswlib's, and so are files and what an Index is
pickled as: a graph is taken over as it is, not built again, and handed out as it is. An index lives in memory, in a
collection of its own. What differs:

- Calls may run at the same time from any threads, also searches while items are added.
- Before init_index() or load_index(), and for queries of a wrong dimension, calls raise RuntimeError.
- A call of add_items() that has no room for all of its new labels adds none. Its num_threads is taken and has no
  effect: all cores link, and make the same graph as one. Neither has random_seed: the same items make the same graph.
- Searches walk on small copies of the vectors, twice as fast, and compare what they find exactly. So at a small ef, in the
  same graph, they may find another item than hnswlib where two are about as far. Index(..., codes="none") does not.
- Numbers that are not finite are refused.
- A label that is added in place of a deleted one, while it is there itself, is updated and stays one.
- With a filter, k items come back whenever there are so many.
- save_index() raises OSError where it cannot write, and replaces the file as a whole. A load_index() that fails leaves
  the index as it was. Of a label that a file has twice the item that is not deleted counts.
- BFIndex finds k or raises, normalises queries of "cosine", and keeps its labels when it is loaded.

And what is more, if it is asked for:

- max_elements=0 is no limit.
- filter is a function, an array of booleans by label, or labels (an array of integers, or any iterable); or a list of
  such filters, one for each row. All but functions are looked at without the interpreter.
- knn_query() takes ef, for all rows or one for each, and padded=True, with which rows that find less than k are filled up
  with the label 2**64 - 1 at an infinite distance.
- add_items() calls progress now and then with the rows added and the rows there are.
- deleted_count is how many items are marked as deleted.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from lodestore import _hnswfile
from lodestore._errors import Error
from lodestore._hnswbase import LEAST_M, MOST_EF, MOST_M, SPACES, Base, Filters, Floats, Labels, integers
from lodestore._native import Collection, _give_hnswlib, _graph_size, _take_hnswlib, _vectors

__all__ = ["BFIndex", "Index"]

class Index(Base):
    """Approximate nearest neighbours. Made of a space, "l2", "ip" or "cosine", and a dimension; or of the dictionary that
    an index is pickled as, or of another index, which is copied. See the module for what differs from hnswlib.Index."""

    def __init__(
        self,
        space: str | None = None,
        dim: int | None = None,
        *,
        params: dict[str, Any] | None = None,
        index: Index | None = None,
        codes: Literal["auto", "none", "8", "4"] = "auto",
    ) -> None:
        if index is not None:
            params = index.__getstate__()[0]
        if params is not None:
            self.__setstate__((params,))
            return
        if space is None or dim is None:
            raise TypeError("an Index is made of a space and a dim, of params, or of an index")
        super().__init__(space, dim)
        self._codes, self._ef = codes, 10
        self._M = self._ef_construction = 0
        self._seed = 100
        self._allow_replace = False
        # The next label of items that come without, as hnswlib counts.
        self._next = 0
        # All, and those that are deleted, in the order of their deletion.
        self._all: set[int] = set()
        self._deleted: dict[int, None] = {}

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
        m, candidates = min(max(M, LEAST_M), MOST_M), min(max(ef_construction, 1), MOST_EF)
        store, collection = self._open(m=m, ef_construction=candidates, codes=self._codes)
        self._max_elements, self._M, self._ef_construction, self._seed = max_elements, M, ef_construction, seed
        self._allow_replace = allow_replace
        self._next, self._all, self._deleted = 0, set(), {}
        self._store, self._collection = store, collection

    def add_items(
        self,
        data: ArrayLike,
        ids: ArrayLike | None = None,
        num_threads: int = -1,
        replace_deleted: bool = False,
        *,
        progress: Callable[[int, int], object] | None = None,
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
            wanted = set(labels.tolist())
            back = wanted & self._deleted.keys()
            if back and self._allow_replace and not replace_deleted:
                raise RuntimeError(
                    "Can't use addPoint to update deleted elements if replacement of deleted elements is enabled."
                )
            new = wanted - self._all
            others = (label for label in self._deleted if label not in back)
            spare = list(itertools.islice(others, len(new))) if replace_deleted else []
            if self._is_full(len(self._all) + len(new) - len(spare)):
                raise RuntimeError("The number of elements exceeds the specified limit")
            try:
                items.put_many(labels, rows, progress=progress)
            except BaseException:
                # Perhaps some rows are there.
                self._look_again(wanted)
                raise
            if spare and self._store is not None:
                # Together, so that they are unlinked together.
                with self._store.batch() as batch:
                    for label in spare:
                        batch.remove(items, label)
            for label in spare:
                self._all.remove(label)
                del self._deleted[label]
            for label in back:
                del self._deleted[label]
            self._all |= wanted
            self._next += len(rows)

    def _look_again(self, labels: set[int]) -> None:
        for label in labels:
            if label in self._items():
                self._all.add(label)
                self._deleted.pop(label, None)

    def knn_query(
        self,
        data: ArrayLike,
        k: int = 1,
        num_threads: int = -1,
        filter: Filters | None = None,
        *,
        ef: int | ArrayLike | None = None,
        padded: bool = False,
    ) -> tuple[Labels, Floats]:
        """Labels and distances of the k nearest items of each row, nearest first: two arrays of the shape (rows, k)."""
        few = "Probably ef or M is too small"
        return self._search(data, k, num_threads, filter, self._ef if ef is None else ef, padded, few)

    @overload
    def get_items(self, ids: ArrayLike | None = None, return_type: Literal["numpy"] = "numpy") -> Floats: ...
    @overload
    def get_items(self, ids: ArrayLike | None, return_type: Literal["list"]) -> list[list[float]]: ...
    def get_items(self, ids: ArrayLike | None = None, return_type: str = "numpy") -> Floats | list[list[float]]:
        """The vectors of items; of "cosine" they are normalised."""
        if return_type not in ("numpy", "list"):
            raise ValueError('return_type should be "numpy" or "list"')
        items = self._items()
        if ids is not None and np.ndim(ids) == 0:
            raise ValueError("get_items accepts a list of indices and returns a list of vectors")
        vectors: Floats = np.empty(0, np.float32)
        if ids is not None:
            labels = integers(ids, np.uint64, "labels")
            found = _vectors(items, labels.reshape(-1)[: len(labels)])
            if found is None:
                raise RuntimeError("Label not found")
            vectors = found
        return vectors if return_type == "numpy" else vectors.tolist()

    def get_ids_list(self) -> list[int]:
        """The labels of all items, deleted ones included."""
        self._items()
        with self._changing:
            return list(self._all)

    def mark_deleted(self, label: int) -> None:
        """Hides an item from searches. It counts until another is put in its place."""
        items, label = self._items(), int(label)
        with self._changing:
            if label in self._deleted:
                raise RuntimeError("The requested to delete element is already deleted")
            if label not in self._all:
                raise RuntimeError("Label not found")
            items.mark_deleted(label)
            self._deleted[label] = None

    def unmark_deleted(self, label: int) -> None:
        """Brings a deleted item back."""
        items, label = self._items(), int(label)
        with self._changing:
            if label not in self._all:
                raise RuntimeError("Label not found")
            if label not in self._deleted:
                raise RuntimeError("The requested to undelete element is not deleted")
            items.unmark_deleted(label)
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
        return len(self._all)

    @property
    def deleted_count(self) -> int:
        """How many items are marked as deleted."""
        return len(self._deleted)

    def _bytes(self) -> bytes:
        """What save_index() writes."""
        room = max(self._max_elements, len(self._all))
        return _give_hnswlib(self._items(), room, max(self._M, LEAST_M), self._ef_construction)

    def _take(self, data: bytes | bytearray, max_elements: int, allow_replace: bool) -> None:
        """Becomes the index of these bytes; stays what it was if that fails."""
        header = np.frombuffer(data, _hnswfile.HEADER, 1)[0]
        count, room = int(header["cur_element_count"]), int(header["max_elements"])
        store, collection, labels, hidden = _take_hnswlib(data, self._dim, SPACES[self._space], self._codes)
        with self._changing:
            self._store, self._collection = store, collection
            self._max_elements = max_elements if max_elements >= count else room
            self._M, self._ef_construction = int(header["M"]), int(header["ef_construction"])
            self._allow_replace, self._next = allow_replace, count
            self._all = set(labels.tolist())
            # One that is there twice is deleted if both are.
            live = set(labels[~hidden].tolist())
            self._deleted = dict.fromkeys(label for label in labels[hidden].tolist() if label not in live)

    def save_index(self, path_to_index: str | os.PathLike[str]) -> None:
        """Writes a file that hnswlib reads, too. It holds all of the index, or what it held before."""
        with self._changing:
            _hnswfile.replace_file(path_to_index, self._bytes())

    def load_index(
        self, path_to_index: str | os.PathLike[str], max_elements: int = 0, allow_replace_deleted: bool = False
    ) -> None:
        """Reads a file of this module or of hnswlib, and takes its graph over as it is."""
        # A number would be that of an open file.
        path = os.fspath(path_to_index)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise RuntimeError("Cannot open file") from error
        if self._collection is not None:
            self._warn_of_loading()
        try:
            if len(data) < _hnswfile.HEADER.itemsize:
                raise RuntimeError(_hnswfile.CORRUPTED)
            self._take(data, max_elements, allow_replace_deleted)
        except Error as error:
            raise RuntimeError(_hnswfile.CORRUPTED) from error
        self._ef = 10

    def index_file_size(self) -> int:
        """Bytes that save_index() would write."""
        count, uppers = _graph_size(self._items())
        M = max(self._M, LEAST_M)
        level0 = _hnswfile.element(M, self._dim).itemsize
        return _hnswfile.HEADER.itemsize + count * (level0 + 4) + uppers * _hnswfile.upper(M).itemsize

    def __getstate__(self) -> tuple[dict[str, Any]]:
        state: dict[str, Any] = {"ser_version": 1, "space": self._space, "dim": self._dim}
        with self._changing:
            state |= {"index_inited": self._collection is not None, "ep_added": self.element_count > 0}
            state |= {"normalize": self._space == "cosine", "num_threads": self._threads, "seed": self._seed}
            if self._collection is None:
                return (state | {"ef": self._ef, "codes": self._codes},)
            header, level0, levels, uppers = _hnswfile.split(self._bytes(), self._dim)
            state |= {field: header[field].item() for field in _hnswfile.HEADER.names or ()}
            state |= {"ef": self._ef, "has_deletions": bool(self._deleted)}
            state["size_links_per_element"] = _hnswfile.upper(int(header["M"])).itemsize
            state["allow_replace_deleted"] = self._allow_replace
            state["label_lookup_external"] = level0["label"].copy()
            state["label_lookup_internal"] = np.arange(len(level0), dtype=np.uint32)
            state["element_levels"] = np.zeros(int(header["max_elements"]), np.int32)
            state["element_levels"][: len(levels)] = levels
            state["data_level0"] = level0.view(np.int8)
            state["link_lists"] = np.frombuffer(uppers, np.int8)
            # hnswlib takes no notice of these.
            state |= {"unlimited": self._max_elements == 0, "codes": self._codes}
            return (state,)

    def __setstate__(self, state: tuple[dict[str, Any]]) -> None:
        if len(state) != 1:
            raise RuntimeError("Invalid state!")
        (params,) = state
        if params["ser_version"] != 1:
            raise RuntimeError("Unpickle Error: Invalid serialization version!")
        Index.__init__(self, params["space"], params["dim"], codes=params.get("codes", "auto"))
        self._threads, self._seed, self._ef = params["num_threads"], params["seed"], params["ef"]
        if not params["index_inited"]:
            return
        for field, value in _hnswfile.expected(params, self._dim).items():  # type: ignore[arg-type]
            if params[field] != value:
                raise RuntimeError(f"Unpickle Error: Invalid value of {_hnswfile.theirs(field)} ")
        self._max_elements = params["max_elements"]
        try:
            self._take(_hnswfile.join(params), self._max_elements, params.get("allow_replace_deleted", False))
            if params.get("unlimited", False):
                self._max_elements = 0
        except Error as error:
            raise RuntimeError("Unpickle Error: Invalid value of data_level0 ") from error

    def __repr__(self) -> str:
        return f"<hnswlib.Index(space='{self._space}', dim={self._dim})>"


class BFIndex(Base):
    """Exact nearest neighbours, by comparing with every item. See the module for what differs from hnswlib.BFIndex."""

    def init_index(self, max_elements: int) -> None:
        """Makes the index ready to be filled."""
        if self._collection is not None:
            raise RuntimeError("The index is already initiated.")
        self._begin(max_elements)

    def _begin(self, max_elements: int) -> None:
        # Nobody walks its graph.
        self._store, self._collection = self._open(m=LEAST_M, ef_construction=1, codes="none")
        self._max_elements = max_elements
        self._present: set[int] = set()
        # The next label of items that come without, as hnswlib counts.
        self._next = 0

    def add_items(self, data: ArrayLike, ids: ArrayLike | None = None) -> None:
        """Adds rows of data, or puts them in the place of items with the same label."""
        items, rows = self._items(), self._rows(data)
        with self._changing:
            first = self._next
            labels = np.arange(first, first + len(rows)) if ids is None else self._labels(ids, len(rows))
            wanted = self._present.union(labels.tolist())
            if self._is_full(len(wanted)):
                raise RuntimeError("The number of elements exceeds the specified limit\n")
            items.put_many(labels, rows)
            self._present = wanted
            self._next += len(rows)

    def delete_vector(self, label: int) -> None:
        """Removes an item, if there is one of that label."""
        items, label = self._items(), int(label)
        with self._changing:
            self._present.discard(label)
            items.remove(label)

    def knn_query(
        self,
        data: ArrayLike,
        k: int = 1,
        num_threads: int = -1,
        filter: Filters | None = None,
        *,
        padded: bool = False,
    ) -> tuple[Labels, Floats]:
        """Labels and distances of the k nearest items of each row, nearest first: two arrays of the shape (rows, k)."""
        return self._search(data, k, num_threads, filter, None, padded, "There are not enough elements.")

    def save_index(self, path_to_index: str | os.PathLike[str]) -> None:
        """Writes a file that hnswlib reads, too. It holds all of the index, or what it held before."""
        items = self._items()
        with self._changing:
            labels = np.array(list(self._present), np.uint64)
            vectors = _vectors(items, labels)
            rows = np.empty((0, self._dim), np.float32) if vectors is None else vectors
            _hnswfile.save_bf(path_to_index, labels, rows, max(self._max_elements, len(labels)))

    def load_index(self, path_to_index: str | os.PathLike[str], max_elements: int = 0) -> None:
        """Reads a file of this module or of hnswlib. There is room for max_elements, or for as many as there was."""
        room, elements = _hnswfile.load_bf(path_to_index, self._dim)
        if self._collection is not None:
            self._warn_of_loading()
        loaded = BFIndex(self._space, self._dim)
        loaded._begin(max_elements if max_elements >= len(elements) else room)
        loaded._items().put_many(elements["label"], elements["vector"])
        with self._changing:
            self._store, self._collection = loaded._store, loaded._collection
            self._max_elements = loaded._max_elements
            self._present = set(elements["label"].tolist())
            self._next = len(elements)

    def get_current_count(self) -> int:
        """How many items there are."""
        self._items()
        return len(self._present)

    def __repr__(self) -> str:
        return f"<hnswlib.BFIndex(space='{self._space}', dim={self._dim})>"
