"""Ours beside a peer: each in a process of its own, one after the other, with the same settings.

Knows processes, and when which step of them ended. Knows nothing of models, nor what is measured.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.lines import say, short
from benchmarks.machine import Shares, cores, shares
from worker.training import metrics

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """Rows per optimizer step or update, rows per forward pass, and steps, the first of which is not counted."""

    batch: int
    micro_batch: int
    steps: int


def options(about: str) -> argparse.ArgumentParser:
    """What every benchmark of the training engine can be asked; `about` is what --help says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="6m|135m|DIR", help="may be repeated; default: 6m and 135m")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--data", type=Path, help="comparisons, .jsonl or .jsonl.gz")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "hone-benchmarks"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    return parser


def required(python: Path | None, requirements: str) -> str:
    """The peer's Python as a command. Exits with how its environment is made where there is none.

    `requirements`: benchmarks/peers/requirements-NAME.txt.
    """
    if python is not None and python.exists():
        return str(python.absolute())
    place = Path(requirements).stem.removeprefix("requirements-")
    module = Path(sys.argv[0]).stem
    raise SystemExit(
        "The peer stands in an environment of its own. Make it, then name its Python with --peer-python:\n"
        f"  python3 -m venv {place} && {place}/bin/pip install -r {requirements}\n"
        f"  python -m benchmarks.{module} --peer-python {place}/bin/python {' '.join(sys.argv[1:])}"
    )


def run(command: list[str], job: dict[str, Any], who: str) -> dict[str, Any]:
    """What a driver found out: the last line that it printed, as JSON. `command` gets the file of the job behind it."""
    say(who)
    # Threads that wait by sleeping: spinning ones take the cores from each other on a machine that is not idle.
    settings = {"OMP_NUM_THREADS": str(job["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.json")
        file.write_text(json.dumps(job))
        done = subprocess.run(
            [*command, str(file)], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"{who} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass
class Clock(metrics.NullSink):
    """When each step ended, what was in force, and who used the cores from the end of step `first` to that of `last`.

    Steps are counted from 1, as `progress` tells them.
    """

    first: int
    last: int
    marks: list[float] = field(default_factory=list)
    in_force: dict[str, str] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)
    used: Shares = field(default_factory=Shares)
    _held: ExitStack = field(default_factory=ExitStack)

    def note(self, name: str, value: str) -> None:
        """Keeps it."""
        self.in_force[name] = value

    def metric(self, name: str, step: int, value: float) -> None:
        """Keeps it."""
        self.series.setdefault(name, []).append(value)

    def progress(self, done: int, total: int, words: str) -> None:
        """A step has ended."""
        self.marks.append(time.perf_counter())
        if len(self.marks) == self.first:
            self.used = self._held.enter_context(shares({"own": [os.getpid()]}))
        if len(self.marks) == self.last:
            self._held.close()

    @property
    def seconds(self) -> float:
        """From the end of the first step to the end of the last."""
        return self.marks[self.last - 1] - self.marks[self.first - 1]

    def found(self) -> dict[str, Any]:
        """What every driver of ours tells."""
        return {
            "seconds": self.seconds,
            "cores": self.used.of,
            "peak_rss_mib": peak_rss_mib(),
            "in_force": self.in_force,
            "versions": {name: version(name) for name in ("torch", "transformers")},
        }


def told(found: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """The conditions that ours and the peer have in common, for a line.

    Core seconds are what the process computed, however many others took from the cores meanwhile: where these were
    many, their ratio says more than that of the rates.
    """
    conditions = {
        "peak_rss_mib": found["peak_rss_mib"],
        "peer_peak_rss_mib": peer["peak_rss_mib"],
        "memory_ratio": short(found["peak_rss_mib"] / peer["peak_rss_mib"]),
        "share_of_cores": found["cores"],
        "peer_share_of_cores": peer["cores"],
    }
    for name, each in (("core_seconds", found), ("peer_core_seconds", peer)):
        conditions[name] = short(each["seconds"] * cores() * each["cores"]["own"])
    return conditions | {
        "in_force": found["in_force"],
        "peer_products_in": peer["products_in"],
        "versions": found["versions"],
        "peer_versions": peer["versions"],
    }


def peak_rss_mib() -> int:
    """The most memory that this process ever held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
