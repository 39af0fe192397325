"""One PPO update of ours beside one of TRL's PPOTrainer on the same summaries, in fp32.

By hand, in the environment of requirements-trl-1.12.txt:

    ORACLE/bin/python -m benchmarks.peers.ppo_oracle [--data FILE] [--model DIR]

TRL is handed the summaries instead of writing them. All that follows is its own, and is read off the local variables of
its `train`: advantages, returns, and the two losses of each of 4 epochs. Ours reads both summaries of a document behind
one reading of it; TRL reads padded sequences.

* `full`: every summary ends in the last place there is. Here ours runs as it is: `ppo.targets` and `ppo.Loop.step`.
* `ragged`: summaries of many lengths, one of which does not end. Here TRL departs from the study's code, and ours is
  laid out like TRL's, by the same pure functions.

Where ours (P 5.3, LMHP) and TRL 1.12.0 differ, and what is done about it here:

1. Whitening: LMHP divides by the biased deviation, TRL by the unbiased one. Ours is multiplied by sqrt((n - 1) / n).
2. The score: P 5.3 gives it on the end token. TRL gives it one place later, where there is one, and counts in that
   place a value (what the value network says behind the end token) and a value loss. `ragged` does so too.
3. A summary without an end token: N+ 23 gives it a fixed score, TRL takes a penalty off the reward model's. `ragged`
   does so too.
4. A loss over micro-batches: ours is a mean over all tokens of the minibatch, TRL's the mean of the means of its
   micro-batches, in which a token of a short summary weighs more. Here the update is one micro-batch.

One JSON line for each: relative errors (norm of the difference by the norm of TRL's), at most 1e-4 for advantages,
returns and losses or it exits with 1. `weights` is the same of what the update added to them, `change` by how much it
moved them: Adam's first steps go by the sign of a gradient, so that rounding shows more there.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}

import torch
import trl.experimental.ppo.ppo_trainer as module
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

from app.domain.prompts import TLDR
from app.domain.recipes import PpoRecipe, SamplingRecipe
from benchmarks import training
from worker.training import (
    advantages,
    checkpoints,
    logprobs,
    metrics,
    models,
    optimization,
    ppo,
    ppo_loss,
    rollouts,
    seeding,
    tokens,
)
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.models import ScalarModel
from worker.training.tokens import QueryTokens, SummaryTokens

ALLOWED = 1e-4
PROMPT, WIDTH = 128, 16
PENALTY = 1.0
DOCUMENTS = 4


@dataclass(frozen=True)
class Update:
    """What one update computed. advantages, returns: of real tokens, and where TRL counts one more, of that too."""

    advantages: Tensor
    returns: Tensor
    policy_losses: Tensor
    value_losses: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Work:
    """Summaries with their prompts, the directories of the models, and how to learn from them."""

    prompts: list[QueryTokens]
    summaries: list[SummaryTokens]
    policy: Path
    reference: Path
    reward: Path
    codec: tokens.Codec
    recipe: PpoRecipe

    def models(self) -> rollouts.Models:
        """The four models, as they are before the update."""
        return rollouts.Models(
            models.load_policy(self.policy, CPU),
            models.load_reward(self.reward, CPU),
            models.load_policy(self.reference, CPU),
            models.load_reward(self.reward, CPU),
        )


def moved(place: Path) -> Any:
    """A policy at some distance from its reference, so that there is a KL penalty."""
    model, drawn = models.load_policy(place, CPU), seeding.generator(1, "moved")
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.1 * each.std() * torch.randn(each.shape, generator=drawn))
    return model


def learning(trained: rollouts.Models) -> list[torch.nn.Parameter]:
    """What policy and value network learn by."""
    return [each for model in trained.learning().values() for each in model.parameters()]


def weights(trained: rollouts.Models) -> Tensor:
    """All that learn, one after the other."""
    return torch.cat([each.detach().flatten() for each in learning(trained)])


def network(trained: rollouts.Models) -> ScalarModel:
    """The value network: there is one here."""
    assert trained.value is not None
    return trained.value


class Reader(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Reads the variables of TRL's `train` when its update is over."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Goes up to `train`."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not PPOTrainer.train.__code__:
            frame = frame.f_back
        assert frame is not None
        names = ("advantages", "returns", "padding_mask", "padding_mask_p1", "pg_loss_stats", "vf_loss_stats")
        self.seen = {name: frame.f_locals[name].clone() for name in names}


def theirs(work: Work) -> Update:
    """TRL's update."""
    recipe, pad, trained, reader = work.recipe, work.codec.pad, work.models(), Reader()
    width = max(map(len, work.summaries))
    responses = torch.tensor([[*each, *[pad] * (width - len(each))] for each in work.summaries])
    rows = Dataset.from_dict({"input_ids": work.prompts})

    def written(model: Any, queries: Tensor, size: int, padding: int, config: Any) -> tuple[Tensor, Tensor]:
        sequences = torch.cat([queries, responses], 1)
        logits = module.forward(model, sequences, padding).logits[:, queries.shape[1] - 1 : -1]
        return sequences, logits / (recipe.temperature + 1e-7)

    module.batch_generation = written
    work.codec.tokenizer.padding_side = "left"
    # TRL prints as it goes.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=folder,
                per_device_train_batch_size=len(rows),
                gradient_accumulation_steps=1,
                num_ppo_epochs=recipe.epochs,
                total_episodes=len(rows),
                response_length=width,
                stop_token_id=work.codec.eos,
                missing_eos_penalty=PENALTY,
                temperature=recipe.temperature,
                kl_coef=recipe.kl_coefficient,
                cliprange=recipe.clip,
                cliprange_value=recipe.value_clip,
                vf_coef=recipe.value_coefficient,
                gamma=recipe.gamma,
                lam=recipe.gae_lambda,
                learning_rate=recipe.learning_rate,
                adam_epsilon=recipe.adam_eps,
                num_sample_generations=0,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                bf16=False,
                use_cpu=True,
            ),
            processing_class=work.codec.tokenizer,
            model=trained.policy,
            ref_model=trained.reference,
            reward_model=trained.reward.stock,
            value_model=network(trained).stock,
            train_dataset=rows,
            eval_dataset=rows.select([0]),
            callbacks=[reader],
        )
        trainer.dataloader = DataLoader(rows, batch_size=len(rows), collate_fn=trainer.data_collator)
        trainer.train()
    seen = reader.seen
    return Update(
        seen["advantages"][~seen["padding_mask"]],
        seen["returns"][~seen["padding_mask_p1"]],
        seen["pg_loss_stats"].flatten(),
        seen["vf_loss_stats"].flatten(),
        weights(trained),
    )


