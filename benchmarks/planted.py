"""Answers of labelers whose skill and bias are known, for the noisy Bradley-Terry fit to find again.

Knows the model of app.quality.skill from its giving end. Knows nothing of the fit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Planted:
    """Answers, one entry each, and the skill and bias of each labeler behind them."""

    items: npt.NDArray[np.int64]
    labelers: npt.NDArray[np.int64]
    swapped: npt.NDArray[np.bool_]
    first_shown: npt.NDArray[np.bool_]
    skill: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]


def planted(
    rng: np.random.Generator, *, labelers: int = 20, answers: int = 300, opinions: int = 5, spread: float = 3.0
) -> Planted:
    """Labelers with skill 0.6 to 1, who when not looking press A 20 to 80 % of the time; comparisons are normal.

    Each comparison gets `opinions` of different labelers; that number must divide `labelers`, so that all answer alike.
    """
    if labelers % opinions:
        raise ValueError("opinions must divide labelers")
    skill, first = rng.uniform(0.6, 1.0, labelers), rng.uniform(0.2, 0.8, labelers)
    comparisons = labelers * answers // opinions
    items = np.repeat(np.arange(comparisons), opinions)
    who = np.concatenate([rng.permutation(labelers) for _ in range(answers)])
    odds = rng.normal(0, spread, comparisons)[items]
    swapped = rng.random(len(items)) < 0.5
    prefers_first_shown = rng.random(len(items)) < 1 / (1 + np.exp(np.where(swapped, odds, -odds)))
    looked = rng.random(len(items)) < skill[who]
    pressed = np.where(looked, prefers_first_shown, rng.random(len(items)) < first[who])
    return Planted(items, who, swapped, pressed, skill, (1 - skill) * (2 * first - 1))
