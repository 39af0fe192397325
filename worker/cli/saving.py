"""Files that are whole or not there, and numbers as JSON has them. Knows nothing of what is written."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def plain(value: float) -> float | None:
    """A number that JSON has, or null."""
    return value if math.isfinite(value) else None


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A JSON line for each row."""
    write_whole(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def write_whole(path: Path, text: str) -> None:
    """Replaces what is there; after a kill it is the old text or the new one."""
    aside = path.with_name(f".{path.name}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
