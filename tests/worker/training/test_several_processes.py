"""Several processes train as one does: the same losses, states that any number goes on from, one end for all."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.support import ending, tiny_models, together
from tests.support.together import SFT, Told
from worker.training import launching, metrics, models, resuming
from worker.training.devices import CPU
from worker.training.errors import CannotTrain

LOSSES = {"sft": metrics.SFT_LOSS, "reward": metrics.REWARD_LOSS}
STEPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("several")
    tiny_models.build(made / "base")
    return made


def alone(place: Path, out: Path) -> dict[str, Told]:
    """The same trainings in this process, whose states are left in `out`."""
    sink, base, given = metrics.NullSink(), place / "base", (out / "sft", out / "reward")
    return {
        "sft": together.told(together.run_sft, base, out / "sft", sink=sink),
        "sft bf16": together.told(together.run_sft, base, out / "bf16", sink=sink, precision="bf16"),
        "sft stopped": together.told(
            together.run_sft, base, out / "sft stopped", sink=sink, states=out / "sft states", stop_at=1
        ),
        "reward": together.told(together.run_reward, base, out / "reward", sink=sink),
        "reward stopped": together.told(
            together.run_reward, base, out / "reward stopped", sink=sink, states=out / "reward states", stop_at=1
        ),
        "ppo": together.told(together.run_ppo, *given, out / "ppo", sink=sink),
        "ppo stopped": together.told(
            together.run_ppo, *given, out / "ppo stopped", sink=sink, states=out / "ppo states", stop_at=2
        ),
    }


@pytest.fixture(scope="module")
def one(place: Path) -> dict[str, Told]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resuming, "MOST_OF_THE_TIME", float("inf"))
        return alone(place, place / "one")


@pytest.fixture(scope="module")
def heard() -> metrics.ListSink:
    """What the process that asked for two is told."""
    return metrics.ListSink()


@pytest.fixture(scope="module")
def two(place: Path, one: dict[str, Told], heard: metrics.ListSink) -> dict[str, Told]:
    """In two processes, which go on where one left off: one launch for all tests, since torch is slow to load."""
    return launching.run(together.everything, place, place / "one", processes=2, sink=heard)


def close(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_two_processes_learn_as_one_does(stage: str, one: dict[str, Told], two: dict[str, Told]) -> None:
    series = [each[stage][0].series(LOSSES[stage]) for each in (one, two)]
    assert len(series[0]) == STEPS and series[1] == close(series[0])
    assert {name for name, _, _ in two[stage][0].points} == {name for name, _, _ in one[stage][0].points}
    conditions = two[stage][0].conditions
    assert conditions["processes"] == "2" and one[stage][0].conditions["processes"] == "1"
    assert conditions["checkpointing"] == ("on" if stage == "reward" else "off")


def test_what_is_measured_and_written_is_that_of_one(place: Path, one: dict[str, Told], two: dict[str, Told]) -> None:
    (_, mine), (_, theirs) = one["sft"], two["sft"]
    assert [theirs.validation_loss_before, theirs.validation_loss] == close(
        [mine.validation_loss_before, mine.validation_loss]
    )
    (_, mine), (_, theirs) = one["reward"], two["reward"]
    scores = [
        [score for each in result.held_out for score in (each.preferred_score, each.other_score)]
        for result in (mine, theirs)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4) and theirs.offset == pytest.approx(mine.offset, abs=1e-4)
    assert theirs.chosen_seed == mine.chosen_seed
    for kind, name in ((AutoModelForCausalLM, "sft"), (AutoModelForSequenceClassification, "reward")):
        written = [kind.from_pretrained(str(where / name)) for where in (place / "one", place)]
        assert written[0].config.architectures == written[1].config.architectures
        for own, other in zip(*(each.parameters() for each in written), strict=True):
            assert torch.allclose(own, other, atol=1e-4)
    assert models.load_reward(place / "reward", CPU).offset == theirs.offset


def test_in_bf16_they_learn_as_one_does(one: dict[str, Told], two: dict[str, Told]) -> None:
    series = [each["sft bf16"][0].series(metrics.SFT_LOSS) for each in (one, two)]
    assert two["sft bf16"][0].conditions["precision"] == "bf16"
    assert series[1] == pytest.approx(series[0], rel=1e-4)


@pytest.mark.parametrize(("stage", "left"), [("sft", SFT.save_every), ("reward", together.REWARD.save_every)])
def test_two_go_on_where_one_was_stopped_and_one_where_two_were(
    stage: str, left: int, place: Path, one: dict[str, Told], two: dict[str, Told]
) -> None:
    whole = one[stage][0].series(LOSSES[stage])
    assert one[f"{stage} stopped"][1] is None and two[f"{stage} stopped"][1] is None
    assert two[f"{stage} stopped"][0].series(LOSSES[stage]) == close(whole[:left])
    went_on = two[f"{stage} resumed"][0]
    assert went_on.conditions["start"].startswith(f"resumed from step {left} of {STEPS}; processes ")
    assert went_on.series(LOSSES[stage]) == close(whole[left:])
    run = together.run_sft if stage == "sft" else together.run_reward
    again, _ = together.told(
        run, place / "base", place / f"{stage} again", sink=metrics.NullSink(), states=place / f"{stage} states"
    )
    assert again.conditions["start"].startswith(f"resumed from step {left} of {STEPS}; processes ")
    assert again.series(LOSSES[stage]) == close(whole[left:])


PPO_SERIES = (
    metrics.PPO_SCORE,
    metrics.PPO_LENGTH,
    metrics.PPO_KL,
    metrics.PPO_PREFERENCE,
    metrics.PPO_POLICY_LOSS,
    metrics.PPO_VALUE_LOSS,
    metrics.PPO_CLIP_FRACTION,
    metrics.PPO_EXPLAINED_VARIANCE,
)


def test_two_processes_write_and_learn_by_ppo_as_one_does(one: dict[str, Told], two: dict[str, Told]) -> None:
    for name in PPO_SERIES:
        series = [each["ppo"][0].series(name) for each in (one, two)]
        assert series[0] and series[1] == pytest.approx(series[0], rel=1e-5, abs=1e-6), name


def test_ppo_goes_on_with_the_rollout_in_hand_in_another_number_of_processes(
    place: Path, one: dict[str, Told], two: dict[str, Told]
) -> None:
    again, _ = together.told(
        together.run_ppo,
        *(place / "one" / name for name in ("sft", "reward", "ppo again")),
        sink=metrics.NullSink(),
        states=place / "ppo states",
    )
    for went_on in (again, two["ppo resumed"][0]):
        assert went_on.conditions["start"].startswith("resumed from step 1 of 4, rollout 1 in hand; processes ")
        for name in (metrics.PPO_POLICY_LOSS, metrics.PPO_VALUE_LOSS):
            whole = one["ppo"][0].series(name)
            assert went_on.series(name) == pytest.approx(whole, rel=1e-5, abs=1e-6), name


def test_a_stop_leaves_the_model_as_it_is_then(place: Path, two: dict[str, Told]) -> None:
    left = models.load_policy(place / "sft stopped-unfinished", CPU)
    assert left.config.pad_token_id is not None
    assert not (place / "sft stopped").exists()


def test_who_asked_hears_what_the_first_one_tells(two: dict[str, Told], heard: metrics.ListSink) -> None:
    assert heard.conditions["processes"] == "2"
    steps = [step for name, step, _ in heard.points if name == metrics.SFT_LOSS]
    assert steps[:STEPS] == [*range(STEPS)]
    assert (STEPS, STEPS, "learned from references, step 6 of 6") in heard.steps


class StopsOnceFlushed(metrics.NullSink):
    """Asks to stop as soon as something was written down."""

    stopping = False

    def flush(self) -> None:
        self.stopping = True

    def check(self) -> None:
        if self.stopping:
            raise metrics.Cancelled("Somebody asked to stop.")


def test_all_stop_at_the_same_check_and_an_error_of_one_ends_all_with_its_words() -> None:
    with pytest.raises(CannotTrain, match="stopped at the same check as the first") as failed:
        launching.run(ending.stopped_then_failing, processes=2, sink=StopsOnceFlushed())
    assert "in stopped_then_failing" in "".join(failed.value.__notes__)


def test_a_process_that_is_killed_ends_all_and_is_named() -> None:
    with pytest.raises(launching.ProcessLost, match="process 2 of 2 ended without a word"):
        launching.run(ending.second_is_killed, processes=2, sink=metrics.NullSink())


def test_an_error_that_cannot_be_sent_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="Unspeakable: a lock in hand") as failed:
        launching.run(ending.second_fails_unspeakably, processes=2, sink=metrics.NullSink())
    assert "in second_fails_unspeakably" in "".join(failed.value.__notes__)


def test_when_who_asked_is_killed_all_processes_end() -> None:
    code = (
        "from tests.support import ending\n"
        "from worker.training import launching, metrics\n"
        "launching.run(ending.going_on_for_ever, processes=2, sink=metrics.NullSink())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        ranks = [psutil.Process(int(asking.stdout.readline())) for _ in range(2)]
        asking.kill()
    _, left = psutil.wait_procs(ranks, timeout=60)
    assert left == []


def test_more_processes_than_gpus_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(CannotTrain, match="3 processes were asked for, and torch sees 2 GPUs"):
        launching.run(ending.second_is_killed, processes=3, sink=metrics.NullSink())


def test_one_process_for_each_gpu_and_one_for_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launching.usual() == max(1, torch.cuda.device_count())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert (launching.usual(), launching.usual(adapter=True)) == (4, 1)
