"""Model directories on disk: written aside, then renamed, so that a directory that is there is whole.

A checkpoint is a plain Hugging Face directory: safetensors weights, config and tokenizer.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.training.quiet import quiet

READ_BYTES = 1 << 20


@contextmanager
def written_aside(out_dir: Path) -> Iterator[Path]:
    """An empty directory beside `out_dir` that takes its name when the block ends well, and vanishes when it does not.

    What stood at `out_dir` before is replaced: a run that is done again after a crash writes the same place.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}-", dir=out_dir.parent) as holder:
        fresh = Path(holder, "new")
        fresh.mkdir()
        yield fresh
        for path in sorted(fresh.rglob("*")):
            if path.is_file():
                _to_disk(path)
        if out_dir.exists():
            out_dir.rename(Path(holder, "old"))
        fresh.rename(out_dir)
        _to_disk(out_dir.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save(model: Any, tokenizer: Any, out_dir: Path) -> Path:
    """Writes weights, config and tokenizer to `out_dir` and gives it back. Weights keep their precision (fp32)."""
    with quiet(), written_aside(out_dir) as fresh:
        model.save_pretrained(str(fresh))
        tokenizer.save_pretrained(str(fresh))
    return out_dir


def digest_directory(directory: Path) -> str:
    """sha256 over the relative names (sorted, with /) and contents of all files: equal for equal checkpoints."""
    whole = hashlib.sha256()
    files = sorted((path.relative_to(directory).as_posix(), path) for path in directory.rglob("*") if path.is_file())
    for name, path in files:
        each = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(READ_BYTES):
                each.update(block)
        whole.update(f"{len(name.encode())}:{name}\n{each.hexdigest()}\n".encode())
    return whole.hexdigest()
