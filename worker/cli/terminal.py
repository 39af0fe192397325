"""What is seen of a call while it runs: lines and a bar on the terminal, metrics in a file; and Ctrl-C, asked about."""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from worker.cli.refusal import Wrong
from worker.cli.saving import plain
from worker.training.metrics import Cancelled

LINE_EVERY_SECONDS = 15.0


class FileSink:
    """Metrics and conditions as JSON lines in a file, progress on the terminal."""

    def __init__(self, path: Path, stopping: Callable[[], bool]) -> None:
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            self._file.close()
            raise Wrong(f"Another process is at work in {path.parent}.") from taken
        _drop_torn_line(self._file)
        self._stopping = stopping
        self._conditions: dict[str, str] = {}
        self._bar: Any = None
        self._told = time.monotonic()

    def metric(self, name: str, step: int, value: float) -> None:
        """A line with the point; null for what is not a number."""
        self._write({"step": step, "name": name, "value": plain(value)})

    def progress(self, done: int, total: int, words: str) -> None:
        """A bar where somebody looks at a terminal, else a line now and then."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(
                    desc=words, initial=done, total=total, file=sys.stderr, dynamic_ncols=True, leave=False
                )
            self._bar.total = total
            self._bar.set_description(words, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == total or time.monotonic() - self._told >= LINE_EVERY_SECONDS:
            self._told = time.monotonic()
            say(words)

    def check(self) -> None:
        """Raises Cancelled once somebody has pressed Ctrl-C."""
        if self._stopping():
            raise Cancelled("Somebody asked to stop.")

    def note(self, name: str, value: str) -> None:
        """A line with the condition, in the file and on the terminal, when it is new."""
        if self._conditions.get(name) != value:
            self._conditions[name] = value
            self._write({"condition": name, "value": value})
            say(f"{name}: {value}")

    def flush(self) -> None:
        """What was told is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more will be told."""
        if self._bar is not None:
            self._bar.close()
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(f"{json.dumps(line)}\n".encode())


def _drop_torn_line(file: Any) -> None:
    """What a killed process left without its end."""
    file.seek(0)
    whole = file.read().rpartition(b"\n")
    file.truncate(len(whole[0]) + len(whole[1]))


def say(sentence: str) -> None:
    """One line to the terminal, above the bar if there is one."""
    tqdm.write(f"hone: {sentence}", file=sys.stderr)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C (or a termination) is asked about and not thrown; a second one ends the process at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        # Not `say`: the signal may have come in the middle of one.
        os.write(2, b"\nhone: stopping after the update in hand; once more ends at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
