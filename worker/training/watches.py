"""What PPO is watched by: a rollout in numbers, a preference estimate on held-out documents, and when to stop early.

Knows rollouts and the judge. Changes no weight. Score and loss alone do not reveal a policy that collapses or that has
found what the reward model gets wrong; distance, length, repetition and endings may (MOSS, Secrets of RLHF part I).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from app.domain.recipes import PpoRecipe, Precision, SamplingRecipe
from worker.training import advantages, generation, metrics, rollouts, seeding, tokens
from worker.training.rollouts import Models, Rollout
from worker.training.tokens import Prompt

REPEATED = 4
"""Tokens in a row that count as a repetition when they come again."""


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """One rollout in numbers: means over its episodes, as written, before learning from them.

    `log_length` is the mean natural logarithm of the tokens of summaries that ended; None when none did.
    """

    score: float
    kl: float
    reward: float
    length: float
    without_eos: float
    repetition: float
    log_length: float | None


def describe(
    rollout: Rollout, recipe: PpoRecipe, history: Sequence[RolloutSummary], sink: metrics.Sink
) -> RolloutSummary:
    """The rollout in numbers, told to the sink; `history` has those before it."""
    kl, index, lengths = rollout.kl(), len(history), rollout.mask.sum(1).float()
    ended, ended_scores = lengths[rollout.finished].log(), rollout.scores[rollout.finished]
    described = RolloutSummary(
        score=float(rollout.scores.mean()),
        kl=float(kl.mean()),
        reward=float((rollout.scores - recipe.kl_coefficient * kl).mean()),
        length=float(lengths.mean()),
        without_eos=1.0 - float(rollout.finished.float().mean()),
        repetition=sum(map(repetition, rollout.summaries)) / len(rollout.summaries),
        log_length=float(ended.mean()) if len(ended) else None,
    )
    sink.metric(metrics.PPO_SCORE, index, described.score)
    sink.metric(metrics.PPO_KL, index, described.kl)
    sink.metric(metrics.PPO_REWARD, index, described.reward)
    sink.metric(metrics.PPO_LENGTH, index, described.length)
    sink.metric(metrics.PPO_WITHOUT_EOS, index, described.without_eos)
    sink.metric(metrics.PPO_REPETITION, index, described.repetition)
    sink.metric(metrics.PPO_ENTROPY, index, -float(advantages.masked_mean(rollout.logprobs, rollout.mask)))
    if described.log_length is not None:
        slope, correlation = on_length(ended_scores, ended)
        first = next(each.log_length for each in (*history, described) if each.log_length is not None)
        held = float(ended_scores.mean()) + slope * (first - described.log_length)
        sink.metric(metrics.PPO_SCORE_AT_FIRST_LENGTH, index, held)
        sink.metric(metrics.PPO_SCORE_LENGTH_CORRELATION, index, correlation)
    return described


def repetition(summary: Sequence[int]) -> float:
    """Share of the runs of REPEATED tokens in a summary that occurred in it before; 0 for a summary without any.

    1 - different runs / runs: seq-rep-4 of Welleck et al. 2020.
    """
    runs = [*zip(*(summary[start:] for start in range(REPEATED)), strict=False)]
    return 1 - len({*runs}) / len(runs) if runs else 0.0


def on_length(scores: Tensor, log_lengths: Tensor) -> tuple[float, float]:
    """(N,) scores and (N,) log lengths, N >= 1 -> slope of the score by least squares, and Pearson's correlation.

    Both are 0 when lengths do not vary, the correlation also when scores do not. (On the logarithm, as P F controls
    for length.)
    """
    score, length = scores.double() - scores.double().mean(), log_lengths.double() - log_lengths.double().mean()
    together, spread, other = float((score * length).sum()), float((length**2).sum()), float((score**2).sum())
    if not spread:
        return 0.0, 0.0
    return together / spread, together / math.sqrt(spread * other) if other else 0.0


def explained_variance(returns: Tensor, values: Tensor) -> float:
    """1 - var(returns - values) / var(returns), both (T,); 0 when the returns do not vary."""
    spread = float(returns.var(correction=0))
    return 1.0 - float((returns - values).var(correction=0)) / spread if spread > 0 else 0.0


def too_far(described: RolloutSummary, recipe: PpoRecipe, index: int) -> str | None:
    """Why to stop before learning from a rollout: its KL is above the recipe's limit."""
    if recipe.stop_kl is None or described.kl <= recipe.stop_kl:
        return None
    return (
        f"stopped before learning from rollout {index + 1}, because its KL is {described.kl:.2f} nats, "
        f"above ppo.stop_kl ({recipe.stop_kl:g})"
    )


def fallen(estimates: Sequence[float], recipe: PpoRecipe) -> str | None:
    """Why to stop before the next rollout: the newest preference estimate is too far below the best before it."""
    best = max(estimates)
    if recipe.stop_preference_drop is None or best - estimates[-1] <= recipe.stop_preference_drop:
        return None
    now, then = ((place * recipe.preference_every) + 1 for place in (len(estimates) - 1, estimates.index(best)))
    return (
        f"stopped before rollout {now}, because the estimated preference over the SFT policy on held-out documents "
        f"fell from {best:.3f} (before rollout {then}) to {estimates[-1]:.3f}, by more than ppo.stop_preference_drop "
        f"({recipe.stop_preference_drop:g})"
    )


class HeldOut:
    """Documents that PPO never learns from, on which policy and SFT policy write and the reward model compares."""

    def __init__(
        self,
        trained: Models,
        codec: tokens.Codec,
        prompts: Sequence[Prompt],
        recipe: PpoRecipe,
        decoding: SamplingRecipe,
        precision: Precision,
        sink: metrics.Sink,
    ) -> None:
        """`decoding` gives limits and batch; summaries are the likeliest ones, so that no draw moves the estimate."""
        self._trained, self._codec, self._prompts, self._recipe = trained, codec, prompts, recipe
        self._decoding, self._precision, self._sink = decoding, precision, sink
        self._baseline: Tensor | None = None

    def why_stop(self, index: int, estimates: list[float]) -> str | None:
        """Why to stop before this rollout by the preference, which is added to the estimates when it is due.

        None to go on. An estimate that is there already, from before a kill, is not made again.
        """
        every = self._recipe.preference_every
        if self._recipe.stop_preference_drop is None or index % every or len(estimates) > index // every:
            return None
        estimates.append(self.preference(index))
        return fallen(estimates, self._recipe)

    def preference(self, index: int) -> float:
        """Mean over the documents of sigmoid(score of the policy's summary - score of the SFT policy's): in [0, 1].

        It is the probability that the reward model gives to the policy's summary being preferred. A summary that does
        not end scores what it does in a rollout.
        """
        if self._baseline is None:
            self._baseline = self._scores(self._trained.reference)
        estimate = float((self._scores(self._trained.policy) - self._baseline).sigmoid().mean())
        self._sink.metric(metrics.PPO_PREFERENCE, index, estimate)
        return estimate

    def _scores(self, model: Any) -> Tensor:
        seeds = [seeding.derive(0, "greedy", row) for row in range(len(self._prompts))]
        written = generation.write_all(
            model, self._codec, self._prompts, self._decoding, seeds, self._precision, self._sink
        )
        summaries = [each.tokens for each in written]
        asked = [prompt.tokens for prompt in self._prompts]
        return rollouts.judge(
            self._trained.reward, self._codec, asked, summaries, self._recipe, self._precision, self._sink
        )
