"""What churn.py does to an index: which records go, come and change, step by step, and what is there at each stop.

Made once, from a seed, and written to files: all contenders do the same.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from environment import Trouble

REMOVE, INSERT, UPDATE = range(3)


@dataclass
class Stop:
    """A state to be measured: changes made by then, and what is there."""

    turnovers: float
    after: int
    # Of each record; sorted by key.
    keys: np.ndarray
    rows: np.ndarray
    fresh: bool
    live: Path


class Live:
    """The records that are there, and the row of each."""

    def __init__(self, stored: int, rows: np.ndarray, rng: np.random.Generator):
        self.rows, self.rng = rows, rng
        self.row_of = {key: key for key in range(stored)}
        self.used = np.zeros(len(rows), bool)
        self.used[:stored] = True
        self.next_row, self.next_key = stored, stored

    def fresh_row(self) -> int:
        """The next row that no record has: those after the first ones, and around."""
        while self.used[self.next_row % len(self.rows)]:
            self.next_row += 1
        row = self.next_row % len(self.rows)
        self.next_row += 1
        self.used[row] = True
        return row

    def drawn(self, count: int) -> list[int]:
        keys = np.fromiter(self.row_of, np.int64, len(self.row_of))
        return self.rng.choice(keys, count, replace=False).tolist()

    def around(self, count: int) -> list[int]:
        """A random record and those nearest to it."""
        keys = np.fromiter(self.row_of, np.int64, len(self.row_of))
        rows = self.rows[np.fromiter(self.row_of.values(), np.int64, len(self.row_of))]
        pivot = rows[self.rng.integers(len(rows))]
        scores = np.einsum("ij,ij->i", rows, rows) - 2 * (rows @ pivot)
        near = np.argpartition(scores, count - 1)[:count]
        return keys[near].tolist()

    def step(self, count: int, cluster: bool) -> list[tuple[int, int, int]]:
        """Removes so many, inserts as many, and updates as many of what is there then."""
        changes = []
        for key in self.around(count) if cluster else self.drawn(count):
            self.used[self.row_of.pop(key)] = False
            changes.append((REMOVE, key, 0))
        for _ in range(count):
            row = self.fresh_row()
            self.row_of[self.next_key] = row
            changes.append((INSERT, self.next_key, row))
            self.next_key += 1
        for key in self.drawn(count):
            row = self.fresh_row()
            self.used[self.row_of[key]] = False
            self.row_of[key] = row
            changes.append((UPDATE, key, row))
        return changes


def rows_needed(stored: int, steps: int, count: int) -> int:
    """Rows that so many steps take if none comes twice."""
    return stored + 2 * count * steps


def plan(rows: np.ndarray, stored: int, steps: int, every: int, fresh_every: int, cluster: bool, seed: int,
         folder: Path) -> tuple[list[Stop], Path]:
    """The stops, every so many steps and at the end, each `fresh_every`th and the last with a fresh build; and the file
    of the changes."""
    count = stored // 100
    if len(rows) < stored + 2 * count:
        raise Trouble(f"{len(rows)} rows are too few: {stored:,} records want {2 * count:,} rows besides")
    live = Live(stored, rows, np.random.default_rng(seed))
    stops: list[Stop] = []
    changes_at, done = folder / "changes", 0
    with changes_at.open("wb") as file:
        for step in range(1, steps + 1):
            changes = np.array(live.step(count, cluster), "<u4")
            changes.tofile(file)
            done += len(changes)
            if step % every and step != steps:
                continue
            records = np.array(sorted(live.row_of.items()), "<u4")
            path = folder / f"live-{len(stops)}"
            records.tofile(path)
            fresh = (len(stops) + 1) % fresh_every == 0 or step == steps
            stops.append(Stop(step / 100, done, records[:, 0].astype(np.int64), records[:, 1].astype(np.int64), fresh,
                              path))
    return stops, changes_at
