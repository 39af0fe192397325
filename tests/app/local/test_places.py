"""Directories that cannot be used are told in a sentence that names the setting."""

import os
from pathlib import Path

import pytest

from app.local import places
from app.local.errors import CannotStart
from tests.app.local.other import as_ordinary_user


def test_a_directory_is_made_and_given_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.prepare(Path("a/b")) == tmp_path.resolve() / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    for directory in (tmp_path / "data", tmp_path / "data" / "below"):
        with pytest.raises(CannotStart, match=r"cannot be used: a file is in the way.*HONE_DATA_DIR"):
            places.prepare(directory)


def test_a_path_longer_than_the_system_takes_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="the path is too long"):
        places.prepare(tmp_path / ("x" * 300))


def test_a_directory_of_somebody_else_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    code = (
        "import sys, pathlib\n"
        "from app.local import errors, places\n"
        "for name in ('', 'data'):\n"
        "    try:\n        places.prepare(pathlib.Path(sys.argv[1]) / name)\n"
        "    except errors.CannotStart as error:\n        print(error)\n"
    )
    ran = as_ordinary_user(code, closed)
    assert ran.stdout.count("you may not write there") == 2, ran.stderr
    assert ran.stdout.count("HONE_DATA_DIR") == 2


def test_room_is_asked_for_in_megabytes(tmp_path: Path) -> None:
    places.require_space(tmp_path, 1, "a test")
    with pytest.raises(CannotStart, match=r"a test needs 999999999 MB and \d+ MB are free. Nothing was changed."):
        places.require_space(tmp_path, 999999999, "a test")


def test_sockets_lie_in_a_short_path_however_long_the_data_directory_is(tmp_path: Path) -> None:
    long = tmp_path / "/".join(["long" * 40] * 5)
    for name in ("postgres", "redis"):
        assert len(os.fsencode(places.sockets(long, name))) < 80
    assert places.sockets(long, "redis") != places.sockets(tmp_path, "redis")


def test_a_socket_directory_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "base").symlink_to(elsewhere)
    with pytest.raises(CannotStart, match="should be a directory of yours and is not"):
        places.make_sockets(tmp_path / "base" / "sockets")
