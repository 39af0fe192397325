"""Resume states on the disk: which one is gone on from, what is kept, what it costs, what a cancel leaves."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.domain.recipes import PpoRecipe, Precision, RewardRecipe, SftRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING, longer_is_better
from tests.worker.training.test_memory import room_for
from worker.training import checkpoints, metrics, ppo, resuming, reward, sft
from worker.training.errors import DiskFull

EXAMPLES = [tiny_models.demonstration(seed) for seed in range(12)]
RECIPE = SftRecipe(batch=2, micro_batch=2, learning_rate=1e-3)
STEPS = 6


@pytest.fixture(autouse=True)
def as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "MOST_OF_THE_TIME", float("inf"))


def run(
    base_dir: Path,
    place: Path,
    sink: metrics.Sink | None = None,
    *,
    recipe: SftRecipe = RECIPE,
    seed: int = 1,
    precision: Precision = "fp32",
    examples: list[Any] = EXAMPLES,
) -> sft.SftResult:
    return sft.train(
        base_dir,
        examples,
        [],
        recipe,
        sampling=SAMPLING,
        precision=precision,
        seed=seed,
        out_dir=place / "policy",
        sink=sink or metrics.NullSink(),
        state_dir=place / "states",
    )


class Stopped(Exception):
    """Stands for a death of the process."""


class StoppingSink(metrics.ListSink):
    """Stops at a step, like a process that dies, before its state is written."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def progress(self, done: int, total: int, words: str) -> None:
        super().progress(done, total, words)
        if done == self._at:
            raise Stopped


def stop_at(base_dir: Path, place: Path, step: int, **changes: Any) -> None:
    with pytest.raises(Stopped):
        run(base_dir, place, StoppingSink(step), **changes)


def numbers(place: Path) -> list[int]:
    return sorted(int(path.name) for path in (place / "states").iterdir())


def start(sink: metrics.ListSink) -> str:
    return sink.conditions["start"]


@pytest.fixture
def whole(base_dir: Path, tmp_path: Path) -> str:
    return checkpoints.digest_directory(run(base_dir, tmp_path / "whole").directory)


def test_the_last_two_states_are_kept_and_hold_nothing_but_safetensors_and_json(base_dir: Path, tmp_path: Path) -> None:
    stop_at(base_dir, tmp_path, 5)
    assert numbers(tmp_path) == [3, 4]
    assert {path.name for path in (tmp_path / "states").rglob("*") if path.is_file()} == {
        "state.json",
        "weights.safetensors",
        "moments.safetensors",
    }


def test_a_state_is_written_every_so_many_steps_and_after_the_last(base_dir: Path, tmp_path: Path) -> None:
    run(base_dir, tmp_path, recipe=replace(RECIPE, save_every=4))
    assert numbers(tmp_path) == [4, 6]


def test_states_are_put_off_while_they_have_taken_too_much_of_the_time(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "MOST_OF_THE_TIME", 1e-6)
    run(base_dir, tmp_path)
    assert numbers(tmp_path) == [1], "the first one tells what it costs"


def test_it_goes_on_from_the_newest_state_and_says_so(base_dir: Path, tmp_path: Path, whole: str) -> None:
    stop_at(base_dir, tmp_path, 4)
    sink = metrics.ListSink()
    done = run(base_dir, tmp_path, sink)
    assert start(sink) == "resumed from step 3 of 6"
    assert [step for name, step, _ in sink.points if name == metrics.SFT_LOSS] == [3, 4, 5]
    assert checkpoints.digest_directory(done.directory) == whole


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "moments.safetensors"])
@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
def test_a_damaged_state_is_passed_over_for_the_one_before(
    base_dir: Path, tmp_path: Path, whole: str, name: str, damage: Callable[[Path], None]
) -> None:
    stop_at(base_dir, tmp_path, 5)
    damage(tmp_path / "states" / f"{4:012d}" / name)
    sink = metrics.ListSink()
    done = run(base_dir, tmp_path, sink)
    assert start(sink) == "resumed from step 3 of 6; state 4 was damaged"
    assert checkpoints.digest_directory(done.directory) == whole


