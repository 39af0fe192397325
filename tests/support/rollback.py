"""Quick units of work for tests of one request after the other.

Knows that everything a test commits is rolled back at its end, on one connection that is shared by the session, where
a database of its own would cost half a second. `now()` stands still for the length of a test. Tests of threads take
`own_sessions`. PostgreSQL must never learn here that its tables are empty, which they are whenever it looks: it would
plan for that, and one claim of a slot would take seconds. Knows nothing of any subject.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import sessionmaker

from app.store.session import Sessions, connect
from app.store.tables.base import Table
from tests.support.servers import Template


@pytest.fixture(scope="session")
def shared_engine(furnished: Template) -> Iterator[Engine]:
    """A database in which nothing is ever committed."""
    with furnished.fresh_database() as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            for table in Table.metadata.sorted_tables:
                connection.execute(text(f"alter table {table.name} set (autovacuum_enabled = false)"))
        yield engine
        engine.dispose()


@pytest.fixture
def sessions(shared_engine: Engine) -> Iterator[Sessions]:
    """A session factory whose commits last until the test ends."""
    with shared_engine.connect() as connection:
        with connection.begin() as everything:
            yield sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
            everything.rollback()
        # An import counts what there is (ANALYZE), and those counts outlive the rollback.
        with connection.begin():
            connection.execute(text("update pg_class set reltuples = -1 where reltuples = 0 and relkind = 'r'"))


@pytest.fixture
def own_sessions(database_url: str) -> Iterator[Sessions]:
    """A session factory on a database of this test's own, with a connection for each of many threads."""
    factory = connect(database_url, pool=16)
    yield factory
    factory.kw["bind"].dispose()
