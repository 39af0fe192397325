"""What is Redis's own: which program is run, and that its URL is one that Celery's transport understands."""

import shutil
from pathlib import Path

import celery
import pytest

from app.local import redis
from app.local.errors import CannotStart


def test_the_url_is_one_that_celery_can_use(tmp_path: Path) -> None:
    with redis.running(tmp_path) as url, celery.Celery(broker=url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        with connection.SimpleQueue("bell") as bell:
            bell.put({"run": 7})
            message = bell.get(timeout=5)
            message.ack()
        assert message.payload == {"run": 7}


def test_it_listens_on_no_port_and_writes_before_it_answers(tmp_path: Path) -> None:
    with redis.running(tmp_path), redis.client(tmp_path) as client:
        assert client.config_get("port") == {b"port": b"0"} or client.config_get("port") == {"port": "0"}
        assert client.info("persistence")["aof_enabled"] == 1


def test_an_append_only_file_cut_short_by_a_power_cut_is_no_obstacle(tmp_path: Path) -> None:
    with redis.running(tmp_path), redis.client(tmp_path) as client:
        client.set("kept", "yes")
        client.set("cut", "no")
    written = max((path for path in (tmp_path / "redis").rglob("*.aof")), key=lambda path: path.stat().st_size)
    written.write_bytes(written.read_bytes()[:-3])
    with redis.running(tmp_path), redis.client(tmp_path) as client:
        assert client.get("kept") == b"yes"


def test_a_damaged_file_is_named_with_what_may_be_removed(tmp_path: Path) -> None:
    with redis.running(tmp_path), redis.client(tmp_path) as client:
        client.set("kept", "yes")
    written = max((path for path in (tmp_path / "redis").rglob("*.aof")), key=lambda path: path.stat().st_size)
    written.write_bytes(b"not what Redis wrote\n" + written.read_bytes())
    with pytest.raises(CannotStart, match="jobs are safe in the database: remove that"), redis.running(tmp_path):
        pass


def test_without_a_program_the_command_that_installs_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CannotStart, match=r"`.+ install redis.*HONE_BROKER_URL"), redis.running(tmp_path):
        pass


def test_a_program_on_path_is_preferred_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "redis-server"
    monkeypatch.setattr("shutil.which", lambda _: str(found))
    for version, taken in [("7.2.4", True), ("6.2.0", True), ("6.0.16", False)]:
        found.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 malloc=libc bits=64 build=0'\n")
        found.chmod(0o755)
        assert (redis.program() == found) is taken
    monkeypatch.undo()
    assert shutil.which("redis-server") in (None, str(redis.program()))
