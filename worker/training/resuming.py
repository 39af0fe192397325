"""Resume states: a training that was killed goes on from its newest whole state as if nothing had happened.

Knows weights that learn, what an optimizer keeps about them, files and their digests. Knows nothing of losses: what
else a training needs in order to go on (its position, sums, buffers) it hands over as numbers and tensors, and gets
back as it was. No random state is among them, because every draw follows from a seed (worker.training.seeding).

A state is a directory of safetensors and a `state.json`. It is written aside, brought to the disk and renamed, so that
one that has its name is whole. The JSON has the sha256 of every file and of itself: a state that was damaged later is
passed over for the one before. It also says of which training it is, by recipe, data, seed, base weights and library
versions; of a state of another training nothing else is read.
"""

import hashlib
import json
import platform
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worker.training import checkpoints, devices, processes, sharding
from worker.training.metrics import Cancelled, Sink

FORMAT: Final = 2
"""Grows when a state means something else than before."""
KEPT: Final = 2
"""States kept: the newest, and one before it in case that one is damaged."""
MOST_OF_THE_TIME: Final = 0.05
"""A state is put off while writing states has taken more than this share of the time."""

_ABOUT, _WEIGHTS, _MOMENTS, _TENSORS = "state.json", "weights.safetensors", "moments.safetensors", "tensors.safetensors"


class _PassedOver(Exception):
    """A state that is not gone on from; the message says why."""


