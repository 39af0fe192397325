"""The gate of a recipe: what keeps a new policy from becoming current by itself."""

import pytest

from app.domain.intervals import Estimate, mean, rate
from app.domain.promotion import BY_HAND, objections
from app.domain.recipes import InvalidRecipe, PromotionRecipe

GATE = PromotionRecipe()
NEAR, RIGHT, NONE = mean([10.0, 20.0]), rate(70, 100), Estimate(None, 0, None, None)


def test_nothing_speaks_against_a_policy_that_is_near_and_whose_reward_model_is_right() -> None:
    assert objections(GATE, NEAR, RIGHT, []) == []


def test_by_hand_is_an_objection_to_everything() -> None:
    assert objections(PromotionRecipe(by="hand"), NEAR, RIGHT, []) == [BY_HAND]


def test_a_policy_that_went_too_far_waits() -> None:
    [said] = objections(GATE, mean([45.0, 46.0]), RIGHT, [])
    assert "45.5 nats" in said and "promotion.most_kl (45)" in said
    assert objections(GATE, mean([45.0, 45.0]), RIGHT, []) == [], "the limit itself is allowed"


def test_a_reward_model_that_is_wrong_too_often_keeps_it_waiting() -> None:
    [said] = objections(GATE, NEAR, rate(49, 100), [])
    assert "49.0% of 100 held-out pairs" in said
    assert objections(GATE, NEAR, rate(50, 100), []) == []


def test_what_is_asked_for_and_was_not_measured_speaks_against_it() -> None:
    far, unknown = objections(GATE, NONE, NONE, [])
    assert "KL" in far and "No pair was held out" in unknown
    assert objections(PromotionRecipe(least_accuracy=0), NEAR, NONE, []) == []


def test_alarms_are_objections() -> None:
    assert objections(GATE, NEAR, RIGHT, ["It only writes longer."]) == ["It only writes longer."]


def test_limits_are_checked() -> None:
    for values in ({"by": "nobody"}, {"most_kl": 0}, {"least_accuracy": 1.5}):
        with pytest.raises(InvalidRecipe, match=r"^promotion\."):
            PromotionRecipe.from_dict(values)
