"""Directories of runs: one claim never reaches into another, and resume states go over from the dead to the living."""

from pathlib import Path

import pytest

from app.domain.words import Stage
from app.services.runs import Claim
from worker.artifacts import Artifacts
from worker.training import checkpoints


def claim(fence: int, run_id: int = 7) -> Claim:
    return Claim(run_id, fence, Stage.SFT, 1, None, {})


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def state(place: Path, number: int, text: str) -> Path:
    out = place / "states" / f"{number:012d}"
    with checkpoints.written_aside(out) as fresh:
        (fresh / "state.json").write_text(text)
    return out


def held(place: Path) -> dict[str, str]:
    return {path.parent.name.lstrip("0"): path.read_text() for path in sorted((place / "states").rglob("state.json"))}


def test_a_new_claim_has_the_states_of_the_one_before_and_nothing_else(artifacts: Artifacts) -> None:
    first = artifacts.of_run(claim(1))
    state(first, 20, "twenty"), state(first, 40, "forty")
    (first / "policy").mkdir()
    torn = first / "states" / ".000000000060-abcdefgh"
    (torn / "new").mkdir(parents=True)
    (torn / "new" / "weights.safetensors").write_text("half")
    other = artifacts.of_run(claim(1, run_id=70))
    inode = (first / "states" / f"{40:012d}" / "state.json").stat().st_ino
    second = artifacts.of_run(claim(2))
    assert held(second) == {"20": "twenty", "40": "forty"}
    assert {path.name for path in second.iterdir()} == {"states"}
    assert len(list((second / "states").iterdir())) == 2, "what was half-written stays behind"
    assert (second / "states" / f"{40:012d}" / "state.json").stat().st_ino == inode, "no byte is copied"
    assert not first.exists() and other.exists()
    assert artifacts.of_run(claim(2)) == second and held(second) == {"20": "twenty", "40": "forty"}


def test_states_survive_claims_that_died_before_they_had_any(artifacts: Artifacts) -> None:
    state(artifacts.of_run(claim(1)), 20, "twenty")
    (artifacts.root / "runs" / "7-2").mkdir()
    # The third died while it took the states over.
    half = artifacts.root / "runs" / "7-3" / ".states-abcdefgh" / "new" / f"{20:012d}"
    half.mkdir(parents=True)
    (artifacts.root / "runs" / "7-10").mkdir()
    assert held(artifacts.of_run(claim(11))) == {"20": "twenty"}
    assert [path.name for path in (artifacts.root / "runs").iterdir()] == ["7-11"]


def test_a_stale_worker_that_wakes_up_reaches_nothing_of_the_new_one(artifacts: Artifacts) -> None:
    first = artifacts.of_run(claim(1))
    twenty = state(first, 20, "twenty")
    handle = (twenty / "state.json").open()
    second = artifacts.of_run(claim(2))
    # It goes on where it was: reads, writes the next state and the same one again, and removes the last.
    assert handle.read() == "twenty"
    handle.close()
    state(first, 20, "stale"), state(first, 40, "stale")
    assert held(second) == {"20": "twenty"}
    assert artifacts.of_run(claim(1)) == first
    assert held(second) == {"20": "twenty"}, "one that asks late for its place removes nothing of a later claim"
    artifacts.forget(claim(1))
    assert not first.exists() and held(second) == {"20": "twenty"}


def test_where_there_are_no_hard_links_states_are_copied(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(target: Path, source: Path) -> None:
        if not source.exists():
            raise FileNotFoundError(source)
        raise PermissionError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    state(artifacts.of_run(claim(1)), 20, "twenty")
    assert held(artifacts.of_run(claim(2))) == {"20": "twenty"}


def test_a_run_that_stops_keeps_what_one_can_go_on_from(artifacts: Artifacts) -> None:
    place = artifacts.of_run(claim(1))
    for name in ("policy", "policy-unfinished"):
        (place / name).mkdir()
    (place / "preferences.jsonl").write_text("")
    state(place, 20, "twenty")
    artifacts.stop(claim(1))
    assert {path.name for path in place.iterdir()} == {"policy-unfinished", "states"}
    artifacts.forget_states(claim(1))
    assert {path.name for path in place.iterdir()} == {"policy-unfinished"}
    empty = artifacts.of_run(claim(1, run_id=8))
    artifacts.stop(claim(1, run_id=8))
    assert not empty.exists()
