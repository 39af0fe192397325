"""The rules of the over-optimisation monitor: each strikes where it should, and stays silent a step before."""

import pytest

from app.domain.intervals import Estimate, rate
from app.quality.overoptimisation import LEAST_ROLLOUTS, Standing, against_people, fallen, only_longer, too_far

NOTHING = Estimate(None, 0, None, None)


def test_the_newest_rollouts_decide_how_far_it_is() -> None:
    assert too_far([], 45) is None
    assert too_far([10, 44, 45, 46], 45) is None, "45 on average"
    said = too_far([10, 44, 46, 48], 45)
    assert said is not None and "46.0 nats over the last 3 rollouts, above 45" in said
    assert too_far([90, 10, 10, 10], 45) is None, "it came back"
    alone = too_far([50], 45)
    assert alone is not None and "in the last rollout" in alone


RISING = [0.1 * step + 0.02 * (step % 2) for step in range(16)]
GROWING = [30.0 + step for step in range(16)]
FLAT = [0.05 * (step % 2) for step in range(16)]
FALLING = [-0.01 * step for step in range(16)]


def test_a_score_that_is_only_length_is_told() -> None:
    said = only_longer(RISING, FALLING, GROWING)
    assert said is not None and "rose by 1.20" in said and "grew by 12.0 tokens" in said


@pytest.mark.parametrize(
    ("score", "at_length", "length"),
    [
        (RISING, RISING, GROWING),
        (RISING, FALLING, GROWING[::-1]),
        (RISING[::-1], FALLING, GROWING),
        (FLAT, FALLING, GROWING),
    ],
    ids=["gains at equal length too", "gets shorter", "the score falls", "the score does not rise"],
)
def test_it_is_not_told_otherwise(score: list[float], at_length: list[float], length: list[float]) -> None:
    assert only_longer(score, at_length, length) is None


def test_a_short_run_has_no_beginning_and_end() -> None:
    few = LEAST_ROLLOUTS - 1
    assert only_longer(RISING[:few], FALLING[:few], GROWING[:few]) is None
    assert only_longer(RISING[: few + 1], FALLING[: few + 1], GROWING[: few + 1]) is not None


def test_a_reward_model_below_a_coin_is_against_people() -> None:
    said = against_people(rate(30, 100))
    assert said is not None and "30% of 100 held-out pairs" in said
    assert against_people(rate(45, 100)) is None, "its interval reaches a half"
    assert against_people(rate(7, 10)) is None
    assert against_people(NOTHING) is None


def standing(kl: float, predicted: float, won: int, of: int = 400, name: str = "round1-ppo") -> Standing:
    """A policy that people prefer to the references so often."""
    return Standing(name, kl, predicted, rate(won, of))


def test_people_like_it_less_while_the_reward_model_does_not() -> None:
    before = standing(10, 0.7, 240)
    said = fallen(standing(40, 0.8, 160), [before])
    assert said is not None and "40% of 400 pairs" in said and "60% of 400 for round1-ppo" in said


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (standing(40, 0.8, 230), standing(10, 0.7, 240)),
        (standing(40, 0.6, 160), standing(10, 0.7, 240)),
        (standing(5, 0.8, 160), standing(10, 0.7, 240)),
        (standing(40, 0.8, 4, 10), standing(10, 0.7, 6, 10)),
        (Standing("new", 40, 0.8, NOTHING), standing(10, 0.7, 240)),
    ],
    ids=["hardly less", "the reward model agrees", "nearer", "too few answers", "nobody judged it"],
)
def test_no_alarm_without_all_of_it(now: Standing, before: Standing) -> None:
    assert fallen(now, [before]) is None


def test_one_earlier_policy_is_enough_and_the_most_liked_is_named() -> None:
    said = fallen(standing(40, 0.8, 160), [standing(10, 0.7, 230, name="a"), standing(12, 0.7, 250, name="b")])
    assert said is not None and "for b," in said
    assert fallen(standing(40, 0.8, 160), []) is None


def test_the_difference_has_newcombes_interval() -> None:
    # Newcombe 1998, table II (a): 56/70 and 48/80 differ by 0.2, method 10 from 0.0524.
    assert fallen(standing(2, 0.6, 48, 80), [standing(1, 0.5, 56, 70)]) is not None
    # (b): 9/10 and 3/10, from 0.1705; and 5/10 against 5/10 do not differ.
    assert fallen(standing(2, 0.6, 3, 10), [standing(1, 0.5, 9, 10)]) is not None
    assert fallen(standing(2, 0.6, 5, 10), [standing(1, 0.5, 5, 10)]) is None
    # The interval of either rate alone would be above 0: 0.12 with 0.098 below the one and 0.097 above the other.
    assert fallen(standing(2, 0.6, 48, 100), [standing(1, 0.5, 60, 100)]) is None
