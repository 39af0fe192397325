"""Proximal policy optimisation of the policy against the reward model.

P 3.4, 5 and the checklist N+ 20 to 27: policy from the SFT model (or the current policy), value network from the
reward model, both separate and under one optimizer step; beta fixed; learning rate falling linearly over rollouts. The
loss of a step is a mean over all real tokens of its minibatch, so that micro-batches change memory and nothing else.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

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
    resuming,
    rollouts,
    seeding,
    tokens,
)
from worker.training.batches import Batch
from worker.training.examples import Query
from worker.training.generation import Sample
from worker.training.memory import MicroBatch
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
    state_dir: Path | None = None,
) -> PpoResult:
    """Trains on `recipe.episodes` summaries and writes `out_dir`/policy and `out_dir`/value.

    The queries are gone through in a new order as often as needed. `sampling` gives the limits and the batch to write
    in; its temperature and top_p are not used, PPO has its own. The KL is measured from `sft_dir` even where the
    policy starts from `start_dir`. With a `state_dir` it goes on after a kill, and leaves its models when it is
    cancelled, as `sft.train` does; a kill costs the pass over the rollout in hand, or the writing of its summaries.
    Raises ValueError without queries or when the reward model has another vocabulary, and what `sft.train` raises.
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
    learning = resuming.Learning.of(optimizer, policy=trained.policy, value=trained.value.stock)
    about = {
        "recipe": [recipe.to_dict(), sampling.to_dict(), precision],
        "data": [prompt.tokens for prompt in prompts],
        "seed": seed,
        "SFT model": sft_dir,
        "reward model": reward_dir,
        "first policy": start_dir or sft_dir,
    }
    states = resuming.States(state_dir, about, sink, out_dir)
    states.need_room(learning)
    devices.note(trained.policy, sink)

    def save(place: Path) -> tuple[Path, Path]:
        policy_dir = checkpoints.save(trained.policy, codec.tokenizer, place / "policy")
        return policy_dir, checkpoints.save(trained.value.stock, codec.tokenizer, place / "value")

    with states.leaving(save):
        standing = Standing()
        if (state := states.newest()) is not None:
            state.load(learning)
            loop.micro.shrink(state.facts["micro_batch"])
            standing = Standing.of(state, device)

        def reached(*, learned: bool = True) -> None:
            step = standing.index * recipe.steps + standing.steps
            words = f"step {step} of {recipe.rollouts * recipe.steps}"
            states.reached(
                standing.index * (1 + recipe.steps) + standing.steps + (standing.rollout is not None),
                words if standing.rollout is None else f"{words}, rollout {standing.index + 1} in hand",
                standing.facts() | {"micro_batch": loop.micro.size},
                learning=learning,
                tensors=standing.tensors,
                learned=learned,
                due=standing.steps % (recipe.minibatches * recipe.save_every) == 0,
            )

        taken = standing.index + (standing.rollout is not None)
        stream = itertools.islice(endless(prompts, seed), taken * recipe.queries, None)
        while standing.index < recipe.rollouts:
            index, rollout = standing.index, standing.rollout
            rate = recipe.learning_rate * optimization.share("linear", index, recipe.rollouts)
            optimization.set_learning_rate(optimizer, rate)
            if rollout is None:
                asked = [next(stream) for _ in range(recipe.queries)]
                rollout = loop.roll_out(index, [prompt for prompt in asked for _ in range(recipe.samples_per_query)])
                standing.rollout = rollout
                reached(learned=False)
            described = _described(rollout, recipe, index, sink)
            loop.learn(rollout, standing, reached)
            sink.metric(metrics.PPO_LEARNING_RATE, index, rate)
            sink.metric(metrics.PPO_EPISODES_PER_SECOND, index, recipe.batch / standing.seconds)
            standing = Standing([*standing.history, described])
            reached()
        sink.check()
    policy_dir, value_dir = save(out_dir)
    steps = recipe.rollouts * recipe.steps
    return PpoResult(policy_dir, value_dir, recipe.episodes, steps, tuple(standing.history))


