"""How often people prefer one policy's summaries to another's: as they are, and as they would at equal length.

Knows comparisons of two policies: the share of its answers that prefer one side, and how much longer that side is.
Knows nothing of who answered. A comparison counts once however many answers it has: they are not independent.

The raw win rate is a proportion with Wilson's interval. At equal length: the study fitted a logistic regression of the
preferred side on the identity of each policy, all against the references, and the logarithm of the ratio of the two
lengths, and reported the prediction at ratio 1 (P App. F). Here policies meet each other too, so each pair of policies
has an intercept of its own, and the slope is one for all of them; with references on one side only the two are the
same model. The win rate at equal length is the logistic of the intercept, its interval that of the intercept on the
scale of log-odds, from the curvature at the top.

A comparison that was chosen with a known probability stands for 1 / probability of those that might have been (Horvitz
and Thompson 1952): otherwise a rate would be that of the comparisons from which most was to be learned. Within a pair
of policies the weights add up to Kish's (1965) effective number of comparisons, so that intervals are as wide as they
should be; where all weigh the same that is their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain import intervals
from app.domain.intervals import Z95, Estimate
from app.quality.resampling import Counts, Floats

LEAST_COMPARISONS = 10
"""Below this many comparisons of two policies nothing is said of equal length."""
SPREAD = 5.0
"""Standard deviation of the slope before anything is known: so wide that it matters only where nothing limits it."""
_MOST_STEPS = 100
_CLOSE = 1e-9


@dataclass(frozen=True)
class WinRate:
    """How often the first policy of a pair is preferred: as they are, and at equal length; n counts comparisons.

    `log_ratio` is the mean logarithm of its length over the other's.
    """

    raw: Estimate
    controlled: Estimate
    log_ratio: float | None


@dataclass(frozen=True)
class WinRates:
    """A win rate for each pair, and what an e-fold length adds to the log-odds of being preferred, over all pairs."""

    pairs: Sequence[WinRate]
    slope: Estimate


def win_rates(pair: Counts, won: Floats, log_ratio: Floats, weight: Floats, pairs: int) -> WinRates:
    """Of `pairs` pairs of policies from comparisons, one entry in each array for each comparison.

    `pair` is a place 0 to pairs - 1; `won` in [0, 1] the share of its answers that prefer the pair's first policy,
    answers of 5 left out before; `log_ratio` the natural logarithm of the first's length over the second's; `weight`,
    above 0, how many comparisons each stands for.
    """
    sizes = np.bincount(pair, minlength=pairs)
    weights = np.bincount(pair, weight, minlength=pairs)
    squares = np.bincount(pair, weight**2, minlength=pairs)
    wins = np.bincount(pair, weight * won, minlength=pairs)
    ratios = np.bincount(pair, weight * log_ratio, minlength=pairs)
    fit = _fit(pair, won, log_ratio, weight * (weights[pair] / squares[pair]), pairs)
    controlled = [
        _share(fit.intercepts[place], fit.errors[place], int(sizes[place]))
        if sizes[place] >= LEAST_COMPARISONS
        else Estimate(None, int(sizes[place]), None, None)
        for place in range(pairs)
    ]
    found = [
        WinRate(
            intervals.weighted_rate(
                float(wins[place]), float(weights[place]), float(squares[place]), int(sizes[place])
            ),
            controlled[place],
            float(ratios[place] / weights[place]) if sizes[place] else None,
        )
        for place in range(pairs)
    ]
    enough = len(pair) >= LEAST_COMPARISONS
    slope = (
        Estimate(fit.slope, len(pair), fit.slope - Z95 * fit.slope_error, fit.slope + Z95 * fit.slope_error)
        if enough
        else Estimate(None, len(pair), None, None)
    )
    return WinRates(found, slope)


@dataclass(frozen=True)
class _Fit:
    intercepts: Floats
    errors: Floats
    slope: float
    slope_error: float


def _logistic(odds: npt.ArrayLike) -> Floats:
    # Half of 1 + tanh, because exp would overflow.
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(odds, dtype=np.float64))), dtype=np.float64)


def _share(odds: float, error: float, n: int) -> Estimate:
    value, low, high = _logistic([odds, odds - Z95 * error, odds + Z95 * error])
    return Estimate(float(value), n, float(low), float(high))


def _fit(pair: Counts, won: Floats, log_ratio: Floats, weight: Floats, pairs: int) -> _Fit:
    """Newton's method, halved where it would go too far.

    Each pair gets half a win and half a defeat at equal length besides (as Haldane 1956 and Anscombe 1956 add to a
    table of two by two): where one side won always the likelihood has no top.
    """
    intercepts, slope = np.zeros(pairs), 0.0

    def height(at: Floats, by: float) -> float:
        odds = at[pair] + by * log_ratio
        own = weight * (won * odds - np.logaddexp(0, odds))
        added = 0.5 * at - np.logaddexp(0, at)
        return float(own.sum() + added.sum() - 0.5 * (by / SPREAD) ** 2)

    for _ in range(_MOST_STEPS):
        chance, even = _logistic(intercepts[pair] + slope * log_ratio), _logistic(intercepts)
        left = weight * (won - chance)
        gradient = np.bincount(pair, left, minlength=pairs) + 0.5 - even
        gradient_slope = float((left * log_ratio).sum() - slope / SPREAD**2)
        diagonal, across, corner = _curvature(pair, chance, even, log_ratio, weight, pairs)
        # The curvature is a diagonal with one full row and column more: solved by its Schur complement.
        rest = corner - float((across**2 / diagonal).sum())
        step_slope = (gradient_slope - float((across * gradient / diagonal).sum())) / rest
        step = (gradient - across * step_slope) / diagonal
        now, part = height(intercepts, slope), 1.0
        while height(intercepts + part * step, slope + part * step_slope) < now and part > _CLOSE:
            part /= 2
        intercepts, slope = intercepts + part * step, slope + part * step_slope
        if max(abs(step_slope), float(np.abs(step).max(initial=0.0))) < _CLOSE:
            break
    chance, even = _logistic(intercepts[pair] + slope * log_ratio), _logistic(intercepts)
    diagonal, across, corner = _curvature(pair, chance, even, log_ratio, weight, pairs)
    rest = corner - float((across**2 / diagonal).sum())
    return _Fit(
        intercepts,
        np.sqrt(1 / diagonal + (across / diagonal) ** 2 / rest),
        slope,
        float(np.sqrt(1 / rest)),
    )


def _curvature(
    pair: Counts, chance: Floats, even: Floats, log_ratio: Floats, weight: Floats, pairs: int
) -> tuple[Floats, Floats, float]:
    bend = weight * chance * (1 - chance)
    diagonal = np.bincount(pair, bend, minlength=pairs) + even * (1 - even)
    across = np.asarray(np.bincount(pair, bend * log_ratio, minlength=pairs), dtype=np.float64)
    return diagonal, across, float((bend * log_ratio**2).sum() + 1 / SPREAD**2)