@dataclass(frozen=True)
class Learning:
    """What one optimizer changes: weights by name, and its own numbers about each of them."""

    optimizer: torch.optim.Optimizer
    weights: Mapping[str, nn.Parameter]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, **models: nn.Module) -> Self:
        """Every weight of these models that learns; a weight that a model uses twice is there once."""
        return cls(
            optimizer,
            {
                f"{prefix}.{name}": weight
                for prefix, model in models.items()
                for name, weight in model.named_parameters()
                if weight.requires_grad
            },
        )

    @property
    def bytes(self) -> int:
        """Bytes of the weights."""
        return sum(weight.nbytes for weight in self.weights.values())

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}:{what}": value
            for name, weight in self.weights.items()
            for what, value in self.optimizer.state.get(weight, {}).items()
        }

    def _files(self) -> dict[str, dict[str, Tensor]]:
        return {_WEIGHTS: {name: weight.detach() for name, weight in self.weights.items()}, _MOMENTS: self._moments()}

    @torch.no_grad()
    def _load(self, place: Path) -> None:
        """Copies into the tensors that are there: laid out as in an undisturbed run, they add up in the same order."""
        with safe_open(place / _WEIGHTS, framework="pt") as file:
            if set(file.keys()) != set(self.weights):
                raise ValueError(f"{place}: the state has weights of other names than the model")
            for name, weight in self.weights.items():
                held = file.get_tensor(name)
                if held.shape != weight.shape:
                    raise ValueError(f"{place}: {name} is {tuple(held.shape)}, in the model {tuple(weight.shape)}")
                weight.copy_(sharding.like(held, weight))
        groups = self.optimizer.state_dict()["param_groups"]
        number = {
            id(weight): index
            for group, live in zip(groups, self.optimizer.param_groups, strict=True)
            for index, weight in zip(group["params"], live["params"], strict=True)
        }
        state: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
        with safe_open(place / _MOMENTS, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  a safetensors file is not a dict
                name, _, what = key.rpartition(":")
                weight, held = self.weights[name], file.get_tensor(key).clone()
                state[number[id(weight)]][what] = sharding.like(held, weight) if held.shape == weight.shape else held
        self.optimizer.load_state_dict({"state": dict(state), "param_groups": groups})


@dataclass(frozen=True)
class State:
    """A whole state. `number` orders the states of a training, `words` say where it stood, `facts` are its numbers."""

    place: Path
    number: int
    words: str
    facts: dict[str, Any]
    files: dict[str, str]

    def load(self, learning: Learning) -> None:
        """Puts weights and optimizer back as they were. Raises ValueError when they are of another model."""
        learning._load(self.place)

    def tensors(self, device: torch.device) -> dict[str, Tensor]:
        """The tensors handed over with the facts; empty when there were none."""
        path = self.place / _TENSORS
        # By torch: "cuda" means the first GPU to safetensors, and this process's own to torch.
        return {name: each.to(device) for name, each in load_file(path).items()} if path.exists() else {}


@dataclass(frozen=True)
class _Reached:
    number: int
    words: str
    facts: dict[str, Any]
    learning: Learning | None
    tensors: Callable[[], dict[str, Tensor]]
    beside: dict[str, Path]
    same: State | None

    def files(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by file and name, whole, those left out that another state has already."""
        files = {} if self.learning is None or self.same is not None else self.learning._files()
        if own := self.tensors():
            files[_TENSORS] = own
        return {
            file: {name: sharding.whole(each).contiguous() for name, each in held.items()}
            for file, held in files.items()
        }


class States:
    """The resume states of one training, in a directory that only one process writes; without one, nothing is kept.

    Where several processes train, the first one reads and writes, and the others go through the same steps: a state
    holds whole tensors, so that any number of processes goes on from it.
    """

    def __init__(
        self,
        directory: Path | None,
        about: Mapping[str, object],
        memory: Mapping[str, object],
        sink: Sink,
        out_dir: Path | None = None,
    ) -> None:
        """`about` decides whether a state is of this training: a directory counts by its files, all else by its repr.

        A list counts item by item, so that large data are never one text. `memory` are settings, by name, that may
        differ, and are told where they do. A trained model will be in `out_dir`.
        """
        self._directory, self._sink, self._out_dir = directory, sink, out_dir
        self._about = {} if directory is None else _identity(about)
        self._memory = {name: str(value) for name, value in memory.items()}
        self._kept: list[int] = []
        self._reached: _Reached | None = None
        self._same: State | None = None
        self._began, self._spent = time.perf_counter(), 0.0

    def newest(self) -> State | None:
        """The newest whole state of this very training; None to begin at the beginning.

        Where states are there, which of them it is, or why none, is noted as the condition `start`. What an earlier
        process left half-written or unfinished is removed.
        """
        if self._directory is None:
            return None
        state = processes.told(self._found(self._directory) if processes.first() else None)
        if state is not None:
            self._kept, self._same = [state.number], state
        return state

    def _found(self, directory: Path) -> State | None:
        directory.mkdir(parents=True, exist_ok=True)
        for torn in directory.glob(".*"):
            shutil.rmtree(torn, ignore_errors=True)
        if self._out_dir is not None:
            checkpoints.sweep(self._out_dir)
            shutil.rmtree(_unfinished(self._out_dir), ignore_errors=True)
        passed: list[str] = []
        for place in sorted(directory.glob("[0-9]*"), reverse=True):
            try:
                state, changed = self._whole(place)
            except _PassedOver as why:
                passed.append(str(why))
                continue
            if changed:
                passed.append(f"{' and '.join(changed)} changed since, so it is not bit for bit an undisturbed run")
            self._sink.note("start", "; ".join([f"resumed from {state.words}", *passed]))
            return state
        if passed:
            self._sink.note("start", f"from the beginning, because {'; '.join(passed)}")
        return None

    def _whole(self, place: Path) -> tuple[State, list[str]]:
        """The state that is there, and what moves the last digits and has changed since. Raises _PassedOver."""
        damaged = _PassedOver(f"state {int(place.name)} was damaged")
        try:
            held = json.loads((place / _ABOUT).read_text())
            told = held["state"]
            if held["sha256"] != _digest_of_json(told):
                raise damaged
        except (OSError, ValueError, KeyError, TypeError):
            raise damaged from None
        differing = _differing(told["about"], self._about)
        if differing:
            raise _PassedOver(f"{' and '.join(differing)} changed since {told['words']}")
        for name, digest in told["files"].items():
            if not (place / name).is_file() or checkpoints.digest_file(place / name) != digest:
                raise damaged
        state = State(place, told["number"], told["words"], told["facts"], told["files"])
        return state, _differing(told["surroundings"], self._surroundings())

    def _surroundings(self) -> dict[str, str]:
        return _surroundings() | self._memory

    def need_room(self, learning: Learning) -> None:
        """Raises DiskFull unless all states and the trained model will fit: better now than after hours."""
        if self._directory is not None:
            there = len(list(self._directory.glob("[0-9]*")))
            # One more than is kept, while it is written; weights and the two moments of Adam.
            checkpoints.need_room(self._directory, (max(1, KEPT + 1 - there) * 3 + 1) * learning.bytes)

    def reached(
        self,
        number: int,
        words: str,
        facts: dict[str, Any],
        *,
        learning: Learning | None = None,
        tensors: Callable[[], dict[str, Tensor]] = dict,
        beside: dict[str, Path] | None = None,
        learned: bool = True,
        due: bool = True,
    ) -> None:
        """Tells where the training stands, and writes a state if one is `due` and states have not cost too much yet.

        `number` grows. `facts` survive JSON (numbers exactly). What `tensors` gives and the directories `beside` are
        kept with them. `learned` is false where the weights are those of the call before: then they are not written
        again. Raises DiskFull.
        """
        if self._directory is None:
            return
        if learned:
            self._same = None
        self._reached = _Reached(number, words, facts, learning, tensors, beside or {}, self._same)
        if due and processes.told(self._spent <= MOST_OF_THE_TIME * (time.perf_counter() - self._began)):
            self._save(self._directory, self._reached)

    @contextmanager
    def leaving(self, write: Callable[[Path], object]) -> Iterator[None]:
        """A cancel within it leaves the model as it is, by `write`, and a state of what was reached.

        Where the model is stands in the exception. A disk that is full does not keep the training from stopping.
        """
        try:
            yield
        except Cancelled as stop:
            begun = self._reached is not None or self._kept
            if self._directory is not None and self._out_dir is not None and begun:
                left = _unfinished(self._out_dir)
                try:
                    write(left)
                    stop.left = left
                    if self._reached is not None and self._reached.number not in self._kept:
                        self._save(self._directory, self._reached)
                except (OSError, SafetensorError) as trouble:
                    self._sink.note("left", f"not all was written: {trouble}")
            raise

    def _save(self, directory: Path, reached: _Reached) -> None:
        began = time.perf_counter()
        self._sink.flush()
        tensors, place, files = reached.files(), directory / f"{reached.number:012d}", dict[str, str]()
        kept = [*self._kept, reached.number][-KEPT:]
        if processes.first():
            checkpoints.need_room(directory, sum(each.nbytes for file in tensors.values() for each in file.values()))
            with checkpoints.written_aside(place) as fresh:
                files = _write(fresh, reached, tensors)
                _write_about(fresh, reached, files, self._about, self._surroundings())
            for old in directory.glob("[0-9]*"):
                # Also what is left of another training, or damaged.
                if int(old.name) not in kept:
                    shutil.rmtree(old)
        self._kept = kept
        self._same = State(place, reached.number, reached.words, reached.facts, files)
        self._spent += time.perf_counter() - began


def _unfinished(out_dir: Path) -> Path:
    return out_dir.with_name(f"{out_dir.name}-unfinished")


def _write(fresh: Path, reached: _Reached, tensors: Mapping[str, dict[str, Tensor]]) -> dict[str, str]:
    """Writes the files of a state; gives their digests."""
    for name, each in tensors.items():
        save_file(each, fresh / name)
    for name, directory in reached.beside.items():
        checkpoints.linked(directory, fresh / name)
    written = sorted(path for path in fresh.rglob("*") if path.is_file())
    files = {path.relative_to(fresh).as_posix(): checkpoints.digest_file(path) for path in written}
    if reached.same is not None and reached.learning is not None:
        for name in (_WEIGHTS, _MOMENTS):
            checkpoints.link(reached.same.place / name, fresh / name)
            files[name] = reached.same.files[name]
    return files


def _write_about(
    fresh: Path, reached: _Reached, files: dict[str, str], about: dict[str, str], surroundings: dict[str, str]
) -> None:
    told = {
        "number": reached.number,
        "words": reached.words,
        "facts": reached.facts,
        "files": files,
        "about": about,
        "surroundings": surroundings,
    }
    (fresh / _ABOUT).write_text(json.dumps({"sha256": _digest_of_json(told), "state": told}))


def _digest_of_json(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _identity(about: Mapping[str, object]) -> dict[str, str]:
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return {"library versions": versions, "state format": str(FORMAT)} | {
        name: _digested(each) for name, each in about.items()
    }


def _digested(each: object) -> str:
    if isinstance(each, Path):
        return checkpoints.digest_directory(each)
    whole = hashlib.sha256()
    for item in each if isinstance(each, list) else [each]:
        whole.update(f"{item!r}\n".encode())
    return whole.hexdigest()


@cache
def _surroundings_that_stay() -> dict[str, str]:
    code = sorted(Path(__file__).parent.glob("*.py"))
    device = devices.best()
    return {
        "training code": _digested([checkpoints.digest_file(path) for path in code]),
        "processor": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def _surroundings() -> dict[str, str]:
    """What may differ between two workers and moves the last digits."""
    now = {"threads": str(torch.get_num_threads()), "processes": str(processes.count())}
    return _surroundings_that_stay() | now


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
