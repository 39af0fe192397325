"""Commands on a database that is there: the first way in, and files that are whole or not there at all."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from app import cli
from app.domain.errors import NotFound
from app.domain.words import LabelerKind, Role
from app.main import create_app
from app.services import exports, people
from app.services.exports import Filters
from app.services.people import Viewer
from app.settings import Settings
from app.store.people import simulating
from app.store.session import Session, connect
from app.store.tables import ApiToken, Labeler, Preference
from tests.conftest import Work
from tests.support import factories
from tests.support.served import served

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _its_environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_DATABASE_URL", database_url)
    monkeypatch.setenv("HONE_PUBLIC_URL", "https://hone.example.org")
    monkeypatch.chdir(tmp_path)


def _hone(*words: str) -> Result:
    return CliRunner().invoke(cli.main, words)


def _come_in(session: Session, token: str) -> Viewer:
    come = people.use_link(session, token, PASSWORD, agent="", address="192.0.2.1")
    assert come is not None
    return come[1]


def test_a_link_for_admin_makes_the_first_admin_and_later_resets(work: Work) -> None:
    said = _hone("link", "admin")
    assert said.exit_code == 0, said.output
    token = said.output.strip().removeprefix("https://hone.example.org/link/")
    with work() as session:
        assert _come_in(session, token).name == "admin"
    again = _hone("link", "Admin").output.strip().rpartition("/")[2]
    with work() as session:
        assert _come_in(session, again).name == "admin"
        assert [person.labeler.name for person in people.everybody(session)] == ["admin"]


def test_a_link_for_anybody_else_makes_nobody(work: Work) -> None:
    said = _hone("link", "ada")
    assert said.exit_code == 1
    assert "There is no active account named 'ada'" in said.output
    with work() as session:
        assert people.everybody(session) == []


def test_no_admin_is_made_where_another_looks_after_the_install(work: Work) -> None:
    with work() as session:
        token = people.first_admin_link(session)
        assert token is not None
        admin = _come_in(session, token)
        _, other = people.invite(session, admin, "grace", Role.ADMIN, LabelerKind.HUMAN)
        grace = _come_in(session, other)
        people.deactivate(session, grace, admin.id)
    assert _hone("link", "admin").exit_code == 1


@pytest.mark.parametrize("file", ["no/such/dir/x.jsonl", "a-file/x.jsonl"])
def test_an_export_into_no_directory_is_told_in_a_sentence(file: str) -> None:
    Path("a-file").write_text("")
    said = _hone("export", "preferences", file)
    assert said.exit_code == 1
    assert said.output.startswith(f"Error: {file} cannot be written: ")
    assert said.output.count("\n") == 1


def test_an_export_that_fails_leaves_the_old_file_and_nothing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(session: Session, filters: Filters) -> Iterator[str]:
        yield "{}"
        raise NotFound("Something broke.", "")

    monkeypatch.setattr(exports, "preferences", half)
    Path("x.jsonl").write_text("old")
    assert _hone("export", "preferences", "x.jsonl").exit_code == 1
    assert [path.name for path in Path().iterdir()] == ["x.jsonl"]
    assert Path("x.jsonl").read_text() == "old"


@pytest.mark.parametrize(
    ("words", "splits"),
    [
        ([], ["train", "validation", "test"]),
        (["--split", "test"], ["test"]),
        (["--split", "validation", "--split", "train", "--split", "train"], ["train", "validation"]),
    ],
)
def test_an_export_holds_the_splits_that_were_named(
    words: list[str], splits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "preferences", lambda _, filters: iter([json.dumps(filters.to_dict())]))
    assert _hone("export", "preferences", "x.jsonl", *words).output == "1 preferences written to x.jsonl.\n"
    assert json.loads(Path("x.jsonl").read_text())["splits"] == splits


def test_simulated_labelers_judge_in_a_hone_that_is_running_and_leave_no_way_in(
    database_url: str, work: Work, tmp_path: Path
) -> None:
    with work() as session:
        factories.pairs(session, 60, opinions=2)
    sessions = connect(database_url)
    with served(create_app(Settings(data_dir=tmp_path, database_url=database_url), sessions, lambda job: None)) as here:
        told = _hone("simulate", "--labelers", "2", "--answers", "12", "--pace", "100000", "--address", here)
    sessions.kw["bind"].dispose()
    assert told.exit_code == 0 and told.output.splitlines()[-1] == "12 answers given.", told.output
    with work() as session:
        judges = session.execute(
            select(Labeler.name, Labeler.kind, func.count(Preference.id))
            .join(Preference, Preference.labeler_id == Labeler.id)
            .group_by(Labeler.id)
            .order_by(Labeler.name)
        )
        given = {(name, kind): count for name, kind, count in judges}
        assert [*given] == [("simulated 1", "simulated"), ("simulated 2", "simulated")]
        assert sum(given.values()) == 12, "there was more to judge"
        assert (session.scalars(select(func.min(Preference.seconds))).one() or 0) > 0
        assert session.scalar(select(func.count(ApiToken.id)).where(ApiToken.revoked_at.is_(None))) == 0


def test_one_simulation_at_a_time_and_what_a_killed_one_left_opens_nothing(
    database_url: str, work: Work, tmp_path: Path
) -> None:
    with work() as session:
        factories.pairs(session, 1)
        left = people.make_api_token(session, people.simulated(session, "simulated 1"), "hone simulate")
    sessions = connect(database_url)
    with served(create_app(Settings(data_dir=tmp_path, database_url=database_url), sessions, lambda job: None)) as here:
        with simulating(sessions) as alone:
            assert alone
            refused = _hone("simulate", "--labelers", "1", "--answers", "1", "--address", here)
        told = _hone("simulate", "--labelers", "1", "--answers", "1", "--address", here)
    sessions.kw["bind"].dispose()
    assert refused.exit_code == 1 and "Another `hone simulate` is at work" in refused.output, refused.output
    assert told.exit_code == 0, told.output
    with work() as session:
        assert people.viewer_of_api_token(session, left) is None


def test_simulated_labelers_take_no_account_of_a_person(database_url: str, work: Work, tmp_path: Path) -> None:
    with work() as session:
        factories.labeler(session, name="simulated 1")
    sessions = connect(database_url)
    with served(create_app(Settings(data_dir=tmp_path, database_url=database_url), sessions, lambda job: None)) as here:
        told = _hone("simulate", "--labelers", "1", "--address", here)
    sessions.kw["bind"].dispose()
    assert told.exit_code == 1 and "that is a person's" in told.output, told.output


def test_without_a_hone_that_is_running_simulated_labelers_say_so(unused_port: int) -> None:
    told = _hone("simulate", "--address", f"http://127.0.0.1:{unused_port}")
    assert told.exit_code == 1 and "No Hone is ready at" in told.output, told.output


def test_a_database_that_cannot_be_reached_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_DATABASE_URL", "postgresql+psycopg://hone@127.0.0.1:1/hone")
    said = _hone("people")
    assert said.exit_code == 1
    assert said.output.startswith("Error: The database cannot be reached")
    assert said.output.count("\n") == 1
