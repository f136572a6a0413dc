"""hnswlib's files of an index and of an exact index, and what it is pickled as.

Little-endian, without padding, checksum or version. A file of an index has, in this order:

- the header, 96 bytes: `HEADER`;
- for each element, by its number from 0 up, a record of `element(M, dim)`: level-0 links, vector, label;
- for each element u32: the bytes of its upper lists; then these: for each level from 1 up u16 count, u16 0,
  u32[M] links.

A file of an exact index has the header `BF_HEADER` and, for as many elements as there is room for, vector and label.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_Labels = NDArray[np.uint64]

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


def split(data: bytes, dim: int) -> tuple[NDArray[np.void], NDArray[np.void], list[int], bytes]:
    """The header, the elements, their levels and their upper lists of a file that this package has made."""
    header = np.frombuffer(data, HEADER, 1)[0]
    M, count = int(header["M"]), int(header["cur_element_count"])
    elements = np.frombuffer(data, element(M, dim), count, HEADER.itemsize)
    at, one = HEADER.itemsize + elements.nbytes, upper(M).itemsize
    levels, parts = [], []
    for _ in range(count):
        length = int.from_bytes(data[at : at + 4], "little")
        at += 4
        levels.append(length // one)
        if length:
            parts.append(data[at : at + length])
            at += length
    return header, elements, levels, b"".join(parts)


def join(params: dict[str, Any]) -> bytearray:
    """The file of what an index is pickled as."""
    header = np.zeros(1, HEADER)
    for field in HEADER.names or ():
        header[field] = params[field]
    count, one = int(params["cur_element_count"]), upper(params["M"]).itemsize
    levels = np.asarray(params["element_levels"])[:count].tolist()
    level0 = np.ascontiguousarray(params["data_level0"]).view(np.uint8)
    uppers = np.ascontiguousarray(params["link_lists"]).view(np.uint8).tobytes()
    for field, right in [
        ("element_levels", len(levels) == count and all(level >= 0 for level in levels)),
        ("data_level0", level0.size == count * params["size_data_per_element"]),
        ("link_lists", len(uppers) == sum(levels) * one),
    ]:
        if not right:
            raise RuntimeError(f"Unpickle Error: Invalid value of {field} ")
    data, at = bytearray(header.tobytes() + level0.tobytes()), 0
    for level in levels:
        data += (level * one).to_bytes(4, "little") + uppers[at : at + level * one]
        at += level * one
    return data


def replace_file(path: str | os.PathLike[str], *parts: memoryview | bytes | bytearray) -> None:
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


def read(file: BinaryIO, size: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """So many of a type. Nothing is made of a count that the file has no bytes for."""
    if count * dtype.itemsize > size - file.tell():
        raise RuntimeError(CORRUPTED)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


# What hnswlib calls the fields that it complains of.
_THEIRS = {"offset_level0": "offsetLevel0", "offset_data": "offsetData", "max_M": "maxM", "max_M0": "maxM0"}


def theirs(field: str) -> str:
    """A field in hnswlib's words."""
    return f"{_THEIRS.get(field, field)}_"


def expected(header: NDArray[np.void], dim: int) -> dict[str, int]:
    """What the fields of a header must be that follow from M and the dimension."""
    M = int(header["M"])
    if not 1 <= M <= MOST_M:
        return {"M": min(max(M, 1), MOST_M)}
    size, offset_data = element(M, dim).itemsize, 4 + 8 * M
    fields = {"size_data_per_element": size, "label_offset": size - 8, "offset_data": offset_data}
    return {"M": M, "offset_level0": 0, "max_M": M, "max_M0": 2 * M, **fields}


def save_bf(path: str | os.PathLike[str], labels: _Labels, vectors: NDArray[np.float32], room: int) -> None:
    """Writes an exact index."""
    elements = np.zeros(room, bf_element(vectors.shape[1]))
    elements["vector"][: len(labels)], elements["label"][: len(labels)] = vectors, labels
    header = np.array([(room, elements.dtype.itemsize, len(labels))], BF_HEADER)
    replace_file(path, header.data, elements.data)


def load_bf(path: str | os.PathLike[str], dim: int) -> tuple[int, NDArray[np.void]]:
    """The room and the elements of an exact index."""
    path = os.fspath(path)
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
