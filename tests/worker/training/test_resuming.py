"""Killed and resumed without a trace: every stage, at exact points and at any time, ends as if nothing had happened."""

import functools
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.prompts import FEW_SHOT_QUESTION, FewShot, WorkedExample
from app.domain.recipes import EvaluationRecipe, PpoRecipe, Precision, RewardRecipe, SftRecipe
from tests.support import tiny_models
from tests.support.killing import Kill, Killed, Stage
from tests.worker.training.conftest import SAMPLING, longer_is_better
from worker.training import best_of_n, evaluation, generation, metrics, ppo, reward, sft

EXAMPLES = [tiny_models.demonstration(seed) for seed in range(14)]
QUERIES = [tiny_models.query(seed) for seed in range(13)]
SFT = SftRecipe(batch=4, micro_batch=2, learning_rate=1e-3, epochs=2)
REWARD = RewardRecipe(batch=4, micro_batch=2, learning_rate=1e-3, max_summary_tokens=24, seeds=2)
PPO = PpoRecipe(episodes=24, batch=8, minibatches=2, micro_batch=2, epochs=2, learning_rate=1e-3)
STOPPED = replace(
    PPO,
    episodes=64,
    learning_rate=1e-2,
    stop_kl=0.5,
    stop_preference_drop=1,
    preference_every=1,
    preference_documents=5,
    value_lora_rank=2,
)
RLOO = replace(PPO, advantage="rloo", samples_per_query=2, lora_rank=2, lora_merge=False)
ADAPTED = replace(REWARD, lora_rank=2)


def run_sft(base_dir: Path, precision: Precision, sink: metrics.Sink, out: Path, states: Path | None) -> sft.SftResult:
    return sft.train(
        base_dir,
        EXAMPLES,
        EXAMPLES[:2],
        SFT,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        out_dir=out / "policy",
        sink=sink,
        state_dir=states,
    )


def run_reward(
    sft_dir: Path, recipe: RewardRecipe, precision: Precision, sink: metrics.Sink, out: Path, states: Path | None
) -> reward.RewardResult:
    return reward.train(
        sft_dir,
        longer_is_better(range(14)),
        longer_is_better(range(100, 104)),
        EXAMPLES[:6],
        recipe,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        out_dir=out / "reward",
        sink=sink,
        state_dir=states,
    )


def run_ppo(
    sft_dir: Path,
    reward_dir: Path,
    recipe: PpoRecipe,
    precision: Precision,
    sink: metrics.Sink,
    out: Path,
    states: Path | None,
) -> ppo.PpoResult:
    return ppo.train(
        sft_dir,
        reward_dir,
        QUERIES,
        recipe,
        sampling=SAMPLING,
        precision=precision,
        seed=5,
        out_dir=out,
        sink=sink,
        held_out=[each.query for each in EXAMPLES],
        state_dir=states,
    )


def run_sample(
    sft_dir: Path, precision: Precision, sink: metrics.Sink, out: Path, states: Path | None
) -> list[generation.Sample]:
    shown = [WorkedExample("pets", f"title {seed}", tiny_models.words(9, seed), "the house") for seed in range(2)]
    return generation.sample(
        sft_dir,
        QUERIES,
        replace(SAMPLING, batch=3),
        list(range(13)),
        sink,
        template=FewShot(FEW_SHOT_QUESTION, tuple(shown), room=160),
        precision=precision,
        state_dir=states,
    )


def run_best_of_n(
    sft_dir: Path, reward_dir: Path, precision: Precision, sink: metrics.Sink, out: Path, states: Path | None
) -> list[best_of_n.Candidates]:
    recipe = replace(SAMPLING, batch=3)
    return best_of_n.write(
        sft_dir, reward_dir, QUERIES[:6], 3, recipe, sink, seed=1, precision=precision, state_dir=states
    )


def run_evaluate(
    sft_dir: Path,
    other_dir: Path,
    reward_dir: Path,
    precision: Precision,
    sink: metrics.Sink,
    out: Path,
    states: Path | None,
) -> evaluation.EvaluationResult:
    return evaluation.evaluate(
        other_dir,
        sft_dir,
        reward_dir,
        EXAMPLES,
        EvaluationRecipe(documents=14, batch=3),
        sink,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        state_dir=states,
    )


NAMES = (
    "sft",
    "reward",
    "reward by adapter",
    "ppo",
    "ppo by rloo and adapter",
    "ppo stopped",
    "sample few-shot",
    "best of n",
    "evaluate",
)


@pytest.fixture(scope="session")
def stages(base_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult) -> dict[str, Callable[..., Any]]:
    policy, judge = sft_run.directory, reward_run.directory
    return {
        "sft": functools.partial(run_sft, base_dir),
        "reward": functools.partial(run_reward, policy, REWARD),
        "reward by adapter": functools.partial(run_reward, policy, ADAPTED),
        "ppo": functools.partial(run_ppo, policy, judge, PPO),
        "ppo stopped": functools.partial(run_ppo, policy, judge, STOPPED),
        "ppo by rloo and adapter": functools.partial(run_ppo, policy, judge, RLOO),
        "sample few-shot": functools.partial(run_sample, policy),
        "best of n": functools.partial(run_best_of_n, policy, judge),
        "evaluate": functools.partial(run_evaluate, policy, base_dir, judge),
    }


@pytest.fixture(scope="session")
def undisturbed(
    stages: dict[str, Callable[..., Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Precision], tuple[Stage, Killed]]:
    @functools.cache
    def run(name: str, precision: Precision) -> tuple[Stage, Killed]:
        stage = functools.partial(stages[name], precision)
        whole = Killed(stage, tmp_path_factory.mktemp("undisturbed") / name)
        assert whole.run()
        return stage, whole

    return run


Undisturbed = Callable[[str, Precision], tuple[Stage, Killed]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_killed_anywhere_it_ends_as_if_nothing_had_happened(
    name: str, precision: Precision, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    stage, whole = undisturbed(name, precision)
    draw = random.Random(f"{name} {precision}")
    killed = Killed(stage, tmp_path / "killed")
    for _ in range(5):
        killed.run(Kill("telling", draw.randint(1, whole.told // 2)), anew=True)
    assert killed.run(anew=True)
    assert killed.starts, "it was resumed at least once"
    assert ("stopped before learning" in whole.outcome()[0]) == (name == "ppo stopped")
    assert killed.outcome() == whole.outcome()


@pytest.mark.parametrize("name", ["sft", "reward", "ppo", "best of n", "evaluate"])
def test_killed_while_it_writes_it_goes_on_from_what_was_whole(
    name: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    stage, whole = undisturbed(name, "fp32")
    draw = random.Random(name)
    killed = Killed(stage, tmp_path / "killed")
    for _ in range(2):
        killed.run(Kill("writing", draw.randint(2, 5)))
        killed.run(Kill("syncing", draw.randint(4, 12)))
    assert killed.run()
    assert killed.starts and not any("damaged" in start for start in killed.starts)
    assert killed.outcome() == whole.outcome()


@pytest.mark.parametrize("name", ["sft", "ppo", "evaluate"])
def test_killed_at_any_time_it_ends_as_if_nothing_had_happened(
    name: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    stage, whole = undisturbed(name, "fp32")
    began = time.perf_counter()
    assert Killed(stage, tmp_path / "measured").run()
    took = time.perf_counter() - began
    draw = random.Random(name)
    killed = Killed(stage, tmp_path / "killed")
    for _ in range(5):
        killed.run_for(draw.uniform(0.1, 0.9) * took)
    assert killed.run()
    assert killed.outcome() == whole.outcome()
