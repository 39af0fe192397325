"""Intervals against hand-worked and published figures."""

import pytest

from app.domain.intervals import Estimate, mean, rate, weighted_rate


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # Newcombe 1998 and the usual tables give these to four places
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_a_rate_has_wilsons_interval(successes: int, n: int, low: float, high: float) -> None:
    found = rate(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_nothing_has_no_rate() -> None:
    assert rate(0, 0) == Estimate(None, 0, None, None)


def test_ties_count_half() -> None:
    assert rate(2.5, 5).value == 0.5


def test_a_mean_has_its_standard_error() -> None:
    # 1, 2, 3, 4: mean 2.5, variance 5/3, standard error sqrt(5/12) = 0.6455, times 1.96 = 1.2652.
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert (found.value, found.n) == (2.5, 4)
    assert found.low == pytest.approx(1.2348, abs=1e-4)
    assert found.high == pytest.approx(3.7652, abs=1e-4)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    assert mean([3.0]) == Estimate(3.0, 1, None, None)
    assert mean([]) == Estimate(None, 0, None, None)


def test_with_equal_weights_a_rate_is_the_plain_one() -> None:
    assert weighted_rate(0, 0, 0, 0) == Estimate(None, 0, None, None)
    for weight in (1.0, 4.0):
        assert weighted_rate(81 * weight, 263 * weight, 263 * weight**2, 263) == rate(81, 263)


def test_one_heavy_observation_leaves_little_behind() -> None:
    # Weights 9, 1, ..., 1 (nine ones): 18^2 / 90 = 3.6 observations would be as uncertain.
    found = weighted_rate(9, 18, 90, 10)
    assert (found.value, found.n) == (0.5, 10)
    assert found.low == pytest.approx(0.5 - 1.959964 / (1 + 3.841459 / 3.6) * (0.25 / 3.6 + 3.841459 / 51.84) ** 0.5)
