"""Which of many candidates are put up: at random, those that tell more with a higher probability, which is known.

Knows scores and numbers. Knows nothing of pairs or of where a score comes from; randomness is an argument. The
probability of each candidate is exact and never 0, so a sum over the chosen, each divided by its probability, is an
unbiased estimate of the sum over all candidates (Horvitz and Thompson 1952).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor
from random import Random


@dataclass(frozen=True)
class Chosen:
    """A candidate that was chosen, by its place, and the probability with which it was: above 0, at most 1.

    `control`: it belongs to the random control arm, into which every candidate comes with the same probability.
    """

    place: int
    propensity: float
    control: bool


def choose(scores: Sequence[float], number: int, control_share: float, random: Random) -> list[Chosen]:
    """Exactly `number` of the candidates (all, where there are no more), in the order of their places.

    `scores` are 0 or above; `control_share` is above 0 and at most 1. Which of the chosen are the control arm is drawn
    afterwards, with the part of each one's probability that is owed to chance: so every candidate is in it with
    probability control_share * number / candidates.
    """
    number = min(number, len(scores))
    if not number:
        return []
    chances = inclusion(scores, number, control_share)
    owed = control_share * number / len(scores)
    return [Chosen(place, chances[place], random.random() * chances[place] < owed) for place in draw(chances, random)]


def inclusion(scores: Sequence[float], number: int, control_share: float) -> list[float]:
    """The probability of each candidate to be one of `number`; they add up to it. 0 < number <= candidates.

    A share of it is the same for all, the rest in proportion to the score (at most 1). No weight 1 / probability is
    then above candidates / (control_share * number).
    """
    even = number / len(scores)
    return [min(1.0, control_share * even + (1 - control_share) * part) for part in _in_proportion(scores, number)]


def _in_proportion(scores: Sequence[float], number: int) -> list[float]:
    """Probabilities in proportion to the scores, but none above 1, that add up to `number`.

    The highest scores are certain as long as their share of what is left is above 1; where all others are 0, these
    share what is left.
    """
    order = sorted(range(len(scores)), key=scores.__getitem__)
    # What the lowest scores add up to, so many of them: summed from below, so that nothing small is lost.
    below = list(accumulate((scores[place] for place in order), initial=0.0))
    left, rest = number, len(order)
    while left and scores[order[rest - 1]] * left >= below[rest]:
        if below[rest] == 0:
            break
        left, rest = left - 1, rest - 1
    found = [1.0] * len(scores)
    for place in order[:rest]:
        found[place] = scores[place] * left / below[rest] if below[rest] else left / rest
    return found


def draw(chances: Sequence[float], random: Random) -> list[int]:
    """Places drawn with exactly these probabilities, in order; as many as they add up to, which is a whole number.

    Systematic sampling in random order (Madow 1949): laid end to end, each takes as much room as its probability, and
    those are drawn in which a point of a grid of width 1 falls, which begins at random.
    """
    order = random.sample(range(len(chances)), len(chances))
    ends = list(accumulate(chances[place] for place in order))
    # Rounding must neither lose nor add the last one.
    scale = round(ends[-1]) / ends[-1]
    start, before = random.random(), -1
    drawn = []
    for place, end in zip(order, ends, strict=True):
        reached = floor(end * scale - start) if place != order[-1] else round(ends[-1]) - 1
        if reached > before:
            drawn.append(place)
        before = reached
    return sorted(drawn)