def test_with_every_state_damaged_it_begins_at_the_beginning_and_says_why(
    base_dir: Path, tmp_path: Path, whole: str
) -> None:
    stop_at(base_dir, tmp_path, 3)
    for path in (tmp_path / "states").rglob("state.json"):
        path.write_text("{}")
    sink = metrics.ListSink()
    done = run(base_dir, tmp_path, sink)
    assert start(sink) == "from the beginning, because state 2 was damaged; state 1 was damaged"
    assert checkpoints.digest_directory(done.directory) == whole


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": replace(RECIPE, learning_rate=2e-3)}, "recipe"),
        ({"precision": "bf16"}, "recipe"),
        ({"seed": 2}, "seed"),
        ({"examples": EXAMPLES[::-1]}, "data"),
        ({"examples": EXAMPLES[::-1], "seed": 2}, "data and seed"),
    ],
)
def test_nothing_of_another_training_is_gone_on_from(
    base_dir: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    stop_at(base_dir, tmp_path / "a", 2, **changes)
    sink = metrics.ListSink()
    done = run(base_dir, tmp_path / "a", sink)
    assert start(sink) == f"from the beginning, because {named} changed since step 1 of 6"
    assert numbers(tmp_path / "a") == [5, 6], "its states made room"
    fresh = run(base_dir, tmp_path / "b")
    assert checkpoints.digest_directory(done.directory) == checkpoints.digest_directory(fresh.directory)


def test_another_base_model_or_library_is_another_training(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(base_dir, tmp_path, 2)
    sink = StoppingSink(1)
    with pytest.raises(Stopped):
        run(tiny_models.build(tmp_path / "other", width=32), tmp_path, sink)
    assert "because base model changed since step 1" in start(sink)
    monkeypatch.setattr(transformers, "__version__", "9.9")
    sink = StoppingSink(1)
    with pytest.raises(Stopped):
        run(base_dir, tmp_path, sink)
    assert "because library versions changed since step 1" in start(sink)


def test_a_setting_that_changes_memory_only_is_gone_on_with_and_told(base_dir: Path, tmp_path: Path) -> None:
    """What ran out of memory is called again with less at once, or with more when there is room again."""
    stop_at(base_dir, tmp_path, 2)
    sink = metrics.ListSink()
    run(base_dir, tmp_path, sink, recipe=replace(RECIPE, micro_batch=1))
    assert start(sink) == (
        "resumed from step 1 of 6; micro_batch changed since, so it is not bit for bit an undisturbed run"
    )
    stop_at(base_dir, tmp_path / "less", 2, recipe=replace(RECIPE, micro_batch=1))
    sink = metrics.ListSink()
    run(base_dir, tmp_path / "less", sink)
    assert "resumed from step 1" in start(sink) and "micro_batch" not in sink.conditions


def test_what_had_to_be_halved_stays_so_until_another_size_is_asked(base_dir: Path, tmp_path: Path) -> None:
    with room_for(1):
        stop_at(base_dir, tmp_path, 2)
    sink = metrics.ListSink()
    run(base_dir, tmp_path, sink)
    assert sink.conditions["micro_batch"] == "1, because more did not fit into memory"
    four = replace(RECIPE, batch=4, micro_batch=4)
    with room_for(1):
        stop_at(base_dir, tmp_path / "more", 2, recipe=four)
    sink = metrics.ListSink()
    run(base_dir, tmp_path / "more", sink, recipe=replace(four, micro_batch=2))
    assert "resumed from step 1" in start(sink) and "micro_batch" not in sink.conditions


def test_other_threads_or_hardware_are_gone_on_with_and_told(base_dir: Path, tmp_path: Path) -> None:
    stop_at(base_dir, tmp_path, 2)
    torch.set_num_threads(2)
    sink = metrics.ListSink()
    try:
        run(base_dir, tmp_path, sink)
    finally:
        torch.set_num_threads(1)
    assert start(sink) == (
        "resumed from step 1 of 6; threads changed since, so it is not bit for bit an undisturbed run"
    )


def test_a_full_disk_is_said_before_anything_is_learned(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    sink = metrics.ListSink()
    with pytest.raises(DiskFull, match=r"GB are needed under .* make room"):
        run(base_dir, tmp_path, sink)
    assert not sink.points


def test_a_disk_that_fills_up_leaves_the_states_that_are_there(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: str
) -> None:
    class Filling(metrics.ListSink):
        def progress(self, done: int, total: int, words: str) -> None:
            if done == 3:
                monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))

    with pytest.raises(DiskFull):
        run(base_dir, tmp_path, Filling())
    monkeypatch.undo()
    assert numbers(tmp_path) == [1, 2]
    assert checkpoints.digest_directory(run(base_dir, tmp_path).directory) == whole


def test_a_cancel_stops_within_one_update_and_leaves_a_model_and_a_state(
    base_dir: Path, tmp_path: Path, whole: str
) -> None:
    class Cancelling(metrics.ListSink):
        def progress(self, done: int, total: int, words: str) -> None:
            super().progress(done, total, words)
            self.cancel_at = self.checks if done == 3 else None

    sink = Cancelling()
    with pytest.raises(metrics.Cancelled) as stop:
        run(base_dir, tmp_path, sink, recipe=replace(RECIPE, save_every=100))
    assert len(sink.steps) == 3, "no further update"
    assert stop.value.left == tmp_path / "policy-unfinished"
    left = AutoModelForCausalLM.from_pretrained(str(stop.value.left))
    assert numbers(tmp_path) == [3], "a state of just that moment"
    held = load_file(tmp_path / "states" / f"{3:012d}" / "weights.safetensors")
    assert torch.equal(held["policy.model.norm.weight"], left.model.norm.weight)
    done = run(base_dir, tmp_path, recipe=replace(RECIPE, save_every=100))
    fresh = run(base_dir, tmp_path / "fresh", recipe=replace(RECIPE, save_every=100))
    assert checkpoints.digest_directory(done.directory) == checkpoints.digest_directory(fresh.directory) == whole
    assert not (tmp_path / "policy-unfinished").exists()


def test_a_cancelled_reward_model_and_a_cancelled_policy_can_be_loaded(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    with pytest.raises(metrics.Cancelled) as stop:
        reward.train(
            sft_run.directory,
            longer_is_better(range(12)),
            [],
            EXAMPLES[:4],
            RewardRecipe(batch=4, micro_batch=4, max_summary_tokens=24),
            sampling=SAMPLING,
            precision="fp32",
            seed=1,
            out_dir=tmp_path / "reward",
            sink=metrics.ListSink(cancel_at=3),
            state_dir=tmp_path / "reward states",
        )
    assert stop.value.left is not None
    AutoModelForSequenceClassification.from_pretrained(str(stop.value.left))
    with pytest.raises(metrics.Cancelled) as stop:
        run_ppo(sft_run, reward_run, tmp_path, metrics.ListSink(cancel_at=20))
    assert stop.value.left == tmp_path / "ppo-unfinished"
    AutoModelForCausalLM.from_pretrained(str(stop.value.left / "policy"))
    AutoModelForSequenceClassification.from_pretrained(str(stop.value.left / "value"))


def run_ppo(sft_run: sft.SftResult, reward_run: reward.RewardResult, place: Path, sink: metrics.Sink) -> ppo.PpoResult:
    return ppo.train(
        sft_run.directory,
        reward_run.directory,
        [each.query for each in EXAMPLES],
        PpoRecipe(episodes=8, batch=4, micro_batch=4, epochs=3, learning_rate=1e-4),
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
        out_dir=place / "ppo",
        sink=sink,
        state_dir=place / "states",
    )


def test_weights_that_have_not_changed_are_not_written_again(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    seen: dict[int, dict[str, int]] = {}

    class Looking(metrics.ListSink):
        def check(self) -> None:
            for path in (tmp_path / "states").glob("[0-9]*/*.safetensors"):
                seen.setdefault(int(path.parent.name), {})[path.stem] = path.stat().st_ino

    run_ppo(sft_run, reward_run, tmp_path, Looking())
    # 4 is the end of the first rollout, 5 the second one written, 6 the first step on it.
    assert seen[4]["weights"] == seen[5]["weights"] and seen[4]["moments"] == seen[5]["moments"]
    assert seen[6]["weights"] != seen[5]["weights"] and "tensors" in seen[5]
    # Sums over the steps of a rollout, the position and the history stand in the facts.
    told = json.loads((tmp_path / "states" / f"{8:012d}" / "state.json").read_text())["state"]
    assert len(told["facts"]["history"]) == 2 and told["words"] == "step 6 of 6"
