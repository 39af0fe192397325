"""Another process for the tests of `app.local`, and waiting for what it causes.

Knows how to run a few lines of Python beside the test and talk to it by lines. Knows nothing of servers.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.local import unprivileged

ROOT = Path(__file__).resolve().parents[3]

# What a `hone` command does with a server: uses it until its input ends.
USES = """
import sys
from pathlib import Path
from app.local import {module}
with {module}.running(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
print("left", flush=True)
"""


def until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Return as soon as `condition` holds; fail after `seconds`."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} seconds"
        time.sleep(0.01)


@contextlib.contextmanager
def bystander() -> Iterator[int]:
    """Give the number of a living process that is no server, under the account PostgreSQL runs under here."""
    process = subprocess.Popen(_ordinary(["/bin/sleep", "600"]))
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def exists(process: int) -> bool:
    """Whether a process with this number lives; one that ended and was not yet asked after does not."""
    if Path("/proc/self").exists():
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        asked = ["ps", "-o", "state=", "-p", str(process)]
        state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return not state.strip().startswith("Z") and state.strip() != ""


class Other:
    """Python code running beside the test; a context manager that ends it."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> "Other":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line it says."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said, "it ended without a word"
        return said

    def finish(self) -> str:
        """End its input, as a person who is done would, and give the rest of what it said."""
        return self.process.communicate(timeout=60)[0].strip()


def as_ordinary_user(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code as somebody who is not root: as the user of these tests, or as `nobody` where that is root."""
    command = _ordinary([sys.executable, "-c", code, *map(str, arguments)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def _ordinary(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return [sys.executable, "-I", "-S", unprivileged.__file__, "65534", "65534", *command]
