"""The files that a call names: lines in one form, a recipe, a template. Knows no stage.

Whatever cannot be used is refused in words.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from app.domain.prompts import InvalidTemplate, PromptTemplate
from app.domain.recipes import NAMED, InvalidRecipe, Recipe
from app.domain.records import BadRecord
from worker.cli.refusal import Wrong

R = TypeVar("R")


def records(path: Path, form: Callable[[int, str], R]) -> list[R]:
    """Every line of a plain or gzip file in one form. Raises Wrong at the first bad line."""
    number = 0
    found = []
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            for number, raw in enumerate(gzip.GzipFile(fileobj=file) if packed else file, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    found.append(form(number, text))
    except BadRecord as bad:
        raise Wrong(f"{path}, {bad}. Mend the line; nothing was begun.") from bad
    except UnicodeDecodeError as bad:
        raise Wrong(f"{path}, line {number}: not UTF-8 at byte {bad.start}. Nothing was begun.") from bad
    except (EOFError, zlib.error, gzip.BadGzipFile) as bad:
        raise Wrong(f"{path} is broken after line {number}: {bad}. Nothing was begun.") from bad
    except OSError as trouble:
        raise Wrong(f"{path} cannot be read: {trouble.strerror}. Nothing was begun.") from trouble
    return found


def recipe(given: str) -> Recipe:
    """A named recipe, or one from a JSON file. Raises Wrong."""
    if given in NAMED:
        return NAMED[given]
    path = Path(given)
    if not path.is_file():
        raise Wrong(f"--recipe {given} is neither a file nor one of {', '.join(NAMED)}.")
    try:
        return Recipe.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except InvalidRecipe as refused:
        raise Wrong(f"--recipe {given}: {refused}.") from refused
    except (ValueError, RecursionError) as refused:
        raise Wrong(f"--recipe {given} is not JSON: {refused}.") from refused


def template(given: str | None, otherwise: str) -> str:
    """The text of a prompt template, which is checked, from a file if one is given. Raises Wrong."""
    if given is None:
        return otherwise
    try:
        text = Path(given).read_text(encoding="utf-8").rstrip()
        return PromptTemplate(text).text
    except InvalidTemplate as refused:
        raise Wrong(f"--template {given}: {refused}.") from refused
    except (OSError, UnicodeDecodeError) as trouble:
        raise Wrong(f"--template {given} cannot be read: {trouble}.") from trouble
