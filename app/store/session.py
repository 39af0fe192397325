"""Engine, sessions and the unit of work: commit first, then ring the doorbells.

Knows how a transaction begins and ends, and that jobs leave after the commit. Knows nothing of any table.
"""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Executable, create_engine, event
from sqlalchemy.engine import CursorResult, Engine
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

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


def directly(session: Session, statement: Executable, **values: Any) -> CursorResult[*tuple[Any, ...]]:
    """Execute a statement that was built once, past the ORM, whose bookkeeping would take longer than the database.

    For what is asked with every judgement. Nothing is flushed before, and rows hold columns, not entities.
    """
    return session.connection().execute(statement, values)


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
    for job in jobs:
        send(job)
