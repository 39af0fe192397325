"""One server per data directory, whoever starts, joins, leaves or is killed: the same for PostgreSQL and Redis."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from app.local import places, postgres, redis, sharing
from app.local.errors import CannotStart
from tests.app.local.other import USES, Other, bystander, exists, until


@dataclass(frozen=True)
class Kind:
    """What differs between the two servers in these tests."""

    name: str
    running: Callable[[Path], AbstractContextManager[str]]
    revive: Callable[[Path], None]
    process: Callable[[Path], int]
    write: Callable[[Path, str], None]
    read: Callable[[Path], list[str]]

    def alive(self, data_directory: Path) -> bool:
        """Whether the server, or a child of it, still holds its lock."""
        module = {"postgres": postgres._server(data_directory, print, False), "redis": redis._server(data_directory)}
        return sharing.alive(module[self.name])


def _connect(data_directory: Path) -> psycopg.Connection:
    return psycopg.connect(postgres.url(data_directory).replace("+psycopg", ""), autocommit=True)


def _write_row(data_directory: Path, word: str) -> None:
    with _connect(data_directory) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def _read_rows(data_directory: Path) -> list[str]:
    with _connect(data_directory) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words ORDER BY ctid")]


def _push(data_directory: Path, word: str) -> None:
    with redis.client(data_directory) as client:
        client.rpush("words", word)


def _pushed(data_directory: Path) -> list[str]:
    with redis.client(data_directory) as client:
        return [word.decode() for word in client.lrange("words", 0, -1)]


def _postmaster(data_directory: Path) -> int:
    return int((data_directory / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def _redis_process(data_directory: Path) -> int:
    with redis.client(data_directory) as client:
        return int(client.info("server")["process_id"])


KINDS = [
    Kind("postgres", postgres.running, postgres.revive, _postmaster, _write_row, _read_rows),
    Kind("redis", redis.running, redis.revive, _redis_process, _push, _pushed),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """PostgreSQL, then Redis."""
    found = request.param
    assert isinstance(found, Kind)
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory; nothing may live over it when the test is done."""
    data_directory = tmp_path / "data"
    yield data_directory
    until(lambda: not any(kind.alive(data_directory) for kind in KINDS))


def test_what_was_written_is_there_after_a_stop_and_nothing_else_is_left(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        kind.write(directory, "kept")
        process = kind.process(directory)
    assert not kind.alive(directory)
    assert not exists(process)
    assert not places.sockets(directory, kind.name).exists()
    with kind.running(directory):
        assert kind.read(directory) == ["kept"]


def test_a_second_command_joins_and_the_last_one_out_stops_the_server(kind: Kind, directory: Path) -> None:
    with Other(USES.format(module=kind.name), directory) as first, ExitStack() as here:
        address = first.line()
        started = kind.process(directory)
        assert here.enter_context(kind.running(directory)) == address
        assert kind.process(directory) == started

        assert first.finish() == "left"
        kind.write(directory, "after the first one left")
        assert kind.process(directory) == started
        here.close()
        assert not kind.alive(directory)
    assert not exists(started)


def test_commands_that_start_at_the_same_moment_share_one_server(kind: Kind, directory: Path) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(Other(USES.format(module=kind.name), directory)) for _ in range(4)]
        assert len({other.line() for other in others}) == 1
        kind.write(directory, "one")
        assert kind.read(directory) == ["one"]
        assert [other.finish() for other in others] == ["left"] * 4
        assert not kind.alive(directory)


