"""Who takes part in live.py, and the processes that work for them.

A contender has an index on the disk, which is made once and then only read; every measurement is a process of its own,
which gets a job as JSON and prints what it measured, a JSON object a line. For lodestore that is
`benches/src/bin/live.rs`, for hnswlib `live_worker.py`.
"""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contenders import EF_CONSTRUCTION, M, is_lodestore, size_of
from data import recalls
from environment import Trouble, reason, say
from pages import cached_bytes, drop, sync

# What is not reached with this much is not reached.
EF_MOST = 4096


def ef_construction_of(name: str) -> int:
    """`hnswlib` and `hnswlib-N`."""
    library, _, number = name.partition("-")
    if library != "hnswlib" or not (number or "0").isdecimal():
        raise Trouble(f"no contender is called {name!r}; there are hnswlib, hnswlib-N, lodestore, lodestore-X")
    return int(number) if number else EF_CONSTRUCTION


@dataclass
class Plan:
    """What all contenders have in common: the files of vectors, and how many rows of them are written when."""

    name: str
    metric: str
    k: int
    dim: int
    # Rows that the indexes hold from the start.
    stored: int
    # Rows of the rest that are put one by one, and as many that replace others.
    puts: int
    # Rows that are put in batches while a thread reads; those that are left are put one by one then.
    many: int
    batch: int
    seconds: float
    cores: list[int]
    base: Path
    fresh: Path
    queries: Path
    truth: np.ndarray
    # Tells this data from any other.
    crc: int


@dataclass
class Contender:
    """One library in one setting."""

    name: str
    plan: Plan
    # Where its index stays.
    home: Path
    # Where it may write for the time of this run.
    work: Path
    # The binary of lodestore.
    program: str
    resident: bool
    ef: int = 0
    found: dict = field(default_factory=dict)
    built: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)

    @property
    def ours(self) -> bool:
        return is_lodestore(self.name)

    @property
    def index(self) -> Path:
        return self.home / self.name

    def ask(self, do: str, index: Path | None = None, **more: object) -> dict[str, dict]:
        """Runs a job; what it measured, by the name of the run."""
        plan = self.plan
        job = {"do": do, "index": str(index or self.index), "queries": str(plan.queries), "dim": plan.dim,
               "metric": plan.metric, "k": plan.k, "ef": self.ef, "cores": plan.cores, "resident": self.resident,
               "rows_stored": plan.stored, **more}
        program = [self.program] if self.ours else [sys.executable, str(Path(__file__).with_name("live_worker.py"))]
        done = subprocess.run([*program, json.dumps(job)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
            raise Trouble(f"its job `{do}` ended with {ended}: {reason(done.stderr)}")
        return {line.pop("run"): line for line in map(json.loads, done.stdout.splitlines())}

    def make(self) -> None:
        """Makes the index, unless an earlier run has left the same."""
        how = {"codes": self.name.partition("-")[2] or "auto"} if self.ours else \
            {"ef_construction": ef_construction_of(self.name)}
        wanted = {"metric": self.plan.metric, "rows": self.plan.stored, "crc": self.plan.crc, "m": M, **how}
        told = self.home / f"{self.name}.json"
        if told.is_file():
            self.built = json.loads(told.read_text())
            if self.built["made_as"] == wanted and self.index.exists():
                say(f"{self.name}: as an earlier run has built it")
                return
            told.unlink()
        if self.index.is_dir():
            shutil.rmtree(self.index)
        answer = self.ask("build", base=str(self.plan.base), m=M, threads=len(self.plan.cores), **how)["build"]
        self.built = {"made_as": wanted, "seconds": answer["seconds"], "file_bytes": size_of(self.index)}
        # Last: what was stopped in the middle is made again.
        told.write_text(json.dumps(self.built, indent=1))
        say(f"{self.name}: built in {answer['seconds']:.1f} s")

    def recall(self, ef: int) -> float:
        self.ef = ef
        path = self.work / "ids"
        self.found = self.ask("find", ids=str(path))["find"]
        ids = np.fromfile(path, "<u8").reshape(-1, self.plan.k).astype(np.int64)
        self.found["recall"] = recalls(ids, self.plan.truth)
        return self.found["recall"]

    def find_ef(self, target: float) -> None:
        """The smallest ef that gives the recall."""
        low, high = self.plan.k - 1, self.plan.k
        while self.recall(high) < target:
            if high >= EF_MOST:
                raise Trouble(f"its recall is {self.found['recall']:.4f} even with ef {high}")
            low, high = high, min(2 * high, EF_MOST)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.recall(middle) >= target else (middle, high)
        if self.ef != high:
            self.recall(high)
        say(f"{self.name}: ef {self.ef}, recall {self.found['recall']:.4f}")

    def measure_memory(self) -> None:
        if not self.ours:
            self.memory = self.ask("memory")["memory"]
            return
        drop(self.index)
        before = cached_bytes(self.index)
        # Read into memory at the start, a store shows nothing of what searches need.
        resident, self.resident = self.resident, False
        try:
            self.memory = self.ask("memory")["memory"]
        finally:
            self.resident = resident
        self.memory |= {"cached_before_bytes": before, "cached_after_bytes": cached_bytes(self.index)}

    def measure(self, number: int) -> None:
        """One round."""
        plan = self.plan
        runs = self.ask("readers", seconds=plan.seconds) if len(plan.cores) > 1 else {}
        index, fresh = self.index, {"rows": str(plan.fresh)}
        if self.ours:
            # Each round writes into a store that is as the first found it; hnswlib writes into memory alone.
            index = self.work / "copy"
        try:
            if self.ours:
                shutil.copytree(self.index, index)
                # Not while it is measured.
                sync(index)
            runs |= self.ask("write", index, **fresh, key=plan.stored, puts=plan.puts)
            if self.ours and len(plan.cores) > 1:
                mixed = self.ask("mixed", index, **fresh, skip=2 * plan.puts, key=plan.stored + plan.puts,
                                 many=plan.many, batch=plan.batch, seconds=plan.seconds)
                runs |= {f"mixed-{run}": told for run, told in mixed.items()}
        finally:
            if self.ours:
                shutil.rmtree(index, ignore_errors=True)
        self.rounds.append({"round": number, "runs": runs})
