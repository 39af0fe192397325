"""What is asked and what is in force: a micro-batch that does not fit is halved, precision and threads are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import LlamaModel

from app.domain.recipes import EvaluationRecipe, PpoRecipe, Precision, RewardRecipe, SftRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING, longer_is_better
from tests.worker.training.test_rollouts import rolled
from worker.training import checkpoints, evaluation, generation, metrics, ppo, reward, sft

EXAMPLES = [tiny_models.demonstration(seed) for seed in range(8)]
QUERIES = [each.query for each in EXAMPLES]
SFT = SftRecipe(batch=4, micro_batch=4, learning_rate=1e-3)
REWARD = RewardRecipe(batch=4, micro_batch=4, learning_rate=1e-3, max_summary_tokens=24)
PPO = PpoRecipe(episodes=8, batch=8, micro_batch=8, epochs=1, learning_rate=1e-3)


@contextmanager
def room_for(rows: int, after: int = 0) -> Iterator[list[int]]:
    """A device on which forward passes that keep gradients take so many rows at once, all but the first few of them;
    gives the sizes asked."""
    asked, real = [], LlamaModel.forward

    def forward(self: LlamaModel, *arguments: Any, **named: Any) -> Any:
        if torch.is_grad_enabled():
            asked.append(len(named["input_ids"]))
            if asked[-1] > rows and len(asked) > after:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, *arguments, **named)

    with patch.object(LlamaModel, "forward", forward):
        yield asked


def run_sft(base_dir: Path, out: Path, recipe: SftRecipe, sink: metrics.Sink, precision: Precision = "fp32") -> str:
    done = sft.train(
        base_dir,
        EXAMPLES,
        EXAMPLES[:1],
        recipe,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        out_dir=out,
        sink=sink,
    )
    return checkpoints.digest_directory(done.directory)


def run_reward(
    sft_dir: Path, out: Path, recipe: RewardRecipe, sink: metrics.Sink, precision: Precision = "fp32"
) -> str:
    done = reward.train(
        sft_dir,
        longer_is_better(range(8)),
        [],
        EXAMPLES[:2],
        recipe,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        out_dir=out,
        sink=sink,
    )
    return checkpoints.digest_directory(done.directory)


def run_ppo(
    sft_dir: Path, reward_dir: Path, out: Path, recipe: PpoRecipe, sink: metrics.Sink, precision: Precision = "fp32"
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
    )


def test_an_update_that_does_not_fit_is_repeated_in_halves_with_the_same_result(
    base_dir: Path, sft_run: sft.SftResult, tmp_path: Path
) -> None:
    asked = run_sft(base_dir, tmp_path / "asked", replace(SFT, micro_batch=2), metrics.NullSink())
    sink = metrics.ListSink()
    with room_for(2) as sizes:
        assert run_sft(base_dir, tmp_path / "halved", SFT, sink) == asked
    assert sizes == [4, 2, 2, 2, 2], "the size that fits stays in force"
    assert sink.conditions["micro_batch"] == "2, because more did not fit into memory"
    with room_for(2, after=1) as sizes:
        alone = run_sft(base_dir, tmp_path / "alone", replace(SFT, micro_batch=3, batch=6), metrics.NullSink())
    asked = run_sft(base_dir, tmp_path / "one", replace(SFT, micro_batch=1, batch=6), metrics.NullSink())
    assert sizes[:8] == [3, 3, 1, 1, 1, 1, 1, 1] and alone == asked, "what was added up before it is left out"
    sink = metrics.ListSink()
    with room_for(2):
        halved = run_reward(sft_run.directory, tmp_path / "less", REWARD, sink)
    fitting = int(sink.conditions["micro_batch"].partition(",")[0])
    recipe = replace(REWARD, micro_batch=fitting)
    assert fitting < 4 and halved == run_reward(sft_run.directory, tmp_path / "fits", recipe, metrics.NullSink())


def test_a_ppo_step_that_does_not_fit_is_repeated_in_parts_with_the_same_result(
    sft_run: sft.SftResult, reward_run: reward.RewardResult
) -> None:
    moved, sink = [], metrics.ListSink()
    for micro_batch, rows in ((1, 1), (6, 2)):
        rollout, codec, trained = rolled(sft_run.directory, reward_run.directory)
        gains, returns = ppo.targets(rollout, PPO)
        parameters = [*trained.policy.parameters(), *trained.value.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        recipe = replace(PPO, episodes=6, batch=6, micro_batch=micro_batch)
        with room_for(rows):
            loop = ppo.Loop(trained, optimizer, codec, recipe, SAMPLING, "fp32", 1, sink)
            loop.step(rollout, gains, returns, range(6))
        moved.append(parameters)
    assert all(torch.equal(one, other) for one, other in zip(*moved, strict=True))
    assert sink.conditions["micro_batch"] == "1, because more did not fit into memory"


def test_when_not_even_one_row_fits_it_fails(base_dir: Path, tmp_path: Path) -> None:
    with room_for(0) as sizes, pytest.raises(torch.OutOfMemoryError):
        run_sft(base_dir, tmp_path / "a", SFT, metrics.NullSink())
    assert sizes == [4, 2, 1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_recipe_asks_is_what_runs(
    precision: Precision, base_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    """Told by what comes out of a matrix product of each stage, and by torch itself."""
    policy, judge = sft_run.directory, reward_run.directory
    sinks = {name: metrics.ListSink() for name in ("sft", "reward", "ppo", "sample", "evaluate")}
    run_sft(base_dir, tmp_path / "sft", SFT, sinks["sft"], precision)
    run_reward(policy, tmp_path / "reward", REWARD, sinks["reward"], precision)
    run_ppo(policy, judge, tmp_path / "ppo", PPO, sinks["ppo"], precision)
    generation.sample(policy, QUERIES[:2], SAMPLING, [1, 2], sinks["sample"], precision=precision)
    evaluation.evaluate(
        policy,
        base_dir,
        judge,
        EXAMPLES[:2],
        EvaluationRecipe(documents=2),
        sinks["evaluate"],
        sampling=SAMPLING,
        precision=precision,
        seed=1,
    )
    for name, sink in sinks.items():
        assert sink.conditions == {"threads": "1", "precision": precision, "weights": "fp32"}, name
