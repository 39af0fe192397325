"""One server per data directory, shared by every `hone` command that needs it: the first starts it, the last stops it.

Knows locks, the leash and waiting. Knows nothing of PostgreSQL or Redis: each describes itself as a `Server`.

Three lock files stand for three facts, and the kernel lets go of each when its holder ends, however it ends. So there
is no process id to go stale and nothing to clean up after a kill:
- `NAME.users`: held shared by every command that uses the server, and exclusively while the server is being stopped
- `NAME.alive`: held by the server and its children
- `NAME.turn`: held while one command starts or stops the server, so that two never do it at once
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.local import leash, places
from app.local.errors import CannotStart

POLL_SECONDS = 0.02
LARGEST_LOG = 10 * 2**20
BEGINNING = "--- hone starts "


@dataclass(frozen=True)
class Server:
    """What `sharing` has to know of a server to start it, find it and stop it."""

    name: str
    title: str
    data_directory: Path
    sockets: Path
    """The directory of its socket, removed with the server."""
    prepare: Callable[[], list[str]]
    """Makes the server's files if they are absent and gives the command that runs it in the foreground."""
    answers: Callable[[], bool]
    process: Callable[[], int | None]
    """Its process id as it wrote it down itself; only asked for while it is alive."""
    explain: Callable[[str], str | None]
    """A sentence for the last lines of its log, where they tell a cause a person can mend."""
    stop_signal: signal.Signals
    stop_seconds: float = 60.0
    start_seconds: float = 600.0

    @property
    def log(self) -> Path:
        """The file its output goes to."""
        return self.data_directory / "logs" / f"{self.name}.log"

    def lock(self, fact: str) -> Path:
        """The lock file for `users`, `alive` or `turn`."""
        return self.data_directory / "run" / f"{self.name}.{fact}"


@contextlib.contextmanager
def used(server: Server, say: Callable[[str], None]) -> Iterator[None]:
    """Use the server for the length of the block, starting it if it does not run; stop it if nobody else uses it."""
    for directory in ("run", "logs"):
        places.prepare(server.data_directory / directory)
    users = os.open(server.lock("users"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _turn(server, say):
            fcntl.flock(users, fcntl.LOCK_SH)
            _ensure(server, say)
        yield
    finally:
        try:
            # A data directory that was removed meanwhile has no locks to take; the leash still sees this user go.
            with contextlib.suppress(FileNotFoundError):
                _leave(server, users, say)
        finally:
            os.close(users)


def revive(server: Server, say: Callable[[str], None]) -> None:
    """Start the server again if it died while it was in use; to be called inside `used`."""
    if not alive(server):
        with _turn(server, say):
            _ensure(server, say)


def alive(server: Server) -> bool:
    """Whether the server, or a child of it, lives: seen by the lock it holds, which costs microseconds."""
    return _held(server.lock("alive"))


def _held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def in_use(data_directory: Path) -> bool:
    """Whether any server lives over this data directory, whichever command uses it."""
    return any(_held(lock) for lock in data_directory.glob("run/*.alive"))


@contextlib.contextmanager
def _turn(server: Server, say: Callable[[str], None]) -> Iterator[None]:
    descriptor = os.open(server.lock("turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another hone command that is starting or stopping {server.title}.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ensure(server: Server, say: Callable[[str], None]) -> None:
    if alive(server):
        if _answered(server, say):
            return
        if alive(server):
            raise CannotStart(
                f"{server.title} runs over {server.data_directory} (process {server.process()}) but does not answer. "
                f"Your data is safe. See {server.log}, end that process, and start again."
            )
    # What a killed server left of its socket names a process id, which may by now be anybody's.
    shutil.rmtree(server.sockets, ignore_errors=True)
    command = server.prepare()
    if _launch(server, command) and _answered(server, say):
        return
    if alive(server):
        raise CannotStart(
            f"{server.title} did not answer within {server.start_seconds:.0f} seconds. Your data is safe. "
            f"See {server.log}."
        )
    lines = _said_last(server.log)
    raise CannotStart(
        server.explain(lines)
        or f"{server.title} did not start. Your data is safe. Its log, {server.log}, ends so:\n{lines}"
    )


def _launch(server: Server, command: list[str]) -> bool:
    if server.log.exists() and server.log.stat().st_size > LARGEST_LOG:
        server.log.replace(server.log.with_suffix(".log.old"))
    holder = [sys.executable, "-I", "-S", leash.__file__, "--detach", "--limit", str(server.stop_seconds)]
    holder += ["--signal", str(int(server.stop_signal))]
    holder += ["--while", str(server.lock("users")), "--alive", str(server.lock("alive")), "--", *command]
    with server.log.open("ab") as log:
        log.write(f"{BEGINNING}{server.title} at {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        started = subprocess.run(holder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    return started.returncode == 0


def _said_last(log: Path) -> str:
    """What the server said since it was last started, at most 15 lines."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        said = file.read().decode(errors="replace").rpartition(BEGINNING)[2]
    return "\n".join(said.splitlines()[1:][-15:])


def _answered(server: Server, say: Callable[[str], None]) -> bool:
    begun = told = time.monotonic()
    while not server.answers():
        now = time.monotonic()
        if not alive(server) or now - begun > server.start_seconds:
            return False
        if now - told > 5:
            told = now
            say(f"{server.title} is putting its files in order after it was cut off, {now - begun:.0f} s so far.")
        time.sleep(POLL_SECONDS)
    return True


def _leave(server: Server, users: int, say: Callable[[str], None]) -> None:
    with _turn(server, say):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _stop(server)


def _stop(server: Server) -> None:
    _end(server)
    if not alive(server):
        shutil.rmtree(server.sockets, ignore_errors=True)


def _end(server: Server) -> None:
    asked: int | None = None
    limit = time.monotonic() + server.stop_seconds
    while alive(server):
        process = server.process()
        if process is not None and process != asked:
            _signal(process, server.stop_signal)
            asked = process
        if time.monotonic() > limit:
            if process is not None:
                _signal(process, signal.SIGKILL)
            return
        time.sleep(POLL_SECONDS)


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
