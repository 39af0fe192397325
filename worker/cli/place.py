"""The directory that a call works in (--out): what stands there, and whose it is.

What was asked is kept beside what is made of it, so that the same call goes on there and another one is refused.
"""

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.domain.recipes import InvalidRecipe, Recipe
from worker.cli.refusal import Wrong
from worker.cli.saving import write_whole
from worker.training import checkpoints

ASKED, RESULT, METRICS, STATES, SUMMARIES = "asked.json", "result.json", "metrics.jsonl", "states", "summaries.jsonl"
MADE = ("base", "policy", "reward", "ppo", SUMMARIES, STATES)


def identity(options: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """What was asked: two calls that agree in what decides the result are one."""
    told: dict[str, Any] = {"recipe": recipe.to_dict()}
    for name, given in sorted(vars(options).items()):
        path = Path(str(given))
        if name in ("recipe", "out", "processes"):
            continue
        if name in ("model", "reward", "sft", "start") and path.is_dir():
            told[name] = {"directory": given, "sha256": checkpoints.digest_directory(path)}
        elif name in ("data", "documents", "examples", "template") and path.is_file():
            told[name] = {"file": given, "sha256": checkpoints.digest_file(path)}
        else:
            told[name] = given
    return told


def _decisive(told: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without paths, for a file that was moved is the same file, and without what changes memory only."""
    found = {name: value.get("sha256", value) if isinstance(value, dict) else value for name, value in told.items()}
    with suppress(InvalidRecipe):  # of an earlier version: it is another one
        found["recipe"] = Recipe.from_dict(told["recipe"]).decisive()
    return found


def begin(out: Path, told: dict[str, Any]) -> bool:
    """Make --out ours, or go on in it; whether there is something to do. Raises Wrong when it is another call's."""
    path = out / ASKED
    taken = [name for name in MADE if _holds(out / name)]
    if path.exists() and (taken or (out / RESULT).exists()):
        before = _decisive(json.loads(path.read_text(encoding="utf-8")))
        now = _decisive(json.loads(json.dumps(told)))
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if differing:
            raise Wrong(f"{out} was begun with another {' and '.join(differing)}. Give another --out; it is kept.")
        if (out / RESULT).exists():
            return False
    if taken and not path.exists():
        raise Wrong(f"{out} holds {' and '.join(taken)} of something else. Give another --out; it is kept.")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(told, indent=1))
    return True


def _holds(place: Path) -> bool:
    return any(place.iterdir()) if place.is_dir() else place.exists()
