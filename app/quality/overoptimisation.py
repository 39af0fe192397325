"""Whether a policy pleases its reward model at the expense of people: four rules, each a sentence when it strikes.

Knows series of a PPO run, a reward model's agreement with labelers, and what people said of earlier policies. Knows
nothing of where they come from, and stops nothing.

The study shows what is looked for (P 4.3, Fig. 5): further from the fine-tuned policy the preference that the reward
model predicts goes on rising, while the preference of people rises, then falls, until the two are anti-correlated. The
reward alone cannot show it, because it is what rises. So the rules look at distance, at length (which P App. F and
"Secrets of RLHF" find to be what is gained first), and at people wherever there are answers of theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from app.domain.intervals import Z95, Estimate

NEWEST = 3
"""The KL of so many rollouts is averaged: one rollout alone strays."""
LEAST_ROLLOUTS = 8
"""Fewer rollouts than this have no beginning and no end to compare."""


def too_far(kl: Sequence[float], limit: float) -> str | None:
    """The KL of the newest rollouts, in nats from the fine-tuned policy, is above a limit (see promotion.most_kl)."""
    if not kl:
        return None
    newest = kl[-NEWEST:]
    mean = sum(newest) / len(newest)
    if mean <= limit:
        return None
    over = "in the last rollout" if len(newest) == 1 else f"over the last {len(newest)} rollouts"
    return (
        f"The policy is far from the fine-tuned one: its KL was {mean:.1f} nats {over}, above {limit:g}. So far out, "
        "what the reward model predicts and what people prefer have parted before."
    )


def only_longer(score: Sequence[float], score_at_first_length: Sequence[float], length: Sequence[float]) -> str | None:
    """The score has risen, the length too, and at the length of the beginning the score has not: all was length.

    One entry for each rollout in all three. The first quarter is compared with the last; that the score has risen is
    judged by the 95 % interval of the difference of the means (Welch 1947).
    """
    count = len(score)
    if count < LEAST_ROLLOUTS:
        return None
    part = max(NEWEST, count // 4)
    (before, spread_before), (after, spread_after) = (
        (float(np.mean(each)), float(np.var(each, ddof=1)) / part) for each in (score[:part], score[-part:])
    )
    risen = after - before
    at_length = float(np.mean(score_at_first_length[-part:]) - np.mean(score_at_first_length[:part]))
    longer = float(np.mean(length[-part:]) - np.mean(length[:part]))
    if risen <= Z95 * sqrt(spread_before + spread_after) or at_length > 0 or longer <= 0:
        return None
    return (
        f"The policy only writes longer: its score rose by {risen:.2f} while its summaries grew by {longer:.1f} "
        f"tokens, and at the length of the beginning the score did not rise ({at_length:+.2f})."
    )


def against_people(accuracy: Estimate) -> str | None:
    """On held-out pairs the reward model prefers what labelers do not: the whole interval is below one half."""
    if accuracy.value is None or accuracy.high is None or accuracy.high >= 0.5:
        return None
    return (
        f"The reward model is against people: it agrees with labelers on {accuracy.value:.0%} of {accuracy.n:,} "
        f"held-out pairs (95 % interval up to {accuracy.high:.0%}), less often than a coin."
    )


@dataclass(frozen=True)
class Standing:
    """A policy among others: how far from the fine-tuned one, and how often it is preferred to the references.

    `predicted` by its reward model, `people` by people; `kl` in nats.
    """

    name: str
    kl: float
    predicted: float
    people: Estimate


def fallen(now: Standing, earlier: Sequence[Standing]) -> str | None:
    """People prefer it less than an earlier policy that was nearer and of which its reward model expected no more.

    That they do is judged by the 95 % interval of the difference of the two win rates (Newcombe 1998, his method 10).
    """
    for each in sorted(earlier, key=lambda standing: -(standing.people.value or 0.0)):
        if each.kl <= now.kl and each.predicted <= now.predicted and _above(each.people, now.people):
            return (
                f"People like it less and the reward model does not: {now.people.value:.0%} of {now.people.n:,} pairs "
                f"against the references, after {each.people.value:.0%} of {each.people.n:,} for {each.name}, while "
                f"the reward model predicts {now.predicted:.0%} after {each.predicted:.0%}. This is over-optimisation."
            )
    return None


def _above(one: Estimate, other: Estimate) -> bool:
    if one.value is None or one.low is None or other.value is None or other.high is None:
        return False
    return one.value - other.value > sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
