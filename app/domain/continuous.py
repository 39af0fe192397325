"""Continuous mode: what to do next so that labelers never run out of pairs and rounds follow each other.

Knows the recipe's rule and the counts it looks at. Knows nothing of where the counts come from or how a step is taken.
"""

from dataclasses import dataclass

from app.domain.recipes import ContinuousRecipe, PairingRecipe

# What is left of the label rate at the end of rl-teacher's LabelAnnealer.
LEFT_AT_THE_END = 0.01


@dataclass(frozen=True)
class Counts:
    """How a project stands, in whole numbers from 0.

    `open`: opinions still needed that labelers can give now; `needed`: those that they cannot give now, too. `asked`:
    opinions given since the mode was turned on, and those still needed. `new`: preferences that no round has counted.
    `rounds`: those that the mode launched, the one that goes on included. `fine_tuned`: whether a policy was. `active`:
    a round goes on, or stands still if `paused`. `coming`: pairs are being sampled, or the active round is about to.
    `trouble`: why somebody should look first.
    """

    open: int
    needed: int
    asked: int
    new: int
    rounds: int
    fine_tuned: bool
    active: bool
    paused: bool
    coming: bool
    trouble: str | None


@dataclass(frozen=True)
class Wait:
    """There is nothing to do now."""


@dataclass(frozen=True)
class Sample:
    """Let the current policy write so many pairs."""

    pairs: int


@dataclass(frozen=True)
class Launch:
    """Launch the next round."""


@dataclass(frozen=True)
class Stop:
    """Turn the mode off, for this reason, in sentences."""

    because: str


Step = Wait | Sample | Launch | Stop


def launches_at(rule: ContinuousRecipe, number: int) -> int:
    """How many preferences that no round has counted launch the mode's `number`-th round (from 1); at least 1.

    With `annealed`, `launch_after * 0.01 ** ((number - 1) / most_rounds)`. LabelAnnealer of rl-teacher (Christiano et
    al. 2017) wants `first + (final - first) * (1 - 0.01 ** (t / T))` labels by time t of T. Here a round is a unit of
    time and T is `most_rounds`, so from one round to the next its increments fall by the factor `0.01 ** (1 / T)`.
    """
    if rule.launch_schedule == "constant":
        return rule.launch_after
    left: float = LEFT_AT_THE_END ** ((number - 1) / rule.most_rounds)
    return max(1, round(rule.launch_after * left))


def affordable(rule: ContinuousRecipe, pairing: PairingRecipe, asked: int) -> int:
    """How many pairs the next sampling may put up after `asked` opinions: `rule.pairs`, or what the budget leaves."""
    return max(0, min(rule.pairs, (rule.most_opinions - asked) // pairing.opinions))


def step(rule: ContinuousRecipe, pairing: PairingRecipe, now: Counts) -> Step:
    """What to do next.

    Sampling comes before launching: it takes a worker for minutes, and a round for hours. The first round of a project
    without a fine-tuned policy is launched at once, because it makes the policy that is worth judging.
    """
    if now.trouble is not None:
        return Stop(now.trouble)
    if now.paused:
        return Wait()
    if now.rounds >= rule.most_rounds:
        made = "the one round" if rule.most_rounds == 1 else f"all {rule.most_rounds:,} rounds"
        return Wait() if now.active else Stop(f"It made {made} of its budget (continuous.most_rounds).")
    if not now.fine_tuned and not now.active:
        return Launch()
    pairs = affordable(rule, pairing, now.asked)
    if pairs and not now.coming and now.open < rule.least_open:
        return Sample(pairs)
    if now.active:
        return Wait()
    launches = launches_at(rule, now.rounds + 1)
    if now.new >= launches:
        return Launch()
    if not pairs and not now.coming and not now.needed:
        return Stop(
            f"Its budget of {rule.most_opinions:,} opinions (continuous.most_opinions) is used, and nothing is left to "
            f"judge. New preferences: {now.new:,}; the next round would have begun at {launches:,}."
        )
    return Wait()
