"""What continuous mode does next, for every way in which a project can stand."""

from dataclasses import replace

import pytest

from app.domain.continuous import Counts, Launch, Sample, Step, Stop, Wait, affordable, launches_at, step
from app.domain.recipes import ContinuousRecipe, InvalidRecipe, PairingRecipe

RULE = ContinuousRecipe(least_open=20, pairs=32, launch_after=100, most_opinions=400, most_rounds=4)
PAIRING = PairingRecipe()
# Labelers are busy, and the next round is some way off.
BUSY = Counts(
    open=40,
    needed=40,
    asked=120,
    new=80,
    rounds=1,
    fine_tuned=True,
    active=False,
    paused=False,
    coming=False,
    trouble=None,
)


def next_step(**other: object) -> Step:
    """What follows when this is otherwise than in BUSY."""
    return step(RULE, PAIRING, replace(BUSY, **other))  # type: ignore[arg-type]


def test_while_labelers_are_busy_and_preferences_are_few_nothing_happens() -> None:
    assert next_step() == Wait()
    assert next_step(open=20, new=99) == Wait(), "neither threshold is passed"


def test_pairs_are_sampled_when_too_few_opinions_are_open() -> None:
    assert next_step(open=19) == Sample(32)
    assert next_step(open=0, active=True) == Sample(32), "a round that learns leaves labelers without pairs"
    assert next_step(open=0, new=100) == Sample(32), "before the launch, which takes the worker for longer"


def test_pairs_that_are_on_their_way_are_not_asked_for_again() -> None:
    assert next_step(open=0, coming=True) == Wait()
    assert next_step(open=0, coming=True, active=True) == Wait()
    assert next_step(open=0, coming=True, new=100) == Launch()


def test_a_round_is_launched_when_enough_preferences_came_in() -> None:
    assert next_step(new=99) == Wait()
    assert next_step(new=100) == Launch()
    assert next_step(new=500) == Launch()
    assert next_step(new=500, active=True) == Wait(), "one round at a time"


def test_the_first_round_is_launched_at_once_because_it_makes_what_is_worth_judging() -> None:
    new = {"open": 0, "asked": 0, "new": 0, "rounds": 0, "fine_tuned": False}
    assert next_step(**new) == Launch()
    assert next_step(**new, active=True, coming=True) == Wait()


def test_the_budget_of_opinions_bounds_what_is_sampled() -> None:
    assert next_step(open=10, asked=390) == Sample(10)
    assert affordable(RULE, PairingRecipe(opinions=3), 390) == 3, "of each pair three opinions are asked"
    assert affordable(RULE, PAIRING, 5000) == 0
    used = {"open": 10, "asked": 400}
    assert next_step(**used) == Wait(), "what was asked for is judged first"
    assert next_step(**used, new=100) == Launch()
    assert next_step(open=0, asked=400, active=True) == Wait()
    assert next_step(open=0, asked=400, coming=True) == Wait()
    assert next_step(open=0, asked=400, new=100) == Launch()


def test_with_the_budget_used_and_everything_judged_it_stops_and_says_so() -> None:
    assert next_step(open=0, asked=400, new=99) == Wait(), "some lie in a paused batch, or wait for a labeler"
    stopped = next_step(open=0, needed=0, asked=400, new=99)
    assert isinstance(stopped, Stop)
    assert "budget of 400 opinions (continuous.most_opinions) is used" in stopped.because
    assert "New preferences: 99; the next round would have begun at 100." in stopped.because


def test_after_the_last_round_it_stops_and_says_so() -> None:
    assert next_step(rounds=4, active=True, open=0) == Wait(), "no pairs for a round that will not come"
    assert next_step(rounds=3, new=100) == Launch()
    stopped = next_step(rounds=4, new=100)
    assert stopped == Stop("It made all 4 rounds of its budget (continuous.most_rounds).")
    one = replace(RULE, most_rounds=1)
    assert step(one, PAIRING, BUSY) == Stop("It made the one round of its budget (continuous.most_rounds).")


def test_trouble_stops_it_whatever_else_there_is_to_do() -> None:
    for other in ({"open": 0}, {"new": 100}, {"rounds": 4}, {"fine_tuned": False}, {"paused": True, "active": True}):
        assert next_step(**other, trouble="Round 2 failed.") == Stop("Round 2 failed."), other


def test_a_round_that_stands_still_makes_it_wait() -> None:
    assert next_step(paused=True, active=True, open=0, new=100) == Wait()


def test_a_constant_schedule_asks_the_same_of_every_round() -> None:
    assert [launches_at(RULE, number) for number in (1, 2, 4)] == [100, 100, 100]


def test_an_annealed_schedule_asks_for_the_increments_of_the_label_annealer() -> None:
    rule = replace(RULE, launch_schedule="annealed", launch_after=100_000, most_opinions=1_000_000)
    asked = [launches_at(rule, number) for number in range(1, 5)]

    def desired(elapsed: int, first: float, final: float) -> float:
        """`n_desired_labels` of rl-teacher's LabelAnnealer after so many of four units of time."""
        share = first / final
        decay: float = 0.01 ** (elapsed / 4)
        return (share + (1 - share) * (1 - decay)) * final

    increments = [desired(now, 500, 10_000) - desired(now - 1, 500, 10_000) for now in range(1, 5)]
    for number in range(4):
        assert asked[number] / asked[0] == pytest.approx(increments[number] / increments[0], rel=1e-4)
    assert launches_at(rule, 5) == 1_000, "a hundredth is left after most_rounds"
    few = replace(rule, launch_after=2)
    assert [launches_at(few, number) for number in range(1, 5)] == [2, 1, 1, 1], "never without a single preference"


def test_limits_are_checked() -> None:
    for values in ({"pairs": 0}, {"pairs": 100_001}, {"launch_schedule": "sometimes"}, {"most_rounds": 0}):
        with pytest.raises(InvalidRecipe, match=r"^continuous\."):
            ContinuousRecipe.from_dict(values)
    with pytest.raises(InvalidRecipe, match=r"^continuous.launch_after is 10: .*most_opinions, which is 9$"):
        ContinuousRecipe(launch_after=10, most_opinions=9)
