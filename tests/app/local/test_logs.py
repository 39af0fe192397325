"""The log keeps lines with their time, moves aside when it is full, and never stops who writes."""

import re
from pathlib import Path

import pytest

from app.local import logs
from app.local.errors import CannotStart
from app.local.logs import Log


def test_lines_are_kept_over_runs_with_their_time(tmp_path: Path) -> None:
    for line in ("one", "two"):
        with Log(tmp_path / "logs" / "hone.log") as log:
            log.write(line)
    said = (tmp_path / "logs" / "hone.log").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in said] == ["one", "two"]


def test_a_full_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST", 100)
    with Log(tmp_path / "hone.log") as log:
        for number in range(10):
            log.write(f"line {number}")
    assert "line 9" in (tmp_path / "hone.log").read_text()
    assert (tmp_path / "hone.log.old").exists()
    assert all(path.stat().st_size < 200 for path in tmp_path.iterdir())


def test_a_full_disk_stops_nobody() -> None:
    with Log(Path("/dev/full")) as log:
        log.write("lost")
        log.write("lost too")


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(CannotStart, match="a file is in the way"):
        Log(tmp_path / "logs" / "hone.log")
