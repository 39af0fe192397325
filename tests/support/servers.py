"""Real PostgreSQL and Redis for tests: one of each per session, a database of its own per test.

Knows how a migrated database is copied quickly. Knows nothing of migrations: whoever makes the template brings them.
Nothing here survives a power cut, which is what makes it fast; all of it lies in a temporary directory.
"""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from app.local import postgres, redis

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30


@dataclass(frozen=True)
class Servers:
    """A running PostgreSQL and a running Redis."""

    data_directory: Path
    broker_url: str

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of a database on this server."""
        return postgres.url(self.data_directory, name)

    def empty_broker(self) -> str:
        """Throw away everything in Redis and give the broker URL."""
        with redis.client(self.data_directory) as client:
            client.flushall()
        return self.broker_url

    @contextlib.contextmanager
    def administration(self) -> Iterator[psycopg.Connection]:
        """A connection for statements on whole databases; none of them may be in use by it."""
        with psycopg.connect(_conninfo(self.database_url("postgres")), autocommit=True) as connection:
            yield connection


@dataclass(frozen=True)
class Template:
    """A database that nobody connects to, from which others are copied."""

    servers: Servers
    name: str
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Give the URL of a new copy; afterwards drop it, cutting whatever is still connected."""
        copy = sql.Identifier(f"{self.name}_{next(self._numbers)}")
        with self.servers.administration() as connection:
            # FILE_COPY took 45 ms here where the default, WAL_LOG, took 71 (30 tables, no fsync).
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(copy, sql.Identifier(self.name))
            )
        try:
            yield self.servers.database_url(copy.as_string().strip('"'))
        finally:
            with self.servers.administration() as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copy))


@contextlib.contextmanager
def running_servers() -> Iterator[Servers]:
    """Both servers, over a temporary directory; about a second to start, stopped and removed afterwards.

    In memory where there is room: a test waits for its own copy of a database, which a disk takes two to eight times as
    long for.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    with tempfile.TemporaryDirectory(prefix="hone-tests-", dir=MEMORY if roomy else None) as name:
        directory = Path(name)
        with postgres.running(directory, durable=False), redis.running(directory) as broker_url:
            yield Servers(directory, broker_url)


def template(servers: Servers, name: str, prepare: Callable[[str], None]) -> Template:
    """Make a database called `name`, let `prepare` fill it through its URL, and keep it to be copied.

    `prepare` must have closed its connections when it returns: PostgreSQL copies no database that is in use.
    """
    with servers.administration() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    prepare(servers.database_url(name))
    return Template(servers, name)


def _conninfo(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