def unbiased(count: int) -> float:
    """Difference 1: from the biased to the unbiased deviation of so many numbers, as a factor of what is whitened."""
    return math.sqrt((count - 1) / count)


def look(work: Work, trained: rollouts.Models) -> rollouts.Rollout:
    """Our rollout of the summaries."""
    return rollouts.look(trained, work.codec, work.prompts, work.summaries, work.recipe, "fp32", metrics.NullSink())


def learner(trained: rollouts.Models, recipe: PpoRecipe) -> torch.optim.Optimizer:
    """Our optimizer of policy and value."""
    return optimization.adam(learning(trained), recipe.learning_rate, recipe.adam_eps)


def as_it_is(work: Work) -> Update:
    """Our update, but for the factor of whitening."""
    trained = work.models()
    rollout = look(work, trained)
    gains, returns = ppo.targets(rollout, work.recipe)
    assert returns is not None
    count = int(rollout.mask.sum())
    gains = gains * unbiased(count)
    loop = ppo.Loop(
        trained,
        learner(trained, work.recipe),
        work.codec,
        work.recipe,
        SamplingRecipe(),
        "fp32",
        1,
        metrics.NullSink(),
    )
    steps = [loop.step(rollout, gains, returns, range(len(work.prompts))) for _ in range(work.recipe.epochs)]
    return Update(
        gains[rollout.mask],
        returns[rollout.mask],
        torch.tensor([step[metrics.PPO_POLICY_LOSS] / count for step in steps]),
        torch.tensor([step[metrics.PPO_VALUE_LOSS] / count for step in steps]),
        weights(trained),
    )


