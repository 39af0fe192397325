from pathlib import Path

import pytest
import torch
from torch import nn

from app.domain.prompts import TLDR
from app.domain.recipes import PpoRecipe, Precision
from tests.support import tiny_models
from worker.training import metrics, models, reward, rollouts, sft, sharing, tokens
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.rollouts import Models, Rollout
from worker.training.tokens import Codec, SummaryTokens

RECIPE = PpoRecipe(episodes=6, batch=6, micro_batch=2)


def rolled(
    sft_dir: Path, reward_dir: Path, precision: Precision = "fp32", each: int = 1, recipe: PpoRecipe = RECIPE
) -> tuple[Rollout, Codec, Models]:
    """Six summaries, `each` of them of one query."""
    codec = tokens.load(sft_dir)
    trained = Models(
        models.load_policy(sft_dir, CPU),
        models.load_reward(reward_dir, CPU) if recipe.learns_values else None,
        models.load_policy(sft_dir, CPU),
        models.load_reward(reward_dir, CPU),
    )
    queries = [row // each for row in range(6)]
    prompts = [codec.prompt(tiny_models.query(seed, 5 + 4 * seed), TLDR, 64).tokens for seed in queries]
    summaries = [codec.summary(tiny_models.words(1 + seed, seed), 12) for seed in range(5)]
    unfinished = SummaryTokens(tuple(codec.ids(tiny_models.words(4, 9))))
    rollout = rollouts.look(trained, codec, prompts, [*summaries, unfinished], recipe, precision, metrics.NullSink())
    return rollout, codec, trained


def learning(trained: Models) -> list[nn.Parameter]:
    """Every weight that PPO changes."""
    return [weight for model in trained.learning().values() for weight in model.parameters()]


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kl_is_zero_before_the_first_update(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, precision: Precision, each: int
) -> None:
    rollout, _, _ = rolled(sft_run.directory, reward_run.directory, precision, each)
    assert rollout.kl().abs().max() == 0
    assert (rollout.logprobs[rollout.mask] < 0).all()


def test_everything_is_zero_on_padding(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    rollout, _, _ = rolled(sft_run.directory, reward_run.directory)
    assert rollout.values is not None
    assert rollout.mask.sum(1).tolist() == [len(each) for each in rollout.summaries]
    for tensor in (rollout.logprobs, rollout.reference_logprobs, rollout.values, rollout.rewards(0.05)):
        assert tensor[~rollout.mask].abs().sum() == 0


def test_scores_are_the_reward_models_or_the_fixed_one(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    rollout, codec, trained = rolled(sft_run.directory, reward_run.directory)
    assert rollout.finished.tolist() == [True] * 5 + [False]
    assert rollout.scores[5].item() == RECIPE.missing_eos_score
    for row in range(5):
        alone = collate(rollout.prompts[row : row + 1], rollout.summaries[row : row + 1], codec.pad, CPU)
        with torch.inference_mode():
            assert rollout.scores[row].item() == pytest.approx(trained.reward.scores(alone).item(), abs=1e-4)


def test_sharing_a_reading_changes_no_number(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, _, trained = rolled(sft_run.directory, reward_run.directory, each=3)
    assert trained.reach > 1000
    monkeypatch.setattr(sharing, "reach", lambda *_: 0)
    plain, _, unable = rolled(sft_run.directory, reward_run.directory, each=3)
    assert unable.reach == 0
    for name, tensor in shared.to_tensors().items():
        assert torch.allclose(tensor.double(), plain.to_tensors()[name].double(), atol=1e-5), name


def test_rewards_are_the_penalty_on_every_token_and_the_score_on_the_end() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rollout = Rollout(
        (),
        (),
        mask,
        logprobs=torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]]),
        reference_logprobs=torch.tensor([[-1.5, -1.0, -3.0], [-2.0, 0.0, 0.0]]),
        values=torch.zeros(2, 3),
        scores=torch.tensor([10.0, -1.0]),
        finished=torch.tensor([True, False]),
    )
    expected = torch.tensor([[-0.05 * 0.5, 0.05 * 1.0, 10.0], [-1.0 - 0.05 * 1.0, 0.0, 0.0]])
    assert torch.allclose(rollout.rewards(0.05), expected)
    assert rollout.kl().tolist() == pytest.approx([-0.5, 1.0])