@dataclass
class Standing:
    """Where PPO stands: the rollouts it has finished, and the one in hand once it is written.

    Of that one: the optimizer steps done on it, sums over tokens by metric name, and when it was begun, on a clock that
    stood still while nobody worked on it.
    """

    history: list[RolloutSummary] = field(default_factory=list)
    rollout: Rollout | None = None
    steps: int = 0
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    begun: float = field(default_factory=time.perf_counter)

    @property
    def index(self) -> int:
        """The rollout in hand, or to be written next, counted from 0."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Spent on the rollout in hand."""
        return time.perf_counter() - self.begun

    def facts(self) -> dict[str, Any]:
        """The numbers of it, as JSON."""
        history = [asdict(each) for each in self.history]
        return {"history": history, "steps": self.steps, "sums": dict(self.sums), "seconds": self.seconds}

    def tensors(self) -> dict[str, Tensor]:
        """The rollout in hand, if it is written."""
        return {} if self.rollout is None else self.rollout.to_tensors()

    @classmethod
    def of(cls, state: resuming.State, device: torch.device) -> Self:
        """What `facts` and `tensors` told."""
        told, tensors = state.facts, state.tensors(device)
        return cls(
            [RolloutSummary(**each) for each in told["history"]],
            Rollout.from_tensors(tensors) if tensors else None,
            told["steps"],
            defaultdict(float, told["sums"]),
            time.perf_counter() - told["seconds"],
        )


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
    """What stays the same from rollout to rollout; what `trained`, `optimizer` and `micro` hold changes."""

    trained: Models
    optimizer: torch.optim.Optimizer
    codec: tokens.Codec
    recipe: PpoRecipe
    decoding: SamplingRecipe
    precision: Precision
    seed: int
    sink: metrics.Sink
    micro: MicroBatch = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "micro", MicroBatch(self.recipe.micro_batch, self.sink))

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

    def learn(self, rollout: Rollout, standing: Standing, reached: Callable[[], None]) -> None:
        """The steps over one rollout that are left, each epoch in a new order; calls `reached` between them.

        The summaries of one document stay together: they share its reading in every step.
        """
        recipe, index = self.recipe, standing.index
        each = recipe.samples_per_query
        gains, returns = targets(rollout, recipe)
        self.sink.metric(metrics.PPO_EXPLAINED_VARIANCE, index, _explained(rollout, returns))
        for step in range(standing.steps, recipe.steps):
            epoch, part = divmod(step, recipe.minibatches)
            order = seeding.shuffled(recipe.queries, self.seed, "minibatches", index, epoch)
            rows = [row for query in order for row in range(query * each, (query + 1) * each)]
            rows = rows[part * recipe.minibatch : (part + 1) * recipe.minibatch]
            for name, total in self.step(rollout, gains, returns, rows).items():
                standing.sums[name] += total
            standing.steps = step + 1
            if part + 1 == recipe.minibatches:
                self._tell(index, 3 + epoch, f"learned, epoch {epoch + 1} of {recipe.epochs}")
            if step + 1 < recipe.steps:
                reached()
        for name, total in standing.sums.items():
            self.sink.metric(name, index, total / (recipe.epochs * int(rollout.mask.sum())))

    def step(self, rollout: Rollout, gains: Tensor, returns: Tensor, rows: Sequence[int]) -> dict[str, float]:
        """One optimizer step of policy and value on some episodes. Gives sums over their real tokens by metric name.

        The loss is the mean over the real tokens of all rows: policy loss + value_coefficient * value loss.
        """
        real = int(rollout.mask[list(rows)].sum())
        device, pad, reach = rollout.mask.device, self.codec.pad, self.trained.reach

        def gradients(size: int) -> dict[str, float]:
            sums: defaultdict[str, float] = defaultdict(float)
            with devices.autocast(device, self.precision):
                for chosen, batch in rollout.micro_batches(rows, size, pad, reach):
                    self.sink.check()
                    # One network after the other: the activations of only one are held.
                    for loss, weight, look in (
                        (metrics.PPO_POLICY_LOSS, 1.0, self._policy),
                        (metrics.PPO_VALUE_LOSS, self.recipe.value_coefficient, self._value),
                    ):
                        found = look(rollout, gains, returns, chosen, batch)
                        devices.backward(weight * found[loss] / real)
                        for name, total in found.items():
                            sums[name] += optimization.finite(total.detach(), f"PPO, {name}")
            return dict(sums)

        sums = self.micro.fitted(self.optimizer, gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return sums

    def _policy(
        self, rollout: Rollout, gains: Tensor, returns: Tensor, rows: Sequence[int], batch: Batch
    ) -> dict[str, Tensor]:
        """The policy loss, with its graph, and what else is counted, without: () sums over real tokens."""
        new = logprobs.of_summaries(self.trained.policy, batch, self.recipe.temperature)
        seen, old, gain = new.detach(), rollout.logprobs[rows, : batch.width], gains[rows, : batch.width]
        return _sums(
            batch,
            {
                metrics.PPO_POLICY_LOSS: ppo_loss.policy_losses(new, old, gain, self.recipe.clip),
                metrics.PPO_CLIP_FRACTION: ppo_loss.policy_clipped(seen, old, gain, self.recipe.clip).float(),
                metrics.PPO_STEP_KL: ppo_loss.step_kl(seen, old),
            },
        )

    def _value(
        self, rollout: Rollout, gains: Tensor, returns: Tensor, rows: Sequence[int], batch: Batch
    ) -> dict[str, Tensor]:
        """The value loss, with its graph, and what else is counted, without: () sums over real tokens."""
        new = self.trained.value.values(batch)
        seen, old, goal = new.detach(), rollout.values[rows, : batch.width], returns[rows, : batch.width]
        return _sums(
            batch,
            {
                metrics.PPO_VALUE_LOSS: ppo_loss.value_losses(new, old, goal, self.recipe.value_clip),
                metrics.PPO_VALUE_CLIP_FRACTION: ppo_loss.value_clipped(
                    seen, old, goal, self.recipe.value_clip
                ).float(),
            },
        )


def _sums(batch: Batch, by_token: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
