"""What `hone run` and `hone demo` do around their servers: look before deleting, start again, name a command."""

import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import cli
from app.local import redis
from app.local.errors import CannotStart
from app.local.processes import Children, Ended
from app.settings import Settings


def _demo(data_dir: Path, port: int, *words: str) -> Result:
    environment = {"HONE_DATA_DIR": str(data_dir), "HONE_PORT": str(port)}
    return CliRunner().invoke(cli.main, ["demo", "--tiny", *words], env=environment)


def test_a_demo_leaves_alone_what_is_in_use(tmp_path: Path, unused_port: int) -> None:
    with redis.running(tmp_path / "demo"):
        (tmp_path / "demo" / cli.DEMO_MARK).touch()
        said = _demo(tmp_path, unused_port)
        assert said.exit_code == 1
        assert "another hone command is using" in said.output
        assert (tmp_path / "demo" / cli.DEMO_MARK).exists()


def test_a_demo_leaves_alone_what_no_demo_made(tmp_path: Path, unused_port: int) -> None:
    thesis = tmp_path / "demo" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("precious")
    said = _demo(tmp_path, unused_port)
    assert said.exit_code == 1
    assert "was not made by one" in said.output
    assert thesis.read_text() == "precious"


def test_a_demo_begins_with_nothing_of_the_last_one(tmp_path: Path) -> None:
    cli._empty_for_demo(tmp_path / "demo")
    (tmp_path / "demo" / "left").touch()
    cli._empty_for_demo(tmp_path / "demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [cli.DEMO_MARK]


def test_a_demo_says_at_once_that_its_table_could_not_be_written(tmp_path: Path, unused_port: int) -> None:
    said = _demo(tmp_path, unused_port, "--json", str(tmp_path / "no" / "x.json"))
    assert said.exit_code == 1
    assert "cannot be written" in said.output
    assert not (tmp_path / "demo").exists()


def test_a_data_directory_in_the_way_and_a_taken_port_are_one_sentence(tmp_path: Path, unused_port: int) -> None:
    (tmp_path / "file").write_text("")
    said = _demo(tmp_path / "file", unused_port)
    assert (said.exit_code, said.output.count("\n")) == (1, 1)
    assert "a file is in the way" in said.output


def test_the_program_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "a b" / "hone"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert cli._program() == f"'{program}'"
    monkeypatch.setenv("PATH", str(program.parent))
    assert cli._program() == "hone"
    monkeypatch.setattr(sys, "argv", ["/srv/app/cli.py"])
    assert cli._program() == f"{sys.executable} -m app.cli"


class _Dying(Children):
    """Children that are never really started; each look finds what the test says has ended."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.started: list[str] = []
        self.ends: list[Ended] = []

    def start(self, name: str, *_: object, **__: object) -> int:
        self.started.append(name)
        return 0

    def wait(self, seconds: float | None = None) -> Ended | None:
        return self.ends.pop() if self.ends else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the command sees, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def watched(tmp_path: Path) -> cli._Started:
    settings = Settings(database_url="postgresql+psycopg://nobody", broker_url="redis://nobody", data_dir=tmp_path)
    return cli._Started(settings, {}, _Dying(), tmp_path / "hone.log")


def _goes_on_after(watched: cli._Started, name: str, clock: list[float], every: float, times: int) -> int:
    children = watched.children
    assert isinstance(children, _Dying)
    for _ in range(times):
        children.ends.append(Ended(name, 1, ("it hurts",)))
        until = clock[0] + every
        while clock[0] < until:
            watched.look(0)
            clock[0] += 1
    return len(children.started)


def test_a_worker_that_dies_again_and_again_leaves_the_web_up(
    watched: cli._Started, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _goes_on_after(watched, "worker", clock, every=61, times=20) == 20
    said = capsys.readouterr().out
    assert said.count("it hurts") == 20
    assert "Starting the worker process again. Labeling goes on meanwhile." in said
    assert "again in 60 s" in said


def test_a_web_process_that_dies_again_and_again_ends_the_command(watched: cli._Started, clock: list[float]) -> None:
    with pytest.raises(CannotStart, match=r"ended 6 times within 10 minutes.*What was judged is safe"):
        _goes_on_after(watched, "web", clock, every=20, times=20)
    assert isinstance(watched.children, _Dying)
    assert watched.children.started == ["web"] * 5


def test_an_end_now_and_then_over_weeks_is_forgiven(watched: cli._Started, clock: list[float]) -> None:
    assert _goes_on_after(watched, "web", clock, every=601, times=12) == 12
