"""Proximal policy optimisation of the policy against the reward model.

P 3.4, 5 and the checklist N+ 20 to 27: policy from the SFT model (or the current policy), value network from the
reward model, both separate and under one optimizer step; beta fixed; learning rate falling linearly over rollouts. The
loss of a step is a mean over all real tokens of its minibatch, so that micro-batches change memory and nothing else.
Where the recipe estimates advantages without a value network, there is none, and all else is the same.
"""

import functools
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
    devices,
    generation,
    logprobs,
    metrics,
    models,
    optimization,
    ppo_loss,
    processes,
    recomputing,
    resuming,
    rollouts,
    seeding,
    tokens,
    watches,
)
from worker.training.batches import Batch
from worker.training.examples import Query
from worker.training.memory import MicroBatch
from worker.training.models import ScalarModel
from worker.training.rollouts import Models, Rollout
from worker.training.tokens import Prompt
from worker.training.watches import RolloutSummary


@dataclass(frozen=True, slots=True)
class PpoResult:
    """What PPO did. `history` has one entry per rollout; `episodes` were learned from in `steps` optimizer steps.

    `value_dir` is None where no value network was trained. `stopped` says why it ended before the recipe's last
    rollout; None when it did not.
    """

    policy_dir: Path
    value_dir: Path | None
    episodes: int
    steps: int
    history: tuple[RolloutSummary, ...]
    stopped: str | None


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
    held_out: Sequence[Query] = (),
    template: PromptTemplate = TLDR,
    state_dir: Path | None = None,
) -> PpoResult:
    """Trains on `recipe.episodes` summaries and writes `out_dir`/policy and, if one was trained, `out_dir`/value.

    The queries are gone through in a new order as often as needed. `sampling` gives the limits and the batch to write
    in; its temperature and top_p are not used, PPO has its own. The KL is measured from `sft_dir` even where the
    policy starts from `start_dir`. The first `recipe.preference_documents` of the `held_out` documents are those of the
    preference estimate, if the recipe stops by it; nothing is learned from them. A stop leaves policy and value as they
    are then. With a `state_dir` it goes on after a kill, and leaves its models when it is cancelled, as `sft.train`
    does; a kill costs the pass over the rollout in hand, or the writing of its summaries. Raises ValueError without
    queries or needed held-out documents or when the reward model has another vocabulary, NoLayers, CannotAdapt, and
    what `sft.train` raises.
    """
    if not queries:
        raise ValueError("there is no document to write summaries of")
    if recipe.stop_preference_drop is not None and not held_out:
        raise ValueError("there is no held-out document to estimate the preference on: leave out stop_preference_drop")
    device = devices.best()
    codec = tokens.load(sft_dir)
    codec.require_same(tokens.load(reward_dir))
    trained = Models.load(start_dir or sft_dir, sft_dir, reward_dir, recipe, device, seed)
    if recipe.checkpointing:
        for each in trained.learning().values():
            recomputing.put_in_force(each)
    trained.deal_out()
    reader = tokens.Reader(codec, template, sampling.max_query_tokens)
    prompts, kept_out = (
        [reader.prompt(query) for query in asked] for asked in (queries, held_out[: recipe.preference_documents])
    )
    reader.note_documents(sink)
    longest = max(len(each.tokens) for each in [*prompts, *kept_out])
    models.check_length(trained.reward.stock, longest + sampling.max_summary_tokens)
    decoding = replace(sampling, temperature=recipe.temperature, top_p=1.0)
    parameters = itertools.chain.from_iterable(each.parameters() for each in trained.learning().values())
    optimizer = optimization.adam(parameters, recipe.learning_rate, recipe.adam_eps)
    loop = Loop(trained, optimizer, codec, recipe, decoding, precision, seed, sink)
    learning = resuming.Learning.of(optimizer, **trained.learning())
    about = {
        "recipe": [recipe.decisive(), sampling.decisive(), precision],
        "data": [len(prompts), *(prompt.tokens for prompt in [*prompts, *kept_out])],
        "seed": seed,
        "SFT model": sft_dir,
        "reward model": reward_dir,
        "first policy": start_dir or sft_dir,
    }
    states = resuming.States(state_dir, about, recipe.memory() | {"sampling.batch": sampling.batch}, sink, out_dir)
    states.need_room(learning)
    devices.note(trained.policy, sink, *trained.learning().values())
    greedy = replace(decoding, temperature=0.0)
    watched = watches.HeldOut(trained, codec, kept_out, recipe, greedy, precision, sink)

    def save(place: Path) -> dict[str, Path]:
        return trained.save(codec.tokenizer, place, merge=recipe.lora_merge)

    with states.leaving(save):
        standing = Standing()
        if (state := states.newest()) is not None:
            state.load(learning)
            loop.micro.resume(state.facts["micro_batch"])
            standing = Standing.of(state, device)

        def reached(*, learned: bool = True) -> None:
            step = standing.index * recipe.steps + standing.steps
            words = f"step {step} of {recipe.rollouts * recipe.steps}"
            states.reached(
                standing.index * (1 + recipe.steps) + standing.steps + (standing.rollout is not None),
                words if standing.rollout is None else f"{words}, rollout {standing.index + 1} in hand",
                standing.facts() | {"micro_batch": loop.micro.facts()},
                learning=learning,
                tensors=standing.tensors,
                learned=learned,
                due=standing.steps % (recipe.minibatches * recipe.save_every) == 0,
            )

        taken = standing.index + (standing.rollout is not None)
        stream = itertools.islice(endless(prompts, seed), taken * recipe.queries, None)
        stopped, unlearned = None, list[RolloutSummary]()
        while standing.index < recipe.rollouts:
            index, rollout = standing.index, standing.rollout
            rate = recipe.learning_rate * optimization.share("linear", index, recipe.rollouts)
            optimization.set_learning_rate(optimizer, rate)
            if (stopped := watched.why_stop(index, standing.preferences)) is not None:
                break
            if rollout is None:
                asked = [next(stream) for _ in range(recipe.queries)]
                rollout = loop.roll_out(index, [prompt for prompt in asked for _ in range(recipe.samples_per_query)])
                standing.rollout = rollout
                reached(learned=False)
            described = watches.describe(rollout, recipe, standing.history, sink)
            if (stopped := watches.too_far(described, recipe, index)) is not None:
                unlearned.append(described)
                break
            loop.learn(rollout, standing, reached)
            sink.metric(metrics.PPO_LEARNING_RATE, index, rate)
            sink.metric(metrics.PPO_EPISODES_PER_SECOND, index, recipe.batch / standing.seconds)
            standing = Standing([*standing.history, described], standing.preferences)
            reached()
        sink.check()
    written, learned = save(out_dir), standing.index
    return PpoResult(
        policy_dir=written["policy"],
        value_dir=written.get("value"),
        episodes=learned * recipe.batch,
        steps=learned * recipe.steps,
        history=(*standing.history, *unlearned),
        stopped=stopped,
    )


