from pathlib import Path

import pytest

from worker.training import checkpoints


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "checkpoint"
    with pytest.raises(RuntimeError, match="halfway"), checkpoints.written_aside(out) as fresh:
        (fresh / "weights").write_text("half")
        raise RuntimeError("halfway")
    assert list((tmp_path / "deep").iterdir()) == []
    for content in ("first", "second"):
        with checkpoints.written_aside(out) as fresh:
            (fresh / "weights").write_text(content)
    assert (out / "weights").read_text() == "second"
    assert [path.name for path in out.parent.iterdir()] == ["checkpoint"]


def test_the_digest_sees_names_contents_and_folders_but_not_order_or_place(tmp_path: Path) -> None:
    def directory(name: str, files: dict[str, str]) -> Path:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / name

    first = checkpoints.digest_directory(directory("a", {"x": "1", "y": "2"}))
    assert first == checkpoints.digest_directory(directory("b", {"y": "2", "x": "1"}))
    assert len(first) == 64
    others = [
        directory("c", {"x": "2", "y": "1"}),
        directory("d", {"x": "12", "y": ""}),
        directory("e", {"f/x": "1", "y": "2"}),
    ]
    assert len({first, *map(checkpoints.digest_directory, others)}) == 4
