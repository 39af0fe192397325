"""What is PostgreSQL's own: the cluster, its rules for text, its versions, and the accounts it runs under."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from app.local import postgres
from app.local.errors import CannotStart
from tests.app.local.other import as_ordinary_user, bystander


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    """A connection to a server as `hone run` has it, for tests that only look."""
    with postgres.running(tmp_path_factory.mktemp("data")) as url:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            yield raw
        engine.dispose()


def _asked(connection: psycopg.Connection, question: str) -> object:
    row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
    ],
)
def test_the_default_is_durable_unreachable_from_the_network_and_unicode(
    shared: psycopg.Connection, setting: str, value: str
) -> None:
    assert _asked(shared, f"SHOW {setting}") == value


def test_order_and_case_do_not_depend_on_the_machine(shared: psycopg.Connection) -> None:
    words = ["Zebra", "apple", "Äpfel", "ähnlich", "_", "10", "9"]
    ordered = shared.execute("SELECT array_agg(w ORDER BY w) FROM unnest(%s::text[]) w", [words]).fetchone()
    assert ordered == (sorted(words),)
    assert _asked(shared, "SELECT lower('ÄÉΣ')") == "äéς" or _asked(shared, "SELECT lower('ÄÉΣ')") == "äéσ"


def test_an_interrupted_making_of_the_database_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.unfinished"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    said: list[str] = []
    with postgres.running(tmp_path, durable=False, say=said.append) as url, _connected(url) as connection:
        assert _asked(connection, "SELECT 1") == 1
    assert not half.exists()
    assert any("Making the database" in sentence for sentence in said)


def test_a_pid_file_that_names_another_program_is_no_obstacle(tmp_path: Path) -> None:
    with postgres.running(tmp_path, durable=False):
        pass
    cluster = tmp_path / "postgres"
    with bystander() as number:
        (cluster / "postmaster.pid").write_text(f"{number}\n{cluster}\n0\n5432\n/tmp\n\n0 0\nready\n")
        with postgres.running(tmp_path, durable=False) as url, _connected(url) as connection:
            assert _asked(connection, "SELECT 1") == 1


def test_another_major_version_is_named_and_left_alone(tmp_path: Path) -> None:
    with postgres.running(tmp_path, durable=False):
        pass
    (tmp_path / "postgres" / "PG_VERSION").write_text("14\n")
    with (
        pytest.raises(CannotStart, match=r"made by PostgreSQL 14, and this Hone carries 18 and 16\. Your data is safe"),
        postgres.running(tmp_path),
    ):
        pass
    assert (tmp_path / "postgres" / "PG_VERSION").read_text() == "14\n"


def test_a_directory_that_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("precious")
    with pytest.raises(CannotStart, match="is not a database that Hone made"), postgres.running(tmp_path):
        pass
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "precious"


def test_a_missing_wheel_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CannotStart, match=r"pip install .*local.*HONE_DATABASE_URL"), postgres.running(tmp_path):
        pass


def test_it_runs_for_an_ordinary_user_as_well(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 65534, 65534)
    code = (
        "import sys, pathlib, psycopg\n"
        "from app.local import postgres\n"
        "with postgres.running(pathlib.Path(sys.argv[1])) as url:\n"
        "    print(psycopg.connect(url.replace('+psycopg', '')).execute('SELECT 40 + 2').fetchone()[0])\n"
    )
    ran = as_ordinary_user(code, directory)
    assert ran.stdout.split() == ["42"], ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
def test_root_opens_no_directory_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with postgres.running(closed / "data", durable=False) as url, _connected(url) as connection:
        assert _asked(connection, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "data" / "postgres").stat().st_uid != 0


def _connected(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""))