def laid_out(work: Work) -> Update:
    """Our update with the score and a value one place behind the end token, by the same pure functions."""
    recipe, trained = work.recipe, work.models()
    rollout, value = look(work, trained), network(trained)
    assert rollout.values is not None
    rows = torch.arange(len(work.prompts))
    batch = collate(work.prompts, work.summaries, work.codec.pad, CPU)
    # Clones, since what was made in inference mode cannot be learned from.
    mask, first, real = rollout.mask.clone(), rollout.logprobs.clone(), batch.lengths
    # There is a place behind the end token unless the summary is as long as any.
    behind = torch.minimum(real, torch.tensor(batch.width - 1))
    longer = mask.clone()
    longer[rows, behind] = True

    def extended(values: Tensor, last: Tensor) -> Tensor:
        """Values with what the network says behind the end token, which is where a score would be read."""
        return values.index_put((rows, behind), torch.where(real < batch.width, last, values[rows, behind]))

    with torch.no_grad():
        scores = trained.reward.scores(batch) - PENALTY * (~rollout.finished).float()
        old = extended(rollout.values, value.scores(batch))
    rewards = -recipe.kl_coefficient * (first - rollout.reference_logprobs)
    rewards = rewards.index_put((rows, behind), scores, accumulate=True)
    gains, returns = advantages.estimate(rewards, old, longer, recipe.gamma, recipe.gae_lambda)
    gains = advantages.whiten(gains, mask) * unbiased(int(mask.sum()))
    optimizer = learner(trained, recipe)
    policy_losses, value_losses = [], []
    for _ in range(recipe.epochs):
        new = logprobs.of_summaries(trained.policy, batch, recipe.temperature)
        values = extended(value.values(batch), value.scores(batch))
        policy_loss = ppo_loss.policy_losses(new, first, gains, recipe.clip)[mask].mean()
        value_loss = ppo_loss.value_losses(values, old, returns, recipe.value_clip)[longer].mean()
        torch.autograd.backward(policy_loss + recipe.value_coefficient * value_loss)
        optimizer.step()
        optimizer.zero_grad()
        policy_losses.append(policy_loss.detach())
        value_losses.append(value_loss.detach())
    return Update(
        gains[mask],
        returns[longer],
        torch.stack(policy_losses),
        torch.stack(value_losses),
        weights(trained),
    )


def apart(ours: Tensor, peer: Tensor) -> float:
    """Relative: the norm of the difference by the norm of the peer's."""
    return float((ours - peer).norm() / peer.norm())


def main() -> None:
    """Compare the two updates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="6m", help="6m, or the directory of a causal LM")
    parser.add_argument("--data", type=Path, help="comparisons in OpenAI's format; without it texts are made up")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="high, so that ratios and values are clipped")
    asked = parser.parse_args()
    pairs = training.pairs(asked.data, DOCUMENTS)
    texts = [text for pair in pairs for text in (pair.preferred_text, pair.other_text)]
    count = len(texts)
    recipe = replace(PpoRecipe(), episodes=count, batch=count, micro_batch=count, learning_rate=asked.learning_rate)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = training.model(asked.model, [pair.query.post for pair in pairs], Path(folder))
        codec = tokens.load(place)
        reward = checkpoints.save(models.new_reward(place, 1, CPU).stock, codec.tokenizer, Path(folder, "reward"))
        policy = checkpoints.save(moved(place), codec.tokenizer, Path(folder, "policy"))
        prompts = [codec.prompt(pair.query, TLDR, PROMPT).tokens for pair in pairs for _ in range(2)]
        full = [codec.summary(text, WIDTH) for text in texts]
        assert {*map(len, full)} == {WIDTH}, "a text is shorter than that"
        limits = (2, 4, 6, 8, 10, 13, WIDTH)
        ragged = [codec.summary(text, limit) for text, limit in zip(texts[:-1], limits, strict=True)]
        unfinished = SummaryTokens(tuple(codec.ids(f" {texts[-1]}")[:WIDTH]))
        for case, summaries, own in (("full", full, as_it_is), ("ragged", [*ragged, unfinished], laid_out)):
            work = Work(prompts, summaries, policy, place, reward, codec, recipe)
            before = work.models()
            assert before.reach, "this model cannot share a document: it would not be seen that sharing is exact"
            start = weights(before)
            found, peer = own(work), theirs(work)
            errors = {
                name: apart(getattr(found, name), getattr(peer, name))
                for name in ("advantages", "returns", "policy_losses", "value_losses")
            }
            worst = max(worst, *errors.values())
            told = {
                "case": case,
                "summary_tokens": [len(each) for each in summaries],
                "kl": float(look(work, before).kl().mean()),
                "policy_losses": found.policy_losses.tolist(),
                "peer_policy_losses": peer.policy_losses.tolist(),
                "value_losses": found.value_losses.tolist(),
                "peer_value_losses": peer.value_losses.tolist(),
                "relative": errors,
                "weights": apart(found.weights - start, peer.weights - start),
                "change": float((peer.weights - start).norm() / start.norm()),
            }
            print(json.dumps(told))
    if worst > ALLOWED:
        raise SystemExit(f"the largest relative error is {worst:.2g}: allowed is {ALLOWED:g}")


if __name__ == "__main__":
    main()
