"""One labeler's figures, by hand."""

from datetime import date

import numpy as np
import pytest

from app.quality import labelers
from app.quality.labelers import Day, Step

DAYS = np.array(["2026-11-02", "2026-11-02", "2026-11-04", "2026-11-04", "2026-11-04"], dtype="datetime64[D]")


def test_pace_leaves_out_what_was_not_measured() -> None:
    found = labelers.pace(np.array([30.0, 60.0, 20.0, np.nan, 10.0]), DAYS)
    assert found.answers == 4 and found.seconds == 25.0
    assert found.per_hour == pytest.approx(4 * 3600 / 120)
    assert (found.days, found.per_day) == (2, 2.0)


def test_pace_day_by_day() -> None:
    found = labelers.by_day(np.array([30.0, 60.0, 20.0, np.nan, 10.0]), DAYS)
    assert found == [Day(date(2026, 11, 2), 2, 45.0), Day(date(2026, 11, 4), 2, 15.0)]


def test_no_pace_without_times() -> None:
    found = labelers.pace(np.array([np.nan]), DAYS[:1])
    assert (found.answers, found.seconds, found.per_hour, found.per_day) == (0, None, None, None)
    assert labelers.by_day(np.array([np.nan]), DAYS[:1]) == []
    assert labelers.pace(np.array([0.0]), DAYS[:1]).per_hour is None


def test_use_of_the_scale() -> None:
    found = labelers.scale(np.array([1, 1, 2, 4, 5, 5, 6, 9]))
    assert found.counts == [2, 1, 0, 1, 2, 1, 0, 0, 1]
    assert (found.middle.value, found.extremes.value) == (2 / 8, 3 / 8)
    assert (found.first_shown.value, found.first_shown.n) == (4 / 6, 6)


def test_confidence_from_which_on_somebody_agrees() -> None:
    # By distance from 5: (1, agrees), (1, does not), (3, agrees with two researchers of two), (4, with one of two).
    found = labelers.steps(np.array([1, 1, 3, 4]), np.array([1, 0, 2, 1]), np.array([1, 1, 2, 2]))
    assert [(step.confidence, step.agreement.value, step.agreement.n) for step in found] == [
        (1, 4 / 6, 6),
        (2, 3 / 4, 4),
        (3, 3 / 4, 4),
        (4, 1 / 2, 2),
    ]


def _steps(*shares: tuple[int, int]) -> list[Step]:
    """Steps of so many agreeing of so many."""
    return [
        labelers.steps(np.full(n, place), (np.arange(n) < agreeing).astype(np.int64), np.ones(n, dtype=np.int64))[
            place - 1
        ]
        for place, (agreeing, n) in enumerate(shares, 1)
    ]


def test_the_threshold_is_the_smallest_confidence_that_will_do() -> None:
    found = labelers.threshold(_steps((70, 100), (65, 80), (38, 40), (19, 20)))
    assert found is not None and (found.confidence, found.agreement.n) == (2, 80)


def test_exactly_four_fifths_will_do() -> None:
    found = labelers.threshold(_steps((8, 10), (1, 9), (0, 0), (0, 0)))
    assert found is not None and found.confidence == 1


def test_a_threshold_is_not_read_off_a_handful_of_answers() -> None:
    assert labelers.threshold(_steps((70, 100), (9, 9), (5, 5), (0, 0))) is None
    assert labelers.threshold(_steps((0, 0), (0, 0), (0, 0), (0, 0))) is None
