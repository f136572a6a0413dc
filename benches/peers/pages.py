"""What the system keeps of files in its page cache: how much that is, and how it is made to forget them."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np

from environment import Trouble

LIBC = ctypes.CDLL(None, use_errno=True)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def cached_bytes(folder: Path) -> int:
    """Bytes of the files below a directory that are in memory."""
    total = 0
    for path in _files(folder):
        # A private map, as numpy gives the address of one that could be written; nothing of it is touched.
        content = np.memmap(path, np.uint8, mode="c")
        resident = np.zeros(-(-len(content) // mmap.PAGESIZE), np.uint8)
        asked = LIBC.mincore(ctypes.c_void_p(content.ctypes.data), ctypes.c_size_t(len(content)),
                             ctypes.c_void_p(resident.ctypes.data))
        if asked != 0:
            raise Trouble(f"mincore of {path}: {os.strerror(ctypes.get_errno())}")
        total += int((resident & 1).sum()) * mmap.PAGESIZE
    return total


def sync(folder: Path) -> None:
    """Writes out what the system still holds back of the files below a directory."""
    for path in _files(folder):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def drop(folder: Path) -> None:
    """Makes the system forget the files below a directory."""
    # It would keep what is not yet written.
    sync(folder)
    for path in _files(folder):
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
