"""The result of churn.py: what the contenders found, judged; one object with everything, and a table made of it."""

import itertools
import statistics
from importlib import metadata
from pathlib import Path

import numpy as np

import data
from churn_plan import Stop
from contenders import is_lodestore
from report import NOTHING, table

# Distances are computed in another order than the truth's.
EQUAL = 1e-6


class Judge:
    """Says what is right: of each stop the exact neighbours are computed once, for all contenders."""

    def __init__(self, stops: list[Stop], rows: np.ndarray, queries: np.ndarray, metric: str, k: int):
        self.stops, self.rows, self.queries, self.metric, self.k = stops, rows, queries, metric, k
        self.farthest: dict[int, np.ndarray] = {}

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """Of each query to its row of rows."""
        points, queries = self.rows[rows].astype(np.float64), self.queries.astype(np.float64)[:, None, :]
        return -(points * queries).sum(axis=2) if self.metric == "ip" else ((points - queries) ** 2).sum(axis=2)

    def _rows(self, stop: Stop, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of keys, and which of the keys there are."""
        at = np.minimum(np.searchsorted(stop.keys, keys), len(stop.keys) - 1)
        return stop.rows[at], stop.keys[at] == keys

    def recall(self, number: int, path: Path) -> float:
        """The share of the true k nearest that were found; a copy at the same distance is as good."""
        stop = self.stops[number]
        if number not in self.farthest:
            metric = "ip" if self.metric == "ip" else "l2"
            true = data.exact(self.rows[stop.rows], self.queries, metric, self.k)
            self.farthest[number] = self._distances(stop.rows[true]).max(axis=1, keepdims=True)
        # A key that nothing has becomes -1.
        keys = np.fromfile(path, "<u8").reshape(-1, self.k).astype(np.int64)
        rows, there = self._rows(stop, keys)
        farthest = self.farthest[number]
        right = there & (self._distances(rows) <= farthest + EQUAL * np.maximum(np.abs(farthest), 1))
        # A key that is found twice counts once.
        return sum(len(set(some[good])) for some, good in zip(keys, right)) / keys.size

    def lost(self, number: int, path: Path) -> int | None:
        """Records whose own vector does not find them, nor a copy; an inner product need not be the largest with the
        vector itself."""
        if self.metric == "ip":
            return None
        stop, keys = self.stops[number], np.fromfile(path, "<u8").astype(np.int64)
        rows, there = self._rows(stop, keys)
        others = np.flatnonzero(~there | (keys != stop.keys))
        same = there[others] & (self.rows[rows[others]] == self.rows[stop.rows[others]]).all(axis=1)
        return int(len(others) - same.sum())

    def look(self, number: int, told: dict, folder: Path) -> dict:
        """What a contender told of a stop, and what follows from the files that it wrote."""
        stop, records = self.stops[number], len(self.stops[number].keys)
        told |= {"turnovers": stop.turnovers, "records": records,
                 "recall": self.recall(number, folder / f"found-{number}"),
                 "lost": self.lost(number, folder / f"own-{number}")}
        if fresh := told.get("fresh"):
            fresh["recall"] = self.recall(number, folder / f"fresh-found-{number}")
            fresh["lost"] = self.lost(number, folder / f"fresh-own-{number}")
            fresh["bytes_ratio"] = told["bytes"] / fresh["bytes"]
            # Each round's two runs came right after each other.
            fresh["qps_ratio"] = statistics.median(q / f for q, f in zip(told["qps"], fresh["qps"]))
        return told


def collect(measured: dict[str, list[dict]], **told: object) -> dict:
    """Everything that was measured."""
    contenders = {}
    for name, stops in measured.items():
        contenders[name] = {"stops": stops}
        if not is_lodestore(name):
            contenders[name]["version"] = metadata.version(name)
    return {**told, "contenders": contenders}


HEADER = ["turnovers", "", "recall", "fresh", "lost", "fresh", "unreachable", "bytes a record", "× fresh", "queries/s",
          "× fresh", "insert, µs", "update, µs", "remove, µs"]


def _row(name: str, stop: dict) -> list[str]:
    def cell(value: float | None, how: str) -> str:
        return NOTHING if value is None else format(value, how)

    fresh = stop.get("fresh", {})
    return [f"{stop['turnovers']:g}", name, f"{stop['recall']:.4f}", cell(fresh.get("recall"), ".4f"),
            cell(stop["lost"], ",d"), cell(fresh.get("lost"), ",d"), cell(stop.get("unreachable"), ",d"),
            f"{stop['bytes'] / stop['records']:,.0f}", cell(fresh.get("bytes_ratio"), ".2f"),
            f"{statistics.median(stop['qps']):,.0f}", cell(fresh.get("qps_ratio"), ".2f"),
            cell(stop["insert_us"], ",.1f"), cell(stop["update_us"], ",.1f"), cell(stop["remove_us"], ",.1f")]


def markdown(result: dict) -> str:
    """The table, with what is needed to read it."""
    machine, dataset, settings = result["machine"], result["dataset"], result["settings"]
    # Not all need have come to the end.
    by_stop = itertools.zip_longest(*(entry["stops"] for entry in result["contenders"].values()))
    rows = [_row(name, stop) for stops in by_stop for name, stop in zip(result["contenders"], stops) if stop]
    about = (f"**{dataset['name']}: {settings['limit']:,} × {dataset['dim']}, {dataset['metric']}, k {result['k']}, "
             f"ef {settings['ef']}.** {settings['turnovers']} turnovers, order {settings['order']}, seed "
             f"{settings['seed']}, {dataset['rows']:,} rows, {dataset['queries']:,} queries. M {result['m']}; "
             f"{machine['cpu']}, {machine['kernel']}, {machine['date'][:10]}.")
    notes = [f"- {name} is left out: {why}" for name, why in result["left_out"].items()]
    return "\n\n".join(part for part in (about, table(HEADER, rows), "\n".join(notes)) if part)