@dataclass
class Standing:
    """Where PPO stands: the rollouts it has finished, and the one in hand once it is written.

    Of that one: the optimizer steps done on it, sums over tokens by metric name, and when it was begun, on a clock that
    stood still while nobody worked on it. `preferences` are all estimates so far.
    """

    history: list[RolloutSummary] = field(default_factory=list)
    preferences: list[float] = field(default_factory=list)
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
        return {
            "history": [asdict(each) for each in self.history],
            "preferences": [*self.preferences],
            "steps": self.steps,
            "sums": dict(self.sums),
            "seconds": self.seconds,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The rollout in hand, if it is written."""
        return {} if self.rollout is None else self.rollout.to_tensors()

    @classmethod
    def of(cls, state: resuming.State, device: torch.device) -> Self:
        """What `facts` and `tensors` told."""
        told, tensors = state.facts, state.tensors(device)
        return cls(
            [RolloutSummary(**each) for each in told["history"]],
            told["preferences"],
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


def targets(rollout: Rollout, recipe: PpoRecipe) -> tuple[Tensor, Tensor | None]:
    """(N, S) advantages and returns, 0 on padding, whitened as the recipe says. Returns come before whitening.

    Without a value network, which alone learns from them, there are no returns.
    """
    rewards, returns = rollout.rewards(recipe.kl_coefficient), None
    if recipe.whiten_rewards:
        rewards = advantages.whiten(rewards, rollout.mask, shift_mean=False)
    if rollout.values is None:
        gains = advantages.leave_one_out(rewards, rollout.mask, recipe.samples_per_query)
    else:
        gains, returns = advantages.estimate(rewards, rollout.values, rollout.mask, recipe.gamma, recipe.gae_lambda)
    return (advantages.whiten(gains, rollout.mask) if recipe.whiten_advantages else gains), returns


_Look = tuple[str, float, Callable[[Rollout, Sequence[int], Batch], dict[str, Tensor]]]
"""The metric that is a loss, its weight, and what gives it and others for some rows of a rollout as a batch."""


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
        """The policy writes one summary per prompt, and all models look at them."""
        seeds = [seeding.derive(self.seed, "episode", index, row) for row in range(len(prompts))]
        written = generation.write_all(
            self.trained.policy, self.codec, prompts, self.decoding, seeds, self.precision, self.sink
        )
        self._tell(index, 1, "written")
        summaries = [each.tokens for each in written]
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
        if returns is not None and rollout.values is not None:
            explained = watches.explained_variance(returns[rollout.mask], rollout.values[rollout.mask])
            self.sink.metric(metrics.PPO_EXPLAINED_VARIANCE, index, explained)
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

    def step(self, rollout: Rollout, gains: Tensor, returns: Tensor | None, rows: Sequence[int]) -> dict[str, float]:
        """One optimizer step of policy and value on some episodes. Gives sums over their real tokens by metric name.

        The loss is the mean over the real tokens of all rows: policy loss + value_coefficient * value loss, or the
        policy loss alone where there is no value network.
        """
        real = int(rollout.mask[list(rows)].sum())
        device, pad, reach = rollout.mask.device, self.codec.pad, self.trained.reach
        looks: list[_Look] = [(metrics.PPO_POLICY_LOSS, 1.0, functools.partial(self._policy, gains))]
        if self.trained.value is not None and returns is not None:
            look = functools.partial(self._value, self.trained.value, returns)
            looks.append((metrics.PPO_VALUE_LOSS, self.recipe.value_coefficient, look))

        def gradients(size: int) -> dict[str, float]:
            sums: defaultdict[str, float] = defaultdict(float)
            groups = rollout.micro_batches(rows, processes.at_once(size, len(rows)), pad, reach)
            with devices.autocast(device, self.precision):
                for (chosen, batch), part in processes.dealt(groups):
                    self.sink.check()
                    # One network after the other: the activations of only one are held.
                    for loss, weight, look in looks:
                        found = look(rollout, chosen, batch)
                        devices.backward(part * weight * found[loss] / real)
                        for name, total in found.items():
                            sums[name] += part * optimization.finite(total.detach(), f"PPO, {name}")
            totals = processes.summed(torch.tensor([*sums.values()], dtype=torch.float64)).tolist()
            return dict(zip(sums, totals, strict=True))

        sums = self.micro.fitted(self.optimizer, gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return sums

    def _policy(self, gains: Tensor, rollout: Rollout, rows: Sequence[int], batch: Batch) -> dict[str, Tensor]:
        """The policy loss, with its graph, and what else is counted, without: () sums over real tokens."""
        new = logprobs.of_summaries(self.trained.policy, batch, self.recipe.temperature)
        seen, old, gain = new.detach(), rollout.logprobs[rows, : batch.width], gains[rows, : batch.width]
        clip = self.recipe.clip
        return _sums(
            batch,
            {
                metrics.PPO_POLICY_LOSS: ppo_loss.policy_losses(new, old, gain, clip),
                metrics.PPO_CLIP_FRACTION: ppo_loss.policy_clipped(seen, old, gain, clip).float(),
                metrics.PPO_STEP_KL: ppo_loss.step_kl(seen, old),
            },
        )

    def _value(
        self, network: ScalarModel, returns: Tensor, rollout: Rollout, rows: Sequence[int], batch: Batch
    ) -> dict[str, Tensor]:
        """The value loss, with its graph, and what else is counted, without: () sums over real tokens."""
        assert rollout.values is not None, "the value network looked at the rollout"
        new = network.values(batch)
        seen, old, goal = new.detach(), rollout.values[rows, : batch.width], returns[rows, : batch.width]
        clip = self.recipe.value_clip
        return _sums(
            batch,
            {
                metrics.PPO_VALUE_LOSS: ppo_loss.value_losses(new, old, goal, clip),
                metrics.PPO_VALUE_CLIP_FRACTION: ppo_loss.value_clipped(seen, old, goal, clip).float(),
            },
        )


def _sums(batch: Batch, by_token: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.where(batch.summary_mask, each, 0.0).sum() for name, each in by_token.items()}
