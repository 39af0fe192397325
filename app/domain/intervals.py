"""Every rate with its n and its interval, every mean likewise. Closed forms, so the same rows give the same figures.

Knows arithmetic. Knows nothing of what is counted.
"""

from dataclasses import dataclass
from math import sqrt

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A figure with the number of observations behind it and its 95 % interval. None where n is too small."""

    value: float | None
    n: int
    low: float | None
    high: float | None


def rate(successes: float, n: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927). `successes` in [0, n]; halves count ties."""
    if n == 0:
        return Estimate(None, 0, None, None)
    share = successes / n
    return Estimate(share, n, *_wilson(share, n))


def weighted_rate(successes: float, weight: float, squares: float, n: int) -> Estimate:
    """A proportion of n observations that stand for different numbers of others (Horvitz and Thompson 1952).

    `successes` is the weight of the successes, `weight` of all, `squares` the sum of the squared weights. The interval
    is Wilson's at Kish's (1965) effective number, weight^2 / squares: n where all weigh the same, fewer otherwise.
    """
    if n == 0:
        return Estimate(None, 0, None, None)
    share = successes / weight
    return Estimate(share, n, *_wilson(share, weight**2 / squares))


def _wilson(share: float, n: float) -> tuple[float, float]:
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean(values: list[float]) -> Estimate:
    """A mean with its normal 95 % interval (mean plus or minus 1.96 standard errors); no interval below two values."""
    n = len(values)
    if n == 0:
        return Estimate(None, 0, None, None)
    centre = sum(values) / n
    if n == 1:
        return Estimate(centre, 1, None, None)
    error = sqrt(sum((value - centre) ** 2 for value in values) / (n - 1) / n)
    return Estimate(centre, n, centre - Z95 * error, centre + Z95 * error)
