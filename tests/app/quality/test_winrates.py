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
    return unweighted(np.zeros(len(won), dtype=np.int64), np.array(won, dtype=np.float64), np.array(ratio), 1)


def unweighted(
    pair: npt.NDArray[np.int64], won: npt.NDArray[np.float64], ratio: npt.NDArray[np.float64], pairs: int
) -> WinRates:
    """Of comparisons that all weigh the same."""
    return win_rates(pair, won, ratio, np.ones(len(won)), pairs)


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
    found = unweighted(np.zeros(4000, dtype=np.int64), won, ratio, 1)
    [pair] = found.pairs
    assert pair.raw.low is not None and pair.raw.low > 0.6, "longer texts win"
    assert pair.controlled.low is not None and pair.controlled.high is not None
    assert pair.controlled.low < 0.5 < pair.controlled.high
    assert found.slope.low is not None and found.slope.high is not None and found.slope.low < 2.0 < found.slope.high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = slope_held = 0
    for seed in range(200):
        won, ratio = made(seed, 300, 1.5)
        found = unweighted(np.zeros(300, dtype=np.int64), won, ratio, 1)
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
    found = unweighted(pair.astype(np.int64), won, ratio, 2)
    for place, odds in enumerate(truth):
        one = found.pairs[place].controlled
        assert one.low is not None and one.high is not None
        assert one.low < float(logistic(np.array(odds))) < one.high
    assert found.slope.value == pytest.approx(1.2, abs=0.2)


def test_the_other_way_round_is_the_same_rate_of_the_other_policy() -> None:
    won, ratio = made(5, 200, 1.0)
    place = np.zeros(200, dtype=np.int64)
    there, back = unweighted(place, won, ratio, 1).pairs[0], unweighted(place, 1 - won, -ratio, 1).pairs[0]
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
    found = unweighted(np.zeros(12, dtype=np.int64), won, ratio, 1)
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
    nothing = unweighted(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), 0)
    assert (nothing.pairs, nothing.slope.n) == ([], 0)


def test_comparisons_chosen_for_what_they_tell_do_not_move_the_rates() -> None:
    rng = np.random.default_rng(11)
    truth, found, plain = [], [], []
    for _ in range(60):
        # Close comparisons are chosen more often, and in them the first policy, which is better and writes longer,
        # wins less.
        ratio, odds = rng.normal(0.2, 0.3, 3000), rng.normal(1.0, 1.5, 3000)
        won = (rng.random(3000) < logistic(odds + ratio)).astype(np.float64)
        chance = np.where(np.abs(odds) < 1, 0.6, 0.1)
        taken = rng.random(3000) < chance
        place = np.zeros(taken.sum(), dtype=np.int64)
        weighted = win_rates(place, won[taken], ratio[taken], 1 / chance[taken], 1).pairs[0]
        everything = unweighted(np.zeros(3000, dtype=np.int64), won, ratio, 1).pairs[0]
        as_they_are = unweighted(place, won[taken], ratio[taken], 1).pairs[0]
        truth.append((everything.raw.value, everything.controlled.value, everything.log_ratio))
        found.append((weighted.raw.value, weighted.controlled.value, weighted.log_ratio))
        plain.append((as_they_are.raw.value, as_they_are.controlled.value, as_they_are.log_ratio))
    off = np.array(found, dtype=np.float64) - np.array(truth, dtype=np.float64)
    error = off.std(0) / math.sqrt(len(off))
    assert (np.abs(off.mean(0)) < 4 * error).all(), (off.mean(0), error)
    assert np.array(plain, dtype=np.float64)[:, 0].mean() < np.array(truth, dtype=np.float64)[:, 0].mean() - 0.05


def test_weights_widen_the_interval_and_only_their_ratio_counts() -> None:
    won, ratio = np.array([1.0] * 30 + [0.0] * 10), np.linspace(-0.5, 0.5, 40)
    place, uneven = np.zeros(40, dtype=np.int64), np.tile([1.0, 5.0], 20)
    [even], [odd], [twice] = (
        win_rates(place, won, ratio, weight, 1).pairs for weight in (np.full(40, 3.0), uneven, 2 * uneven)
    )
    ones = unweighted(place, won, ratio, 1).pairs[0]
    assert even.raw == ones.raw and width(even.controlled) == pytest.approx(width(ones.controlled))
    assert odd.raw.value == 0.75 and odd.raw.n == 40
    # 120^2 / 520 comparisons would be as uncertain.
    assert (odd.raw.low, odd.raw.high) == pytest.approx(wilson(0.75, 120**2 / 520))
    for one, other in ((odd.raw, twice.raw), (odd.controlled, twice.controlled)):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert width(odd.controlled) > 1.1 * width(even.controlled)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval, written out."""
    z = intervals.Z95
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    return centre - half, centre + half


def width(estimate: intervals.Estimate) -> float:
    """Of its interval."""
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low
