"""Win rates between policies: the raw one by counting, at equal length against data with a known effect."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from app.domain import intervals
from app.quality.winrates import LEAST_COMPARISONS, SPREAD, WinRates, win_rates


def logistic(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of log-odds."""
    return 1 / (1 + np.exp(-odds))


def made(seed: int, size: int, effect: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Comparisons of one pair at equal length in truth, whose first policy writes longer; who won; the log ratios."""
    rng = np.random.default_rng(seed)
    ratio = rng.normal(0.4, 0.3, size)
    return (rng.random(size) < logistic(effect * ratio)).astype(np.float64), ratio


def one(won: list[float], ratio: list[float]) -> WinRates:
    """The win rates of a single pair."""
    return win_rates(
        np.zeros(len(won), dtype=np.int64), np.array(won, dtype=np.float64), np.array(ratio, dtype=np.float64), 1
    )


def test_the_raw_rate_is_the_share_of_comparisons_won_with_wilsons_interval() -> None:
    [pair] = one([1.0] * 30 + [0.0] * 10, [0.0] * 40).pairs
    assert pair.raw == intervals.rate(30, 40)
    assert pair.log_ratio == 0


def test_a_comparison_counts_once_and_a_divided_one_half() -> None:
    [pair] = one([1.0, 0.5, 0.0, 0.5], [0.0] * 4).pairs
    assert (pair.raw.value, pair.raw.n) == (0.5, 4)


def test_without_differences_of_length_both_rates_are_nearly_the_same() -> None:
    [pair] = one([1.0] * 300 + [0.0] * 100, [0.0] * 400).pairs
    # Half a win and half a defeat are added: 300.5 of 401.
    assert pair.controlled.value == pytest.approx(300.5 / 401)
    error = 1 / math.sqrt(401 * (300.5 / 401) * (100.5 / 401))
    odds = math.log(300.5 / 100.5)
    assert pair.controlled.low == pytest.approx(float(logistic(np.array(odds - intervals.Z95 * error))))
    assert pair.controlled.high == pytest.approx(float(logistic(np.array(odds + intervals.Z95 * error))))


def test_what_only_length_wins_is_gone_at_equal_length() -> None:
    won, ratio = made(1, 4000, 2.0)
    found = win_rates(np.zeros(4000, dtype=np.int64), won, ratio, 1)
    [pair] = found.pairs
    assert pair.raw.low is not None and pair.raw.low > 0.6, "longer texts win"
    assert pair.controlled.low is not None and pair.controlled.high is not None
    assert pair.controlled.low < 0.5 < pair.controlled.high
    assert found.slope.low is not None and found.slope.high is not None and found.slope.low < 2.0 < found.slope.high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = slope_held = 0
    for seed in range(200):
        won, ratio = made(seed, 300, 1.5)
        found = win_rates(np.zeros(300, dtype=np.int64), won, ratio, 1)
        [pair] = found.pairs
        assert pair.controlled.low is not None and pair.controlled.high is not None
        assert found.slope.low is not None and found.slope.high is not None
        held += pair.controlled.low < 0.5 < pair.controlled.high
        slope_held += found.slope.low < 1.5 < found.slope.high
    # 200 draws at 95 %: four standard errors are 6 %.
    assert held > 178 and slope_held > 178


def test_pairs_share_one_slope_and_keep_their_own_rates() -> None:
    rng = np.random.default_rng(3)
    pair = rng.integers(0, 2, 6000)
    ratio = rng.normal(np.array([0.3, -0.3])[pair], 0.4)
    truth = np.array([0.5, -0.5])
    won = (rng.random(6000) < logistic(truth[pair] + 1.2 * ratio)).astype(np.float64)
    found = win_rates(pair.astype(np.int64), won, ratio, 2)
    for place, odds in enumerate(truth):
        one = found.pairs[place].controlled
        assert one.low is not None and one.high is not None
        assert one.low < float(logistic(np.array(odds))) < one.high
    assert found.slope.value == pytest.approx(1.2, abs=0.2)


def test_the_other_way_round_is_the_same_rate_of_the_other_policy() -> None:
    won, ratio = made(5, 200, 1.0)
    place = np.zeros(200, dtype=np.int64)
    there, back = win_rates(place, won, ratio, 1).pairs[0], win_rates(place, 1 - won, -ratio, 1).pairs[0]
    for first, second in ((there.raw, back.raw), (there.controlled, back.controlled)):
        assert (
            first.value is not None and second.value is not None and first.low is not None and second.high is not None
        )
        assert first.value + second.value == pytest.approx(1)
        assert first.low + second.high == pytest.approx(1)


def test_a_pair_that_is_always_won_has_a_rate_below_one_and_an_interval() -> None:
    [pair] = one([1.0] * 30, list(np.linspace(-1, 1, 30))).pairs
    assert pair.raw.value == 1
    assert pair.controlled.value is not None and 0.9 < pair.controlled.value < 1
    assert pair.controlled.low is not None and pair.controlled.low > 0.5


def test_longer_always_wins_is_finite() -> None:
    found = one([1.0] * 20 + [0.0] * 20, [0.5] * 20 + [-0.5] * 20)
    assert found.slope.value is not None and math.isfinite(found.slope.value) and found.slope.value > 2
    assert found.pairs[0].controlled.value == pytest.approx(0.5)


def test_the_fit_is_where_the_likelihood_and_the_priors_have_their_top() -> None:
    won, ratio = np.array([1.0, 1, 1, 0.5, 1, 0, 1, 1, 0, 1, 1, 1]), np.linspace(-0.4, 2, 12)
    found = win_rates(np.zeros(12, dtype=np.int64), won, ratio, 1)
    share, slope = found.pairs[0].controlled.value, found.slope.value
    assert share is not None and slope is not None
    odds = math.log(share / (1 - share))
    left = won - logistic(odds + slope * ratio)
    assert float(left.sum()) + 0.5 - share == pytest.approx(0, abs=1e-6), "half a win and half a defeat besides"
    assert float((left * ratio).sum()) - slope / SPREAD**2 == pytest.approx(0, abs=1e-6)


def test_few_comparisons_say_nothing_of_equal_length() -> None:
    few = LEAST_COMPARISONS - 1
    found = one([1.0] * few, [0.1] * few)
    assert found.pairs[0].controlled == intervals.Estimate(None, few, None, None)
    assert found.slope.value is None
    assert found.pairs[0].raw.n == few


def test_nothing_compared_is_no_pair() -> None:
    nothing = win_rates(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), 0)
    assert (nothing.pairs, nothing.slope.n) == ([], 0)
