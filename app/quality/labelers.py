"""What one person's answers look like: pace, pull of the side, use of the scale, and from which confidence on to trust.

Knows arithmetic over the answers of one labeler. Knows nothing of what others make of the same pairs, except where the
preferred sides of researchers are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from app.domain import intervals
from app.domain.intervals import Estimate
from app.domain.preferences import HIGHEST, LOWEST, MIDDLE
from app.quality.resampling import Counts, Floats

WANTED = 0.8
"""The share of agreement with researchers from which an answer passes for a confident one (P App. C.1)."""
LEAST_ANSWERS = 10
"""A threshold is read off at least so many answers: on fewer, chance alone reaches the wanted share too often."""


@dataclass(frozen=True)
class Pace:
    """How quickly somebody judges. `seconds` is the median of active time on a pair; None without any measured."""

    answers: int
    seconds: float | None
    per_hour: float | None
    days: int
    per_day: float | None


@dataclass(frozen=True)
class Day:
    """One day's work: a date (UTC), how many answers, and the median of active seconds."""

    day: date
    answers: int
    seconds: float


def pace(seconds: Floats, days: npt.NDArray[np.datetime64]) -> Pace:
    """From the active seconds of each answer, nan where none were measured, and the day on which it was given (UTC).

    Answers without measured seconds came with imported comparisons, all on the day of the import: they are left out.
    `per_hour` is answers by active time, `per_day` answers by days with at least one.
    """
    timed = ~np.isnan(seconds)
    n, worked = int(timed.sum()), float(seconds[timed].sum())
    if not n:
        return Pace(0, None, None, 0, None)
    on = len(np.unique(days[timed]))
    return Pace(n, float(np.median(seconds[timed])), n * 3600 / worked if worked else None, on, n / on)


def by_day(seconds: Floats, days: npt.NDArray[np.datetime64]) -> list[Day]:
    """Pace day by day, oldest first, from the same arrays as `pace`."""
    timed = ~np.isnan(seconds)
    found, codes = np.unique(days[timed].astype("datetime64[D]"), return_inverse=True)
    return [
        Day(day.astype(date), int((codes == code).sum()), float(np.median(seconds[timed][codes == code])))
        for code, day in enumerate(found)
    ]


@dataclass(frozen=True)
class Scale:
    """How somebody uses the nine points. `counts` in displayed order, 1 (A much better) first."""

    counts: Sequence[int]
    middle: Estimate
    extremes: Estimate
    first_shown: Estimate


def scale(displayed: Counts) -> Scale:
    """From values in displayed order. `first_shown`: how often the preferred side is A; sides are drawn, so 0.5."""
    counts = np.bincount(displayed, minlength=HIGHEST + 1)[LOWEST:]
    n, middle = int(counts.sum()), int(counts[MIDDLE - LOWEST])
    return Scale(
        counts=[int(count) for count in counts],
        middle=intervals.rate(middle, n),
        extremes=intervals.rate(int(counts[0] + counts[-1]), n),
        first_shown=intervals.rate(int(counts[: MIDDLE - LOWEST].sum()), n - middle),
    )


@dataclass(frozen=True)
class Step:
    """How often answers at least `confidence` points away from 5 are on the researchers' side."""

    confidence: int
    agreement: Estimate


def steps(confidence: Counts, agreeing: Counts, compared: Counts) -> list[Step]:
    """Agreement from each confidence 1 to 4 on.

    For each answer that prefers a side: its distance from 5, how many researchers prefer the same, how many prefer any.
    """
    return [
        Step(least, intervals.rate(int(agreeing[confidence >= least].sum()), int(compared[confidence >= least].sum())))
        for least in range(1, HIGHEST - MIDDLE + 1)
    ]


def threshold(found: Sequence[Step], wanted: float = WANTED, least: int = LEAST_ANSWERS) -> Step | None:
    """The smallest confidence from which on the share of agreement is at least `wanted`; None when it never is.

    Steps of fewer than `least` answers decide nothing. P App. C.1 fits such a threshold for each labeler.
    """
    for step in found:
        if step.agreement.value is not None and step.agreement.n >= least and step.agreement.value >= wanted:
            return step
    return None
