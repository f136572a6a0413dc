"""hnswlib's files of an index and of an exact index, and what it is pickled as.

Little-endian, without padding, checksum or version. A file of an index has, in this order:

- the header, 96 bytes: `HEADER`;
- for each element, by its number from 0 up, a record of `element(M, dim)`: level-0 links, vector, label;
- for each element u32: the bytes of its upper lists; then these: for each level from 1 up u16 count, u16 0,
  u32[M] links.

A file of an exact index has the header `BF_HEADER` and, for as many elements as there is room for, vector and label.
"""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADER = np.dtype(
    [
        ("offset_level0", "<u8"),
        ("max_elements", "<u8"),
        ("cur_element_count", "<u8"),
        ("size_data_per_element", "<u8"),
        ("label_offset", "<u8"),
        ("offset_data", "<u8"),
        ("max_level", "<i4"),
        ("enterpoint_node", "<u4"),
        ("max_M", "<u8"),
        ("max_M0", "<u8"),
        ("M", "<u8"),
        ("mult", "<f8"),
        ("ef_construction", "<u8"),
    ]
)
BF_HEADER = np.dtype([("max_elements", "<u8"), ("size_per_element", "<u8"), ("cur_element_count", "<u8")])

DELETED = 1
"""In an element's flags."""
NO_ENTRY = 2**32 - 1
MOST_M = 10_000
"""More is refused, as hnswlib does."""
CORRUPTED = "Index seems to be corrupted or unsupported"


def element(M: int, dim: int) -> np.dtype[np.void]:
    """An element of level 0."""
    return np.dtype(
        [
            ("count", "<u2"),
            ("flags", "u1"),
            ("zero", "u1"),
            ("links", "<u4", (2 * M,)),
            ("vector", "<f4", (dim,)),
            ("label", "<u8"),
        ]
    )


def bf_element(dim: int) -> np.dtype[np.void]:
    """An element of an exact index."""
    return np.dtype([("vector", "<f4", (dim,)), ("label", "<u8")])


def upper(M: int) -> np.dtype[np.void]:
    """The links of an element on one level above 0."""
    return np.dtype([("count", "<u2"), ("zero", "<u2"), ("links", "<u4", (M,))])


class Graph(NamedTuple):
    """An index as hnswlib lays it out."""

    header: NDArray[np.void]
    """One HEADER."""
    elements: NDArray[np.void]
    levels: NDArray[np.int32]
    """The highest level of each element."""
    uppers: NDArray[np.void]
    """The upper lists of all elements one after the other."""

    def size(self) -> int:
        """Bytes of a file of it."""
        return HEADER.itemsize + self.elements.nbytes + 4 * len(self.levels) + self.uppers.nbytes


def graph(
    labels: list[int],
    vectors: NDArray[np.float32],
    deleted: set[int],
    links: list[list[list[int]]],
    settings: tuple[int, int, int],
) -> Graph:
    """Of each element its links by level, as labels; settings are max_elements, M and ef_construction."""
    max_elements, M, ef_construction = settings
    count, dim = vectors.shape
    elements = np.zeros(count, element(M, dim))
    elements["vector"], elements["label"] = vectors, labels
    number = {label: at for at, label in enumerate(labels)}
    levels = np.array([len(one) - 1 for one in links], np.int32)
    uppers = np.zeros(int(levels.sum()), upper(M))
    at_upper = 0
    for at, (label, lists) in enumerate(zip(labels, links, strict=True)):
        for level, linked in enumerate(lists):
            place, room = (elements[at], 2 * M) if level == 0 else (uppers[at_upper], M)
            at_upper += level > 0
            numbers = [number[other] for other in linked if other in number][:room]
            place["count"] = len(numbers)
            place["links"][: len(numbers)] = numbers
        elements[at]["flags"] = DELETED if label in deleted else 0
    header = np.zeros(1, HEADER)
    header["max_elements"], header["cur_element_count"], header["M"] = max(max_elements, count), count, M
    for field, value in expected(header[0], dim).items():
        header[field] = value
    header["max_level"] = levels.max(initial=-1)
    header["enterpoint_node"] = int(levels.argmax()) if count else NO_ENTRY
    header["mult"] = 1 / math.log(M) if M > 1 else math.inf
    header["ef_construction"] = ef_construction
    return Graph(header, elements, levels, uppers)


def replace_file(path: str | os.PathLike[str], *parts: memoryview | bytearray) -> None:
    """The file holds all of it, or what it held before."""
    path = os.path.abspath(os.fspath(path))
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".", suffix=".tmp", delete=False) as file:
        try:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            # As open() would make it, not for its owner alone.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(file.name, 0o666 & ~mask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def save(path: str | os.PathLike[str], graph: Graph) -> None:
    """Writes an index."""
    size = graph.uppers.dtype.itemsize
    records, at = bytearray(), 0
    for level in graph.levels.tolist():
        records += (level * size).to_bytes(4, "little") + graph.uppers[at : at + level].tobytes()
        at += level
    replace_file(path, graph.header.data, graph.elements.data, records)


def read(file: BinaryIO, size: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """So many of a type. Nothing is made of a count that the file has no bytes for."""
    if count * dtype.itemsize > size - file.tell():
        raise RuntimeError(CORRUPTED)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def expected(header: NDArray[np.void], dim: int) -> dict[str, int]:
    """What the fields of a header must be that follow from M and the dimension."""
    M = int(header["M"])
    if not 1 <= M <= MOST_M:
        return {"M": min(max(M, 1), MOST_M)}
    size, offset_data = element(M, dim).itemsize, 4 + 8 * M
    fields = {"size_data_per_element": size, "label_offset": size - 8, "offset_data": offset_data}
    return {"M": M, "offset_level0": 0, "max_M": M, "max_M0": 2 * M, **fields}


def load(path: str | os.PathLike[str], dim: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """The header and the elements of an index of vectors of that dimension."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise RuntimeError("Cannot open file") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        header = read(file, size, HEADER, 1)[0]
        if any(int(header[field]) != value for field, value in expected(header, dim).items()):
            raise RuntimeError(CORRUPTED)
        M, count = int(header["M"]), int(header["cur_element_count"])
        elements = read(file, size, element(M, dim), count)
        for _ in range(count):
            length = int(read(file, size, np.dtype("<u4"), 1)[0])
            if length % upper(M).itemsize:
                raise RuntimeError(CORRUPTED)
            file.seek(length, os.SEEK_CUR)
        if file.tell() != size:
            raise RuntimeError(CORRUPTED)
    return header, elements


def save_bf(path: str | os.PathLike[str], labels: list[int], vectors: NDArray[np.float32], room: int) -> None:
    """Writes an exact index."""
    elements = np.zeros(room, bf_element(vectors.shape[1]))
    elements["vector"][: len(labels)], elements["label"][: len(labels)] = vectors, labels
    header = np.array([(room, elements.dtype.itemsize, len(labels))], BF_HEADER)
    replace_file(path, header.data, elements.data)


def load_bf(path: str | os.PathLike[str], dim: int) -> tuple[int, NDArray[np.void]]:
    """The room and the elements of an exact index."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise RuntimeError("Cannot open file") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        header = read(file, size, BF_HEADER, 1)[0]
        room, count = int(header["max_elements"]), int(header["cur_element_count"])
        if count > room or size != BF_HEADER.itemsize + room * bf_element(dim).itemsize:
            raise RuntimeError(CORRUPTED)
        return room, read(file, size, bf_element(dim), count)
