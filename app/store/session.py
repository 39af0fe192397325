"""Engine, sessions and the unit of work: commit first, then ring the doorbells.

Knows how a transaction begins and ends, and that jobs leave after the commit. Knows nothing of any table.
"""

import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import ClauseElement, create_engine, event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.compiler import SQLCompiler

from app.jobs import Job

# Classes of SQLSTATE that pass by themselves: no connection, a rolled back transaction, no room for another connection,
# a lock that somebody held for too long, an operator at work.
_PASSING = ("08", "40", "53", "55", "57")


class DatabaseUnreachable(Exception):
    """The database is away, or cannot serve just now: the same again, later, may well succeed."""


Send = Callable[[Job], None]
Sessions = sessionmaker[Session]

__all__ = [
    "DatabaseUnreachable",
    "Engine",
    "Send",
    "Session",
    "Sessions",
    "connect",
    "directly",
    "enqueue",
    "first",
    "unit_of_work",
]


def connect(url: str, pool: int = 5) -> Sessions:
    """A session factory on PostgreSQL at `url` with at most `pool` connections.

    Times are read and written in UTC. A connection that died with its server is replaced before use.
    """
    engine = create_engine(
        url,
        pool_size=pool,
        max_overflow=0,
        # A logged error would print the values of its statement: hashes, texts of documents.
        hide_parameters=True,
        connect_args={
            # Compiling a statement pays for minutes of reading; those here take milliseconds.
            "options": "-c timezone=UTC -c jit=off -c lock_timeout=20s -c idle_in_transaction_session_timeout=120s",
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
    )
    event.listen(engine, "checkout", _still_there)
    return sessionmaker(engine, expire_on_commit=False)


def _still_there(connection: Any, *_: object) -> None:
    """Replace a connection whose server has hung up.

    A server that is asked nothing says nothing, so whatever there is to read is the end. It is seen without a round
    trip, which would be one more for every request.
    """
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def enqueue(session: Session, job: Job) -> None:
    """Note a job that leaves when the surrounding unit of work has committed."""
    session.info.setdefault("jobs", []).append(job)


def directly(session: Session, statement: ClauseElement, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement that was built once, sent past SQLAlchemy, which would take longer than the database.

    For what is asked with every judgement. Nothing is flushed before, rows hold columns as psycopg reads them (a word
    of a closed vocabulary is a string), and errors are psycopg's, among them that a value is missing.
    """
    connection = session.connection()
    words, own = _rendered(statement, connection.dialect)
    driver: psycopg.Connection | None = connection.connection.driver_connection
    assert driver is not None, "the pool has just given it"
    cursor = driver.execute(words, own | _plain(values))
    # Not `cursor.description`, which describes every column.
    return cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []


def first(rows: list[tuple[Any, ...]]) -> Any:
    """The first column of the first of these rows; None where there is none."""
    return rows[0][0] if rows else None


@cache
def _rendered(statement: ClauseElement, dialect: Dialect) -> tuple[bytes, dict[str, Any]]:
    """A statement as psycopg takes it, and the values written in it. Kept for as long as the process runs.

    What a caller has to give is not among those: they would be NULL where it was forgotten.
    """
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler), "a statement, and no part of one"
    own = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    return str(compiled).encode(), _plain(own)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Jsonb(value) if isinstance(value, dict) else value.value if isinstance(value, Enum) else value
        for name, value in values.items()
    }


@contextmanager
def unit_of_work(sessions: Sessions, send: Send) -> Iterator[Session]:
    """One transaction: yields a session, commits, closes, and only then sends the jobs noted on the way.

    Plain code and no session events: an after-commit listener also fires when a savepoint is released. When the block
    raises, or the commit does, everything is rolled back and nothing is sent. Sending may fail: rows are the jobs, and
    the reconciler rings again. Raises DatabaseUnreachable for troubles that pass; whether a commit that was cut off has
    happened is then unknown.
    """
    try:
        with sessions() as session:
            yield session
            session.commit()
            jobs: list[Job] = session.info.pop("jobs", [])
    except OperationalError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or error.statement is None or state.startswith(_PASSING):
            raise DatabaseUnreachable(str(error.orig).splitlines()[0]) from error
        raise
    except psycopg.OperationalError as error:  # of a statement that was sent directly
        if error.sqlstate is None or error.sqlstate.startswith(_PASSING):
            raise DatabaseUnreachable(str(error).splitlines()[0]) from error
        raise
    for job in jobs:
        send(job)
