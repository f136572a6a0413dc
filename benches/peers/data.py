"""Data sets: directories of TEXMEX files and HDF5 files in the form of ann-benchmarks.

A row of a TEXMEX file is its dimension as an i32 and then its values: .fvecs f32, .bvecs u8, .ivecs i32, little-endian.
A directory has NAME_base, NAME_query and NAME_groundtruth.ivecs. An HDF5 file has train, test and neighbors, and says
its metric in the attribute `distance`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from environment import Trouble

DTYPES = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
METRICS = {"l2": "l2", "euclidean": "l2", "ip": "ip", "dot": "ip", "cosine": "cosine", "angular": "cosine"}
TRUTH_BLOCK = 64
CHUNK_ROWS = 100_000


@dataclass
class Dataset:
    """Vectors as f32, under cosine of length 1, and the true nearest rows of each query."""

    name: str
    metric: str
    base: np.ndarray
    queries: np.ndarray
    truth: np.ndarray
    truth_from: str

    def save(self, folder: Path) -> None:
        """Writes what every contender reads."""
        np.save(folder / "base.npy", self.base)
        np.save(folder / "queries.npy", self.queries)
        write_vecs(folder / "truth.ivecs", self.truth)


def read_vecs(path: Path, limit: int | None = None) -> np.ndarray:
    """The rows of a TEXMEX file, without their leading dimensions."""
    dtype = DTYPES[path.suffix]
    if path.stat().st_size < 4:
        raise Trouble(f"{path} is empty")
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    dim = int(raw[:4].view("<i4")[0])
    width = 4 + dim * dtype.itemsize
    if dim <= 0 or len(raw) % width != 0:
        raise Trouble(f"{path} is no {path.suffix} file: its size is no multiple of its first row's")
    table = raw.reshape(-1, width)[:limit]
    if not (table[:, :4].copy().view("<i4") == dim).all():
        raise Trouble(f"{path} mixes dimensions")
    return np.ascontiguousarray(table[:, 4:]).view(dtype)


def write_vecs(path: Path, rows: np.ndarray) -> None:
    """Writes rows as a TEXMEX file, a piece at a time so that a large table is not held twice."""
    dtype = DTYPES[path.suffix]
    with path.open("wb") as file:
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start:start + CHUNK_ROWS].astype(dtype)
            table = np.empty((len(chunk), 4 + chunk.shape[1] * dtype.itemsize), np.uint8)
            table[:, :4] = np.frombuffer(np.int32(chunk.shape[1]).astype("<i4").tobytes(), np.uint8)
            table[:, 4:] = chunk.view(np.uint8)
            table.tofile(file)


def unit(rows: np.ndarray, what: str) -> np.ndarray:
    """The rows at length 1."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not (norms > 0).all():
        raise Trouble(f"row {int(np.argmin(norms > 0))} of the {what} has no direction, and cosine needs one")
    return (rows / norms).astype(np.float32)


def exact(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The true k nearest rows: candidates by f32, order by f64, ties to the smaller row. Cosine wants unit rows."""
    k = min(k, len(base))
    norms = np.einsum("ij,ij->i", base, base) if metric == "l2" else np.float32(0)
    spare = min(len(base), 4 * k + 32)
    truth = np.empty((len(queries), k), dtype="<i4")
    for start in range(0, len(queries), TRUTH_BLOCK):
        block = queries[start:start + TRUTH_BLOCK]
        scores = norms - 2 * (block @ base.T)
        candidates = np.argpartition(scores, spare - 1, axis=1)[:, :spare]
        for n, near in enumerate(np.sort(candidates, axis=1)):
            points, query = base[near].astype(np.float64), block[n].astype(np.float64)
            distance = ((points - query) ** 2).sum(axis=1) if metric == "l2" else -(points @ query)
            truth[start + n] = near[np.argsort(distance, kind="stable")[:k]]
    return truth


def recalls(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of the true neighbours that were found, by number: of two at the same distance, only the true one."""
    return float((found[:, :, None].astype(np.int64) == truth[:, None, :]).any(axis=1).mean())


def _part(folder: Path, name: str) -> Path | None:
    found = sorted(path for path in folder.glob(f"*_{name}.*vecs") if path.suffix in DTYPES)
    if len(found) > 1:
        raise Trouble(f"{folder} has {len(found)} files *_{name}.*vecs, and one is expected")
    return found[0] if found else None


def _texmex(folder: Path, limit: int | None, query_limit: int | None):
    base, queries, truth = _part(folder, "base"), _part(folder, "query"), _part(folder, "groundtruth")
    if base is None or queries is None:
        raise Trouble(f"{folder} needs a file NAME_base.fvecs and a file NAME_query.fvecs (or .bvecs)")
    told = folder / "meta.json"
    metric = json.loads(told.read_text()).get("metric") if told.is_file() else None
    return (read_vecs(base, limit), read_vecs(queries, query_limit),
            read_vecs(truth, query_limit) if truth else None, metric)


def _hdf5(path: Path, limit: int | None, query_limit: int | None):
    import h5py  # Only such files need it.

    if not h5py.is_hdf5(path):
        raise Trouble(f"{path} is neither a directory of TEXMEX files nor an HDF5 file")
    with h5py.File(path, "r") as file:
        if "train" not in file or "test" not in file:
            raise Trouble(f"{path} has no `train` and `test`, so it is not in the form of ann-benchmarks")
        truth = file["neighbors"][:query_limit] if "neighbors" in file else None
        return file["train"][:limit], file["test"][:query_limit], truth, file.attrs.get("distance")


def read(path: Path, metric: str | None, limit: int | None, query_limit: int | None
         ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Base and queries as f32, the nearest rows if the file says which and they are right, and the metric."""
    if not path.exists():
        raise Trouble(f"{path} does not exist")
    base, queries, truth, told = (_texmex if path.is_dir() else _hdf5)(path, limit, query_limit)
    told = METRICS.get(str(told).lower())
    if metric is None and told is None:
        raise Trouble(f"{path} does not say its metric; give --metric l2, ip or cosine")
    if base.shape[1] != queries.shape[1]:
        raise Trouble(f"the base has dimension {base.shape[1]}, the queries {queries.shape[1]}")
    # Truth for another metric is no truth, and truth for all rows is none for the first of them.
    whole = limit is None or len(base) < limit
    right = truth is not None and whole and metric in (None, told or metric) and len(truth) == len(queries)
    return (np.ascontiguousarray(base, np.float32), np.ascontiguousarray(queries, np.float32),
            truth if right else None, metric or told)


def load(path: Path, metric: str | None, k: int, limit: int | None, query_limit: int | None) -> Dataset:
    """Reads a data set. The true neighbours are computed if it has none that are right for the rows used."""
    base, queries, truth, metric = read(path, metric, limit, query_limit)
    if len(base) <= k:
        raise Trouble(f"{len(base)} rows are too few to look for the nearest {k}")
    if metric == "cosine":
        base, queries = unit(base, "base"), unit(queries, "queries")
    usable = truth is not None and truth.shape[1] >= k
    truth = truth[:, :k] if usable else exact(base, queries, metric, k)
    return Dataset(path.stem, metric, base, queries, np.ascontiguousarray(truth, "<i4"),
                   "file" if usable else "computed")
