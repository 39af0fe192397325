"""Model directories on disk: written aside, then renamed, so that a directory that is there is whole.

A checkpoint is a plain Hugging Face directory: safetensors weights, config and tokenizer. Knows no torch, so that who
only handles directories does not load it.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from worker.training.errors import DiskFull


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
        for path in [*sorted(fresh.rglob("*")), fresh]:
            _to_disk(path)
        if out_dir.exists():
            out_dir.rename(Path(holder, "old"))
        fresh.rename(out_dir)
        _to_disk(out_dir.parent)


def sweep(out_dir: Path) -> None:
    """Removes what killed processes left half-written beside and in `out_dir`, where nobody else may be writing."""
    for holder in [*out_dir.parent.glob(f".{out_dir.name}-*"), *out_dir.glob(".*-*")]:
        if {path.name for path in holder.iterdir()} <= {"new", "old"}:
            shutil.rmtree(holder)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def linked(source: Path, out_dir: Path) -> Path:
    """Makes `out_dir` hold the files of `source`, at no cost where the file system knows hard links, and gives it back.

    Nothing here writes into a file that has its name, so whoever goes on in `source` does not reach what `out_dir`
    holds. What is still being written there (its name begins with a dot) or vanishes meanwhile is left out.
    """
    with written_aside(out_dir) as fresh:
        for folder, folders, files in os.walk(source):
            folders[:] = [name for name in folders if not name.startswith(".")]
            place = fresh / Path(folder).relative_to(source)
            place.mkdir(exist_ok=True)
            for name in files:
                with suppress(FileNotFoundError):
                    link(Path(folder, name), place / name)
    return out_dir


def link(source: Path, target: Path) -> None:
    """Gives a file that nobody writes into any more a second name. Raises FileNotFoundError when it is gone."""
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def need_room(place: Path, number: int) -> None:
    """Raises DiskFull unless `number` bytes are free at `place`, which is made where it is not there."""
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < number:
        raise DiskFull(
            f"{number / 1e9:.1f} GB are needed under {place}, {free / 1e9:.1f} GB are free. "
            "What is there already is safe; make room and start the run again."
        )


def save(model: Any, tokenizer: Any, out_dir: Path) -> Path:
    """Writes weights, config and tokenizer to `out_dir` and gives it back. Weights keep their precision (fp32).

    Where several processes train, all of them call it and the first one writes.
    """
    from worker.training import processes, sharding
    from worker.training.quiet import quiet

    weights = sharding.weights(model)
    if processes.first():
        with quiet(), written_aside(out_dir) as fresh:
            model.save_pretrained(str(fresh), state_dict=weights)
            tokenizer.save_pretrained(str(fresh))
    return out_dir


def digest_directory(directory: Path) -> str:
    """sha256 over the relative names (sorted, with /) and contents of all files: equal for equal checkpoints."""
    whole = hashlib.sha256()
    files = sorted((path.relative_to(directory).as_posix(), path) for path in directory.rglob("*") if path.is_file())
    for name, path in files:
        whole.update(f"{len(name.encode())}:{name}\n{digest_file(path)}\n".encode())
    return whole.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's contents."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
