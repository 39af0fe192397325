"""Proximal policy optimisation of the policy against the reward model.

P 3.4, 5 and the checklist N+ 20 to 27: policy from the SFT model (or the current policy), value network from the
reward model, both separate and under one optimizer step; beta fixed; learning rate falling linearly over rollouts. The
loss of a step is a mean over all real tokens of its minibatch, so that micro-batches change memory and nothing else.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import PpoRecipe, Precision, SamplingRecipe
from worker.training import (
    advantages,
    checkpoints,
    devices,
    generation,
    logprobs,
    metrics,
    models,
    optimization,
    ppo_loss,
    rollouts,
    seeding,
    tokens,
)
from worker.training.batches import length_sorted
from worker.training.examples import Query
from worker.training.generation import Sample
from worker.training.rollouts import Models, Rollout
from worker.training.tokens import Prompt


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """One rollout in numbers: means over its episodes, as written, before learning from them."""

    score: float
    kl: float
    reward: float
    length: float
    without_eos: float


@dataclass(frozen=True, slots=True)
class PpoResult:
    """What PPO did. `history` has one entry per rollout; `steps` counts optimizer steps."""

    policy_dir: Path
    value_dir: Path
    episodes: int
    steps: int
    history: tuple[RolloutSummary, ...]


def train(
    sft_dir: Path,
    reward_dir: Path,
    queries: Sequence[Query],
    recipe: PpoRecipe,
    *,
    sampling: SamplingRecipe,
    precision: Precision,
    seed: int,
    out_dir: Path,
    sink: metrics.Sink,
    start_dir: Path | None = None,
    template: PromptTemplate = TLDR,
) -> PpoResult:
    """Trains on `recipe.episodes` summaries and writes `out_dir`/policy and `out_dir`/value.

    The queries are gone through in a new order as often as needed. `sampling` gives the limits and the batch to write
    in; its temperature and top_p are not used, PPO has its own. The KL is measured from `sft_dir` even where the
    policy starts from `start_dir`. Raises ValueError without queries or when the reward model has another vocabulary,
    and what `sft.train` raises.
    """
    if not queries:
        raise ValueError("there is no document to write summaries of")
    device = devices.best()
    codec = tokens.load(sft_dir)
    codec.require_same(tokens.load(reward_dir))
    trained = Models(
        policy=models.load_policy(start_dir or sft_dir, device),
        value=models.load_reward(reward_dir, device),
        reference=models.load_policy(sft_dir, device),
        reward=models.load_reward(reward_dir, device),
    )
    prompts = [codec.prompt(query, template, sampling.max_query_tokens) for query in queries]
    models.check_length(trained.value.stock, max(len(each.tokens) for each in prompts) + sampling.max_summary_tokens)
    decoding = replace(sampling, temperature=recipe.temperature, top_p=1.0)
    parameters = [*trained.policy.parameters(), *trained.value.parameters()]
    optimizer = optimization.adam(parameters, recipe.learning_rate, recipe.adam_eps)
    loop = Loop(trained, optimizer, codec, recipe, decoding, precision, seed, sink)
    stream = endless(prompts, seed)
    history = []
    for index in range(recipe.rollouts):
        started = time.perf_counter()
        rate = recipe.learning_rate * optimization.share("linear", index, recipe.rollouts)
        optimization.set_learning_rate(optimizer, rate)
        rollout = loop.roll_out(index, [next(stream) for _ in range(recipe.batch)])
        history.append(_described(rollout, recipe, index, sink))
        loop.learn(index, rollout)
        sink.metric(metrics.PPO_LEARNING_RATE, index, rate)
        sink.metric(metrics.PPO_EPISODES_PER_SECOND, index, recipe.batch / (time.perf_counter() - started))
    sink.check()
    policy_dir = checkpoints.save(trained.policy, codec.tokenizer, out_dir / "policy")
    value_dir = checkpoints.save(trained.value.stock, codec.tokenizer, out_dir / "value")
    steps = recipe.rollouts * recipe.epochs * recipe.minibatches
    return PpoResult(policy_dir, value_dir, recipe.episodes, steps, tuple(history))


def endless(prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
    """All prompts in an order of their own, then all again in another, for ever."""
    for epoch in itertools.count():
        for index in seeding.shuffled(len(prompts), seed, "ppo", epoch):
            yield prompts[index]


def targets(rollout: Rollout, recipe: PpoRecipe) -> tuple[Tensor, Tensor]:
    """(N, S) advantages and returns, 0 on padding, whitened as the recipe says. Returns come before whitening."""
    rewards = rollout.rewards(recipe.kl_coefficient)
    if recipe.whiten_rewards:
        rewards = advantages.whiten(rewards, rollout.mask, shift_mean=False)
    gains, returns = advantages.estimate(rewards, rollout.values, rollout.mask, recipe.gamma, recipe.gae_lambda)
    return (advantages.whiten(gains, rollout.mask) if recipe.whiten_advantages else gains), returns


@dataclass(frozen=True)
class Loop:
    """What stays the same from rollout to rollout; the weights inside `trained` and `optimizer` change."""

    trained: Models
    optimizer: torch.optim.Optimizer
    codec: tokens.Codec
    recipe: PpoRecipe
    decoding: SamplingRecipe
    precision: Precision
    seed: int
    sink: metrics.Sink

    def _tell(self, index: int, part: int, what: str) -> None:
        parts, rounds = 2 + self.recipe.epochs, self.recipe.rollouts
        self.sink.progress(index * parts + part, rounds * parts, f"rollout {index + 1} of {rounds}: {what}")

    def roll_out(self, index: int, prompts: Sequence[Prompt]) -> Rollout:
        """The policy writes one summary per prompt, and all four models look at them."""
        seeds = [seeding.derive(self.seed, "episode", index, row) for row in range(len(prompts))]
        written: dict[int, Sample] = {}
        for group in generation.write(
            self.trained.policy, self.codec, prompts, self.decoding, seeds, self.precision, self.sink
        ):
            written |= group
        self._tell(index, 1, "written")
        summaries = [written[row].tokens for row in range(len(prompts))]
        asked = [prompt.tokens for prompt in prompts]
        rollout = rollouts.look(self.trained, self.codec, asked, summaries, self.recipe, self.precision, self.sink)
        self._tell(index, 2, "scored")
        return rollout

    def learn(self, index: int, rollout: Rollout) -> None:
        """All epochs over one rollout, each in a new order of minibatches."""
        recipe = self.recipe
        gains, returns = targets(rollout, recipe)
        self.sink.metric(metrics.PPO_EXPLAINED_VARIANCE, index, _explained(rollout, returns))
        totals: defaultdict[str, float] = defaultdict(float)
        for epoch in range(recipe.epochs):
            order = seeding.shuffled(recipe.batch, self.seed, "minibatches", index, epoch)
            for start in range(0, recipe.batch, recipe.minibatch):
                for name, total in self.step(rollout, gains, returns, order[start : start + recipe.minibatch]).items():
                    totals[name] += total
            self._tell(index, 3 + epoch, f"learned, epoch {epoch + 1} of {recipe.epochs}")
        for name, total in totals.items():
            self.sink.metric(name, index, total / (recipe.epochs * int(rollout.mask.sum())))

    def step(self, rollout: Rollout, gains: Tensor, returns: Tensor, rows: Sequence[int]) -> dict[str, float]:
        """One optimizer step of policy and value on some episodes. Gives sums over their real tokens by metric name.

        The loss is the mean over the real tokens of all rows: policy loss + value_coefficient * value loss.
        """
        real = int(rollout.mask[list(rows)].sum())
        lengths = rollout.lengths
        sums: defaultdict[str, float] = defaultdict(float)
        for group in length_sorted([lengths[row] for row in rows], self.recipe.micro_batch):
            self.sink.check()
            losses = self._losses(rollout, gains, returns, [rows[place] for place in group])
            loss = losses[metrics.PPO_POLICY_LOSS] + self.recipe.value_coefficient * losses[metrics.PPO_VALUE_LOSS]
            torch.autograd.backward(loss / real)
            for name, total in losses.items():
                sums[name] += optimization.finite(total.detach(), f"PPO, {name}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return dict(sums)

    def _losses(self, rollout: Rollout, gains: Tensor, returns: Tensor, rows: Sequence[int]) -> dict[str, Tensor]:
        """Both losses, with their graphs, and what else is counted, without: () sums over real tokens."""
        recipe, batch = self.recipe, rollout.batch(rows, self.codec.pad)
        old, before, gain, goal = (
            each[rows, : batch.width] for each in (rollout.logprobs, rollout.values, gains, returns)
        )
        with devices.autocast(rollout.mask.device, self.precision):
            new = logprobs.of_summaries(self.trained.policy, batch, recipe.temperature)
            value = self.trained.value.values(batch)
        seen, guessed = new.detach(), value.detach()
        by_token = {
            metrics.PPO_POLICY_LOSS: ppo_loss.policy_losses(new, old, gain, recipe.clip),
            metrics.PPO_VALUE_LOSS: ppo_loss.value_losses(value, before, goal, recipe.value_clip),
            metrics.PPO_CLIP_FRACTION: ppo_loss.policy_clipped(seen, old, gain, recipe.clip).float(),
            metrics.PPO_VALUE_CLIP_FRACTION: ppo_loss.value_clipped(guessed, before, goal, recipe.value_clip).float(),
            metrics.PPO_STEP_KL: ppo_loss.step_kl(seen, old),
        }
        return {name: torch.where(batch.summary_mask, each, 0.0).sum() for name, each in by_token.items()}


def _described(rollout: Rollout, recipe: PpoRecipe, index: int, sink: metrics.Sink) -> RolloutSummary:
    kl = rollout.kl()
    described = RolloutSummary(
        score=float(rollout.scores.mean()),
        kl=float(kl.mean()),
        reward=float((rollout.scores - recipe.kl_coefficient * kl).mean()),
        length=float(rollout.mask.sum(1).float().mean()),
        without_eos=1.0 - float(rollout.finished.float().mean()),
    )
    sink.metric(metrics.PPO_SCORE, index, described.score)
    sink.metric(metrics.PPO_KL, index, described.kl)
    sink.metric(metrics.PPO_REWARD, index, described.reward)
    sink.metric(metrics.PPO_LENGTH, index, described.length)
    sink.metric(metrics.PPO_WITHOUT_EOS, index, described.without_eos)
    sink.metric(metrics.PPO_ENTROPY, index, -float(advantages.masked_mean(rollout.logprobs, rollout.mask)))
    return described


def _explained(rollout: Rollout, returns: Tensor) -> float:
    """1 - var(returns - values) / var(returns) over real tokens; 0 when the returns do not vary."""
    real = returns[rollout.mask]
    spread = float(real.var(correction=0))
    return 1.0 - float((real - rollout.values[rollout.mask]).var(correction=0)) / spread if spread > 0 else 0.0
