"""What the runs of benchmarks.learning have in common: their files, and the stages of `python -m worker.cli`.

Knows where things lie under --out. Whatever is there already is taken as it is, so that the same command goes on where
it was stopped; another question to the same --out is refused.
"""

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.intervals import Estimate
from benchmarks.lines import say
from worker.cli.terminal import FileSink


def options(about: str | None) -> argparse.ArgumentParser:
    """What every module can be asked; `about` is what --help says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSON lines, plain or .gz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="call again to go on there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    return parser


def begin(asked: argparse.Namespace) -> Path:
    """Makes --out, or goes on in it. Exits where it holds the answer to another question."""
    out: Path = asked.out
    told = json.dumps({name: str(value) for name, value in vars(asked).items() if name != "out"}, indent=1)
    path = out / "asked.json"
    if path.exists() and path.read_text() != told:
        raise SystemExit(f"{out} was begun with other options, see {path}: give another --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(told)
    return out


def read(path: Path) -> list[dict[str, Any]]:
    """Every line of a plain or gzip file."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """One row a line, written aside and renamed: a file that has its name is whole."""
    aside = path.with_name(f".{path.name}")
    aside.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return aside.replace(path)


def stage(name: str, out: Path, recipe: Mapping[str, Any], **given: object) -> dict[str, Any]:
    """The result of `python -m worker.cli NAME --out OUT`, which goes on where it was stopped."""
    place = out.with_name(f"{out.name}.json")
    place.write_text(json.dumps(recipe, indent=1))
    told = [word for option, value in given.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "worker.cli", name, "--recipe", str(place), "--out", str(out), *told]
    say(" ".join(command[1:]))
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status:
        raise SystemExit(status)
    return result(out)


def result(out: Path) -> dict[str, Any]:
    """What a finished stage found."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text())["result"]
    return found


@contextmanager
def telling(out: Path) -> Iterator[FileSink]:
    """A sink for what is called here and not through the command: metrics into OUT, progress to the terminal."""
    out.mkdir(parents=True, exist_ok=True)
    sink = FileSink(out / "metrics.jsonl", lambda: False)
    try:
        yield sink
    finally:
        sink.close()


def shown(estimate: Estimate) -> list[float | None]:
    """An interval as a line tells it."""
    return [None if end is None else round(end, 4) for end in (estimate.low, estimate.high)]


def difference(ours: list[float], theirs: list[float]) -> Estimate:
    """The mean difference of two measures of the same things, with its interval over the things (paired)."""
    return intervals.mean([one - other for one, other in zip(ours, theirs, strict=True)])
