"""Fixtures every test may use: real servers, a migrated and furnished database per test, and what was sent.

Knows how the pieces are put together for a test. Knows nothing of any subject.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from sqlalchemy.orm import Session

from app.jobs import Job
from app.services.install import furnish
from app.store import schema
from app.store.session import Sessions, connect, unit_of_work
from tests.support.servers import Servers, Template, running_servers, template

# No test may ask a hub; a model that is not here is a failure, not a download.
os.environ["HF_HUB_OFFLINE"] = "1"
# Torch threads beside a database and a browser: waiting threads must not spin (read when torch is loaded).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# A job that a shell put into the background ignores Ctrl-C, and so would every program that the tests start from it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would run alone while the other processes have nothing left."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


def _prepare(url: str) -> None:
    schema.upgrade(url)
    sessions = connect(url)
    with unit_of_work(sessions, lambda job: None) as session:
        furnish(session)
    sessions.kw["bind"].dispose()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis, one of each per session."""
    with running_servers() as both:
        yield both


@pytest.fixture(scope="session")
def furnished(servers: Servers) -> Template:
    """A database with every migration, the project and the named recipes."""
    return template(servers, "furnished", _prepare)


@pytest.fixture
def database_url(furnished: Template) -> Iterator[str]:
    """A database of this test's own."""
    with furnished.fresh_database() as url:
        yield url


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """A session factory on this test's database."""
    factory = connect(database_url, pool=5)
    yield factory
    factory.kw["bind"].dispose()


@pytest.fixture
def sent() -> list[Job]:
    """The jobs that were sent, in order."""
    return []


class Work:
    """Opens units of work: `with work() as session:` commits at the end, and jobs land in `sent`."""

    def __init__(self, sessions: Sessions, sent: list[Job]) -> None:
        self._sessions, self._sent = sessions, sent

    def __call__(self) -> AbstractContextManager[Session]:
        """A unit of work."""
        return unit_of_work(self._sessions, self._sent.append)


@pytest.fixture
def work(sessions: Sessions, sent: list[Job]) -> Work:
    """Units of work on this test's database."""
    return Work(sessions, sent)
