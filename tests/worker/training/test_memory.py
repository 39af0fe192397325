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
from transformers.models.llama.modeling_llama import LlamaAttention

from app.domain.recipes import EvaluationRecipe, PpoRecipe, Precision, RewardRecipe, SftRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING, longer_is_better
from tests.worker.training.test_rollouts import learning, rolled
from worker.training import checkpoints, devices, evaluation, generation, metrics, models, ppo, recomputing, reward, sft

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
        parameters = learning(trained)
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


@contextmanager
def layers_computed() -> Iterator[list[torch.dtype]]:
    """What comes out of the attention of every layer, each time that it is computed for gradients."""
    seen, real = [], LlamaAttention.forward

    def forward(self: LlamaAttention, *arguments: Any, **named: Any) -> Any:
        found = real(self, *arguments, **named)
        if torch.is_grad_enabled():
            seen.append(found[0].dtype)
        return found

    with patch.object(LlamaAttention, "forward", forward):
        yield seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_recipe_asks_is_what_runs(
    precision: Precision, base_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    """Told by the run, and by what its layers compute and how often; the weights in the end are the same."""
    policy, judge = sft_run.directory, reward_run.directory

    def trained(stage: str, on: bool, sink: metrics.Sink) -> str:
        out = tmp_path / stage / str(on)
        if stage == "sft":
            return run_sft(base_dir, out, replace(SFT, checkpointing=on), sink, precision)
        if stage == "reward":
            return run_reward(policy, out, replace(REWARD, checkpointing=on), sink, precision)
        run_ppo(policy, judge, out, replace(PPO, checkpointing=on), sink, precision)
        return checkpoints.digest_directory(out)

    asked = {"processes": "1", "threads": "1", "precision": precision, "weights": "fp32"}
    cut = {
        "sft": {"documents cut": "8 of 8, to 64 tokens", "summaries cut": "0 of 8, to 12 tokens"},
        "reward": {"documents cut": "8 of 8, to 64 tokens", "summaries cut": "0 of 18, to 24 tokens"},
        "ppo": {"documents cut": "8 of 8, to 64 tokens"},
    }
    for stage in ("sft", "reward", "ppo"):
        weights, computed = [], []
        for on in (False, True):
            sink = metrics.ListSink()
            with layers_computed() as seen:
                weights.append(trained(stage, on, sink))
            assert sink.conditions == asked | cut[stage] | {"checkpointing": "on" if on else "off"}, stage
            assert {*seen} == {torch.float32 if precision == "fp32" else torch.bfloat16}, stage
            computed.append(len(seen))
        assert computed[1] == 2 * computed[0] > 0, f"{stage}: once forward, once more for the gradients"
        assert weights[0] == weights[1], stage
    sinks = metrics.ListSink(), metrics.ListSink()
    generation.sample(policy, QUERIES[:2], SAMPLING, [1, 2], sinks[0], precision=precision)
    evaluation.evaluate(
        policy,
        base_dir,
        judge,
        EXAMPLES[:2],
        EvaluationRecipe(documents=2),
        sinks[1],
        sampling=SAMPLING,
        precision=precision,
        seed=1,
    )
    few = {"documents cut": "2 of 2, to 64 tokens", "summaries cut": "0 of 2, to 24 tokens"}
    assert [sink.conditions for sink in sinks] == [asked, asked | few]


def test_checkpointing_a_model_without_marked_layers_is_refused() -> None:
    with pytest.raises(recomputing.NoLayers, match="Linear does not say what its layers are"):
        recomputing.put_in_force(torch.nn.Linear(2, 2))


def test_checkpointing_holds_less_for_the_gradients(base_dir: Path, policy: Any) -> None:
    kept = []
    for on in (False, True):
        model = models.load_policy(base_dir, devices.CPU)
        if on:
            recomputing.put_in_force(model)
        held: dict[int, int] = {}

        def hold(tensor: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            model(input_ids=torch.arange(40).view(2, 20)).logits.sum()
        kept.append(sum(held.values()))
    assert kept[1] < 0.5 * kept[0]
