"""Stages of the training library in child processes that are killed with SIGKILL, at exact points or at any time.

Knows how to start, kill and start again. Knows nothing of what a stage should give; the tests compare.
"""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
from safetensors.torch import save_file

from worker.training import checkpoints, resuming

PRELOADED = ["pytest", "worker.training.evaluation", "worker.training.ppo", "transformers.models.llama.modeling_llama"]
"""What every child needs, loaded once."""

Where = Literal["telling", "writing", "syncing"]


@dataclass(frozen=True)
class Kill:
    """Die at the `at`-th call (from 1): of the sink, of writing a file of tensors (half of it), or of bringing one to
    the disk."""

    where: Where
    at: int


@dataclass
class DiarySink:
    """A sink that loses what was not flushed when its process dies, as one over a database does."""

    diary: Path
    kill: Kill | None
    told: int = 0
    points: list[tuple[str, int, float]] = field(default_factory=list)

    def _count(self) -> None:
        self.told += 1
        if self.kill is not None and self.kill.where == "telling" and self.told >= self.kill.at:
            die()

    def metric(self, name: str, step: int, value: float) -> None:
        self.points.append((name, step, value))
        self._count()

    def progress(self, done: int, total: int, words: str) -> None:
        self._count()

    def check(self) -> None:
        self._count()

    def note(self, name: str, value: str) -> None:
        self._write(name, value)

    def flush(self) -> None:
        self._write("points", self.points)
        self.points = []
        self._count()

    def _write(self, name: str, value: object) -> None:
        with self.diary.open("a") as lines:
            lines.write(json.dumps([name, value]) + "\n")


Stage = Callable[[DiarySink, Path, Path], Any]
"""Runs a stage with this sink, output directory and state directory; gives its result."""


def die() -> None:
    """As a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _child(stage: Stage, place: Path, kill: Kill | None) -> None:
    torch.set_num_threads(1)
    patch.object(resuming, "MOST_OF_THE_TIME", float("inf")).start()
    if kill is not None and kill.where == "writing":
        _die_half_written(kill.at)
    if kill is not None and kill.where == "syncing":
        _die_before_syncing(kill.at)
    sink = DiarySink(place / "diary.jsonl", kill)
    result = stage(sink, place / "out", place / "states")
    sink.flush()
    (place / "result.json").write_text(json.dumps({"told": sink.told, "result": repr(result).replace(str(place), "")}))


def _die_half_written(at: int) -> None:
    calls = []

    def torn(tensors: dict[str, torch.Tensor], filename: Path) -> None:
        save_file(tensors, filename)
        calls.append(filename)
        if len(calls) == at:
            os.truncate(filename, filename.stat().st_size // 2)
            die()

    patch.object(resuming, "save_file", torn).start()


def _die_before_syncing(at: int) -> None:
    calls, sync = [], checkpoints._to_disk

    def cut(path: Path) -> None:
        calls.append(path)
        if len(calls) == at:
            die()
        sync(path)

    patch.object(checkpoints, "_to_disk", cut).start()


class Killed:
    """A stage in a place of its own, started again after every kill."""

    def __init__(self, stage: Stage, place: Path) -> None:
        self._stage, self.place = stage, place
        place.mkdir(parents=True)

    def start(self, kill: Kill | None = None) -> BaseProcess:
        """A process that has begun. They are forked off a server that has loaded torch and never used it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *PRELOADED])
        process = context.Process(target=_child, args=(self._stage, self.place, kill))
        process.start()
        return process

    def run(self, kill: Kill | None = None, *, anew: bool = False) -> bool:
        """Whether it came to its end; it fails for any other reason than a kill. `anew`: with an empty output
        directory, as a new claim has it."""
        if anew:
            shutil.rmtree(self.place / "out", ignore_errors=True)
        process = self.start(kill)
        process.join()
        return self._ended(process)

    def run_for(self, seconds: float) -> bool:
        """Kill it after so many seconds; whether it came to its end before."""
        process = self.start()
        process.join(seconds)
        process.kill()
        process.join()
        return self._ended(process)

    def _ended(self, process: BaseProcess) -> bool:
        assert process.exitcode in (0, -signal.SIGKILL), f"the stage ended with {process.exitcode}"
        return process.exitcode == 0

    def _diary(self) -> list[tuple[str, Any]]:
        lines = (self.place / "diary.jsonl").read_text().splitlines()
        return [(name, value) for name, value in map(json.loads, lines)]

    @property
    def starts(self) -> list[str]:
        """Where it began each time that there was a state."""
        return [value for name, value in self._diary() if name == "start"]

    @property
    def points(self) -> dict[tuple[str, int], float]:
        """Metric values by name and step, the newest of each, without those that a clock decides."""
        points = [point for name, value in self._diary() if name == "points" for point in value]
        return {(name, step): value for name, step, value in points if "per_second" not in name}

    @property
    def told(self) -> int:
        """How often the sink was called by a run from beginning to end."""
        told = json.loads((self.place / "result.json").read_text())["told"]
        assert isinstance(told, int)
        return told

    def outcome(self) -> tuple[str, str, dict[tuple[str, int], float]]:
        """The result in words, the digest of all that was written, every metric."""
        out, result = self.place / "out", json.loads((self.place / "result.json").read_text())["result"]
        return result, checkpoints.digest_directory(out) if out.exists() else "", self.points
