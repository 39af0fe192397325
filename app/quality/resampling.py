"""Percentile bootstrap over comparisons, for figures that are decided by sums over comparisons.

Knows that comparisons with the same counts are alike: drawing comparisons anew is drawing how often each pattern of
counts comes up, so that the cost grows with the patterns and not with the answers. Knows nothing of what is counted.
Source: Efron 1979; the percentile interval is Efron and Tibshirani 1993, chapter 13.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.intervals import Estimate

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
LEAST_COMPARISONS = 10
"""Below this many comparisons no interval is given: so few, drawn anew, say too little of what others would be."""


@dataclass(frozen=True)
class Figure:
    """A figure as sums: `parts` has a row for each comparison, `of` makes the figure from a sum of rows (last axis).

    `of` gives nan where the figure has no value. `counted` says which comparisons the figure's n counts.
    """

    parts: Floats
    of: Callable[[Floats], Floats]
    counted: npt.NDArray[np.bool_]


def patterns(counts: Counts) -> tuple[Counts, Counts]:
    """The distinct rows of `counts` (comparisons by columns), and how many comparisons have each."""
    rows, weights = np.unique(counts, axis=0, return_counts=True)
    return rows, weights.astype(np.int64)


def estimates(
    figures: Sequence[Figure], weights: Counts, rng: np.random.Generator, resamples: int = RESAMPLES
) -> list[Estimate]:
    """Each figure with its n and 95 % interval; `weights`: how many comparisons each row of the parts stands for.

    No value where there is none to compute; no interval below LEAST_COMPARISONS, or where no resample differs.
    """
    total = int(weights.sum())
    drawn = (
        rng.multinomial(total, weights / total, size=resamples).astype(np.float64)
        if total >= LEAST_COMPARISONS
        else np.empty((0, len(weights)))
    )
    return [_estimate(figure, weights, drawn) for figure in figures]


def _estimate(figure: Figure, weights: Counts, drawn: Floats) -> Estimate:
    n = int(weights[figure.counted].sum())
    value = float(figure.of(weights.astype(np.float64) @ figure.parts)) if n else np.nan
    if np.isnan(value):
        return Estimate(None, n, None, None)
    values = figure.of(drawn @ figure.parts) if n >= LEAST_COMPARISONS else np.empty(0)
    values = values[~np.isnan(values)]
    if values.size == 0 or values.min() == values.max():
        return Estimate(value, n, None, None)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value, n, float(low), float(high))
