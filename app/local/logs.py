"""A log file that several processes' lines go to, and that never grows without end.

Knows appending and moving a file that is full aside. Knows nothing of what is written.
"""

import threading
import time
from io import FileIO
from pathlib import Path
from types import TracebackType

from app.local import places

LARGEST = 10 * 2**20


class Log:
    """A file to append lines to, from any thread; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        """Raises `CannotStart` where the directory cannot be written."""
        self.path = places.prepare(path.parent) / path.name
        self._lock = threading.Lock()
        self._file = self._opened()

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _opened(self) -> FileIO:
        # Unbuffered: a line that a full disk refused must not come again when the file is closed.
        return self.path.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Append a line with the time before it. A disk that is full loses the line, and stops nobody."""
        with self._lock:
            try:
                if self._file.tell() > LARGEST:
                    self._file.close()
                    self.path.replace(self.path.with_suffix(".log.old"))
                    self._file = self._opened()
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n".encode())
            except (OSError, ValueError):
                return
