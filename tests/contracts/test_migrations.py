"""Migrations make exactly the tables that the code describes, and can be undone and redone over real rows."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from app.domain.words import BatchPurpose
from app.services.install import furnish
from app.store import queueing, schema, standing
from app.store.session import connect, unit_of_work
from app.store.tables import Table
from tests.support import factories as make
from tests.support.servers import Servers, Template, template

TABLES = set(Table.metadata.tables)


@pytest.fixture(scope="module")
def empty(servers: Servers) -> Template:
    """A database in which nothing was ever made."""
    return template(servers, "empty", lambda url: None)


@pytest.fixture
def empty_url(empty: Template) -> Iterator[str]:
    """An empty database of this test's own."""
    with empty.fresh_database() as url:
        yield url


def _config(url: str) -> Config:
    config = Config(toml_file="pyproject.toml")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _things(url: str) -> dict[str, set[str]]:
    """What is in the database's own schema: tables, functions, triggers."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            "tables": set(inspect(connection).get_table_names()),
            "functions": set(
                connection.scalars(text("select proname from pg_proc where pronamespace = 'public'::regnamespace"))
            ),
            "triggers": set(connection.scalars(text("select tgname from pg_trigger where not tgisinternal"))),
        }
    engine.dispose()
    return found


def _fill(url: str) -> dict[str, int]:
    """One row at least in every table; how many there are in each."""
    sessions = connect(url)
    with unit_of_work(sessions, lambda job: None) as session:
        furnish(session)
        make.everything(session)
    with sessions() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Table.metadata.sorted_tables
        }
    sessions.kw["bind"].dispose()
    return counts


def test_an_empty_database_becomes_current(empty_url: str) -> None:
    assert not schema.is_current(empty_url)
    schema.upgrade(empty_url)
    assert schema.is_current(empty_url)
    assert _things(empty_url)["tables"] == TABLES | {"alembic_version"}


def test_tables_and_migrations_say_the_same(database_url: str) -> None:
    command.check(_config(database_url))


def test_a_difference_between_tables_and_migrations_is_seen(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table document drop column title")
    engine.dispose()
    with pytest.raises(Exception, match="New upgrade operations detected"):
        command.check(_config(database_url))


def test_indexes_and_checks_are_those_that_the_code_describes(database_url: str, empty_url: str) -> None:
    # `alembic check` compares neither checks nor the expressions and conditions of indexes: the database does.
    engine = create_engine(empty_url)
    Table.metadata.create_all(engine)
    engine.dispose()
    described = []
    for url in (database_url, empty_url):
        engine = create_engine(url)
        with engine.connect() as connection:
            constraints = connection.execute(
                text(
                    "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
                    "where connamespace = 'public'::regnamespace and conrelid <> 0 and contype <> 'n'"
                )
            )
            indexes = connection.execute(
                text("select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'")
            )
            rows = {tuple(row) for row in [*constraints, *indexes]}
        engine.dispose()
        described.append({row for row in rows if "alembic_version" not in row[0]})
    migrated, created = described
    assert migrated - created == set()
    assert created - migrated == set()


def test_everything_goes_down_and_up_again_over_rows_in_every_table(empty_url: str) -> None:
    schema.upgrade(empty_url)
    up = _things(empty_url)
    counts = _fill(empty_url)
    assert {name for name, count in counts.items() if not count} == set()
    schema.downgrade(empty_url, "base")
    assert _things(empty_url) == {"tables": {"alembic_version"}, "functions": set(), "triggers": set()}
    schema.upgrade(empty_url)
    assert _things(empty_url) == up
    assert _fill(empty_url) == counts


def test_gold_and_practice_answers_are_never_handed_to_a_version_that_would_train_on_them(database_url: str) -> None:
    sessions = connect(database_url)
    with unit_of_work(sessions, lambda job: None) as session:
        [gold], worker = make.standing(session, BatchPurpose.GOLD), make.labeler(session)
        slot_id = standing.address(session, gold, worker.id)
        assert slot_id is not None
        showing = queueing.lease(session, queueing.Terms(worker.id, make.LEASE, make.PAGE), slot_id, None)
        assert showing is not None
        make.say(session, worker, showing)
    sessions.kw["bind"].dispose()
    with pytest.raises(DBAPIError, match="would train on them"):
        schema.downgrade(database_url, "base")
    assert schema.is_current(database_url)


def test_every_step_can_be_taken_alone(empty_url: str) -> None:
    steps = list(ScriptDirectory.from_config(_config(empty_url)).walk_revisions())
    for step in reversed(steps):
        schema.upgrade(empty_url, step.revision)
        schema.downgrade(empty_url, "-1")
        schema.upgrade(empty_url, step.revision)
    assert schema.is_current(empty_url)


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = _fill(database_url)
    schema.upgrade(database_url)
    sessions = connect(database_url)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Table.metadata.tables["slot"])) == before["slot"]
    sessions.kw["bind"].dispose()


def test_two_processes_that_migrate_at_once_wait_for_each_other(empty_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        # Alembic's context is one per process, so that these are two processes.
        list(pool.map(_migrate_in_a_process, [empty_url, empty_url]))
    assert schema.is_current(empty_url)


def _migrate_in_a_process(url: str) -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys; from app.store import schema; schema.upgrade(sys.argv[1])", url],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_there_is_one_newest_migration(database_url: str) -> None:
    assert len(ScriptDirectory.from_config(_config(database_url)).get_heads()) == 1
