"""Intervals: as if comparisons were drawn one by one, the same for the same rows, and none where they would mislead."""

import numpy as np
import pytest

from app.quality import agreement
from app.quality.resampling import LEAST_COMPARISONS, Figure, estimates, patterns


def _said(comparisons: int, seed: int = 3) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    rng = np.random.default_rng(seed)
    chance = rng.beta(2, 2, comparisons)
    first = rng.binomial(3, chance)
    return np.stack([first, 3 - first], axis=1).astype(np.int64)


def test_patterns_are_rows_and_how_often_they_come() -> None:
    rows, weights = patterns(np.array([[3, 0], [2, 1], [3, 0], [3, 0]]))
    assert (rows.tolist(), weights.tolist()) == ([[2, 1], [3, 0]], [1, 3])


def test_drawing_patterns_is_drawing_comparisons() -> None:
    counts = _said(120)
    rows, weights = patterns(counts)
    assert len(rows) == 4
    [found] = estimates([agreement.fleiss(rows)], weights, np.random.default_rng(0), resamples=4000)
    figure = agreement.fleiss(counts)
    rng = np.random.default_rng(1)
    one_by_one = [
        float(figure.of(figure.parts[rng.integers(0, len(counts), len(counts))].sum(axis=0))) for _ in range(4000)
    ]
    low, high = np.percentile(one_by_one, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.01) and found.high == pytest.approx(high, abs=0.01)
    assert found.value == pytest.approx(float(figure.of(figure.parts.sum(axis=0))))


def test_the_interval_covers_what_was_planted_as_often_as_it_says() -> None:
    # Sides by a chance of 0.5 or 0.9 for each comparison: two answers agree in 0.5 * 0.5 + 0.5 * 0.82 = 0.66.
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        first = rng.binomial(2, rng.choice([0.5, 0.9], 150))
        found = agreement.sides_among(np.stack([first, 2 - first], axis=1), rng)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.66 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_the_same_rows_give_the_same_interval() -> None:
    counts = _said(50)
    one, two = (agreement.sides_among(counts, np.random.default_rng(7)) for _ in range(2))
    assert one == two


def test_no_interval_for_few_comparisons_or_where_nothing_varies() -> None:
    few = agreement.sides_among(_said(LEAST_COMPARISONS - 1), np.random.default_rng(0))
    assert few.value is not None and (few.low, few.high) == (None, None)
    enough = agreement.sides_among(_said(LEAST_COMPARISONS), np.random.default_rng(0))
    assert enough.low is not None
    alike = agreement.sides_among(np.array([[2, 0]] * 40), np.random.default_rng(0))
    assert (alike.value, alike.n, alike.low, alike.high) == (1.0, 40, None, None)


def test_a_figure_without_a_value_has_none() -> None:
    nothing = Figure(np.zeros((2, 1)), lambda sums: np.full(sums.shape[:-1], np.nan), np.array([True, True]))
    [found] = estimates([nothing], np.array([20, 20]), np.random.default_rng(0))
    assert (found.value, found.n, found.low) == (None, 40, None)