def test_a_killed_server_is_revived_with_its_data_while_it_is_in_use(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        kind.write(directory, "acknowledged")
        os.kill(kind.process(directory), signal.SIGKILL)
        until(lambda: not kind.alive(directory))
        kind.revive(directory)
        kind.write(directory, "after the kill")
        assert kind.read(directory) == ["acknowledged", "after the kill"]


def test_a_server_and_its_user_killed_together_come_back_with_the_data(kind: Kind, directory: Path) -> None:
    with Other(USES.format(module=kind.name), directory) as user:
        user.line()
        kind.write(directory, "acknowledged")
        os.kill(kind.process(directory), signal.SIGKILL)
        user.process.kill()
        # At once, while children of the killed server may still be about.
        with kind.running(directory):
            assert kind.read(directory) == ["acknowledged"]


def test_a_server_does_not_outlive_a_user_that_was_killed(kind: Kind, directory: Path) -> None:
    with Other(USES.format(module=kind.name), directory) as user:
        user.line()
        kind.write(directory, "acknowledged")
        process = kind.process(directory)
        user.process.kill()
        until(lambda: not kind.alive(directory))
        until(lambda: not exists(process))
    with kind.running(directory):
        assert kind.read(directory) == ["acknowledged"]


def test_a_data_directory_removed_while_in_use_takes_its_server_along(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        process = kind.process(directory)
        shutil.rmtree(directory)
    until(lambda: not exists(process))
    with kind.running(directory):
        kind.write(directory, "a new beginning")
        assert kind.read(directory) == ["a new beginning"]


def test_a_server_without_its_leash_is_joined_and_stopped(kind: Kind, directory: Path) -> None:
    with Other(USES.format(module=kind.name), directory) as user:
        user.line()
        kind.write(directory, "kept")
        process = kind.process(directory)
        os.kill(os.getpgid(process), signal.SIGKILL)  # the leash leads the group the server is in
        user.process.kill()
        user.process.wait()
        with kind.running(directory):
            assert kind.process(directory) == process
            assert kind.read(directory) == ["kept"]
        assert not kind.alive(directory)


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_server(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        assert os.getsid(kind.process(directory)) != os.getsid(0)


def test_only_its_user_may_reach_the_socket(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        assert places.sockets(directory, kind.name).stat().st_mode & 0o077 == 0


def test_a_data_directory_with_a_very_long_path_works(kind: Kind, tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40) / ("longer" * 30)
    with kind.running(directory):
        kind.write(directory, "kept")
        assert kind.read(directory) == ["kept"]


def test_a_socket_left_by_a_killed_server_is_no_obstacle(kind: Kind, directory: Path) -> None:
    with kind.running(directory):
        kind.write(directory, "kept")
    sockets = places.sockets(directory.resolve(), kind.name)
    places.make_sockets(sockets)
    for name in (".s.PGSQL.5432", "socket"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(sockets / name))
    with bystander() as number:
        # The number of the killed server was given out again.
        (sockets / ".s.PGSQL.5432.lock").write_text(f"{number}\n{directory}/postgres\n0\n5432\n{sockets}\n")
        with kind.running(directory):
            assert kind.read(directory) == ["kept"]


def test_a_full_disk_is_named_before_anything_is_made(
    kind: Kind, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 * 2**20})())
    with pytest.raises(CannotStart, match=r"needs \d+ MB and 5 MB are free.*HONE_DATA_DIR"), kind.running(directory):
        pass
    assert not (directory / "postgres").exists()


def test_a_server_that_does_not_start_says_what_its_log_says(
    kind: Kind, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind.running(directory):
        pass
    module = {"postgres": postgres, "redis": redis}[kind.name]
    failing = ["/bin/sh", "-c", "echo something else went wrong; exit 1"]
    monkeypatch.setattr(module, "_prepare", lambda *_: failing)
    with pytest.raises(CannotStart, match=r"did not start(.|\n)*\n?something else went wrong"), kind.running(directory):
        pass
    until(lambda: not kind.alive(directory))


def test_a_data_directory_is_in_use_as_long_as_a_server_lives_over_it(kind: Kind, tmp_path: Path) -> None:
    assert not sharing.in_use(tmp_path / "absent")
    with kind.running(tmp_path):
        assert sharing.in_use(tmp_path)
    assert not sharing.in_use(tmp_path)
