"""Engine, sessions and the unit of work: commit first, then ring the doorbells.

Knows how a transaction begins and ends, and that jobs leave after the commit. Knows nothing of any table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError as DatabaseUnreachable
from sqlalchemy.orm import Session, sessionmaker

from app.jobs import Job

Send = Callable[[Job], None]
Sessions = sessionmaker[Session]

__all__ = ["DatabaseUnreachable", "Engine", "Send", "Session", "Sessions", "connect", "enqueue", "unit_of_work"]


def connect(url: str, pool: int = 5) -> Sessions:
    """A session factory on PostgreSQL at `url` with at most `pool` connections.

    Times are read and written in UTC. A connection that died with its server is replaced before use.
    """
    engine = create_engine(
        url,
        pool_size=pool,
        max_overflow=0,
        pool_pre_ping=True,
        # A logged error would print the values of its statement: hashes, texts of documents.
        hide_parameters=True,
        connect_args={"options": "-c timezone=UTC -c lock_timeout=20s -c idle_in_transaction_session_timeout=120s"},
    )
    return sessionmaker(engine, expire_on_commit=False)


def enqueue(session: Session, job: Job) -> None:
    """Note a job that leaves when the surrounding unit of work has committed."""
    session.info.setdefault("jobs", []).append(job)


@contextmanager
def unit_of_work(sessions: Sessions, send: Send) -> Iterator[Session]:
    """One transaction: yields a session, commits, closes, and only then sends the jobs noted on the way.

    Plain code and no session events: an after-commit listener also fires when a savepoint is released. When the block
    raises, or the commit does, everything is rolled back and nothing is sent. Sending may fail: rows are the jobs, and
    the reconciler rings again.
    """
    with sessions() as session:
        yield session
        session.commit()
        jobs: list[Job] = session.info.pop("jobs", [])
    for job in jobs:
        send(job)
