"""Starts the contenders' processes, finds the settings worth measuring, and measures them in rounds."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from contenders import Job, Variant
from data import recalls
from environment import Trouble, reason, say

COARSE_FROM, COARSE_TO, COARSE_STEPS = 10, 800, 11
FINE_STEPS = 4
# How far below the lowest recall asked for settings are measured, for the plot.
PLOT_BELOW = 0.15


@dataclass
class Runner:
    """A contender's process, in one variant, and what it has measured."""

    job: Job
    variant: Variant
    core: int
    truth: np.ndarray
    build: dict = field(default_factory=dict)
    coarse: list[dict] = field(default_factory=list)
    efs: list[int] = field(default_factory=list)
    rounds: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = Path(self.job.folder)
        folder.mkdir()
        self.log = folder / "log"
        environment = dict(os.environ)
        if self.variant.huge:
            environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("worker.py")),
                 json.dumps({**asdict(self.job), "core": self.core})],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)

    @property
    def title(self) -> str:
        return f"{self.job.contender} ({self.variant.label})" if self.variant.label else self.job.contender

    def ask(self, **request: object) -> dict:
        """Sends a request and waits for its answer."""
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            ended = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise Trouble(f"its process ended with {ended}: {reason(self.log.read_text(errors='replace'))}")
        answer = json.loads(line)
        if "error" in answer:
            raise Trouble(answer["error"])
        return answer

    def search(self, ef: int) -> dict:
        """One run of all queries."""
        answer = self.ask(do="search", ef=ef)
        if "ids" in answer:
            answer["recall"] = recalls(np.load(answer.pop("ids")), self.truth)
        return {"ef": ef, **answer}

    def close(self) -> None:
        # A worker that has died cannot be told to stop.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def points(self) -> list[dict]:
        """What the rounds say about each ef: the median and the least of the times, the means of the rest."""
        found = []
        for ef in self.efs:
            runs = [run for run in self.rounds if run["ef"] == ef]
            if not runs:
                continue
            seconds = [run["seconds"] for run in runs]
            point = {"ef": ef, "qps": len(self.truth) / statistics.median(seconds),
                     "qps_fastest": len(self.truth) / min(seconds)}
            for name in ("recall", "hops", "distances"):
                if name in runs[0]:
                    point[name] = statistics.fmean(run[name] for run in runs)
            found.append(point)
        return found


def steps(low: float, high: float, count: int) -> list[int]:
    """Whole numbers at even ratios, both ends among them."""
    return sorted({round(ef) for ef in np.geomspace(low, high, count)})


def sweep(runner: Runner, targets: list[float]) -> None:
    """A coarse look, upwards until the highest recall is passed, and the settings to measure that follow from it."""
    start = max(COARSE_FROM, runner.job.k)
    for ef in steps(start, max(COARSE_TO, 8 * start), COARSE_STEPS):
        runner.coarse.append(runner.search(ef))
        if runner.coarse[-1]["recall"] >= max(targets):
            break
    shown = [point["ef"] for point in runner.coarse if point["recall"] >= min(targets) - PLOT_BELOW]
    chosen = set(shown or [runner.coarse[-1]["ef"]])
    for target in targets:
        for low, high in zip(runner.coarse, runner.coarse[1:]):
            if low["recall"] <= target <= high["recall"]:
                chosen.update(steps(low["ef"], high["ef"], FINE_STEPS))
                break
    runner.efs = sorted(chosen)


class Field:
    """All contenders that are still in, and why the others are not."""

    def __init__(self) -> None:
        self.runners: list[Runner] = []
        self.left_out: dict[str, str] = {}

    def leave_out(self, name: str, why: str) -> None:
        self.left_out[name] = why
        say(f"{name} is left out: {why}")

    def drop(self, runner: Runner, why: Trouble) -> None:
        runner.close()
        self.runners.remove(runner)
        self.leave_out(runner.title, str(why))

    def add(self, runner: Runner) -> None:
        """Builds a contender's index. The others wait meanwhile."""
        self.runners.append(runner)
        try:
            runner.build = runner.ask(do="build")
            say(f"{runner.title}: built in {runner.build['seconds']:.1f} s")
        except Trouble as trouble:
            self.drop(runner, trouble)

    def prepare(self, targets: list[float], efs: list[int] | None) -> None:
        """Chooses what each contender will run: what was asked for, or what a first look suggests."""
        for runner in list(self.runners):
            try:
                if efs:
                    runner.efs = efs
                else:
                    sweep(runner, targets)
                say(f"{runner.title}: ef {', '.join(map(str, runner.efs))}")
            except Trouble as trouble:
                self.drop(runner, trouble)

    def measure(self, rounds: int) -> None:
        """Contenders take turns after every run, so that a machine that slows down for a while slows all of them."""
        for number in range(1, rounds + 1):
            for turn in range(max((len(runner.efs) for runner in self.runners), default=0)):
                for runner in list(self.runners):
                    if turn >= len(runner.efs):
                        continue
                    try:
                        runner.rounds.append({"round": number, **runner.search(runner.efs[turn])})
                    except Trouble as trouble:
                        self.drop(runner, trouble)
            if not self.runners:
                raise Trouble("no contender is left")
            say(f"round {number} of {rounds} done")

    def close(self) -> None:
        for runner in self.runners:
            runner.close()
