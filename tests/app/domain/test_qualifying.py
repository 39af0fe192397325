"""Whether a newcomer's answers are enough to begin."""

import pytest

from app.domain.protocols import Gate
from app.domain.qualifying import Trial, agrees, decide

GATE = Gate(required=True, agreement=0.75, seconds=60)
RIGHT, WRONG, NEITHER = Trial(2, 1, 30.0), Trial(8, 1, 30.0), Trial(5, 1, 30.0)


@pytest.mark.parametrize(
    ("value", "verdict", "same"), [(1, 4, True), (9, 6, True), (4, 6, False), (5, 1, None), (9, 5, None), (5, 5, None)]
)
def test_sides_are_compared_and_sureness_is_not(value: int, verdict: int, same: bool | None) -> None:
    assert agrees(value, verdict) is same


def test_enough_agreement_and_pace_pass() -> None:
    outcome = decide(GATE, [RIGHT, RIGHT, RIGHT, WRONG], 4)
    assert (outcome.passed, outcome.answers, outcome.agreement, outcome.seconds) == (True, 4, 0.75, 30.0)
    assert outcome.reason == "On the researchers' side in 3 of 4 pairs (75%), 30 seconds for the median pair."


def test_too_little_agreement_does_not() -> None:
    outcome = decide(GATE, [RIGHT, RIGHT, WRONG], 3)
    assert (outcome.passed, outcome.reason) == (
        False,
        "On the researchers' side in 2 of 3 pairs (67%), where 75% is asked for.",
    )


def test_answers_without_a_side_are_left_out_of_agreement() -> None:
    outcome = decide(GATE, [RIGHT, RIGHT, RIGHT, NEITHER], 4)
    assert (outcome.passed, outcome.agreement, outcome.answers) == (True, 1.0, 4)


def test_the_median_time_counts_and_not_one_long_break() -> None:
    assert decide(GATE, [Trial(1, 1, 20.0), Trial(1, 1, 50.0), Trial(1, 1, 3600.0)], 3).passed
    slow = decide(GATE, [Trial(1, 1, 61.0), Trial(1, 1, 70.0), Trial(1, 1, None)], 3)
    assert (slow.passed, slow.seconds) == (False, 65.5)
    assert slow.reason == "Took 66 seconds for the median pair, where 60 are allowed."


def test_both_shortcomings_are_told() -> None:
    reason = decide(GATE, [Trial(9, 1, 90.0)] * 4, 4).reason
    assert "where 75% is asked for" in reason
    assert "where 60 are allowed" in reason


def test_a_time_that_nobody_knows_holds_nobody_back() -> None:
    outcome = decide(GATE, [Trial(1, 1, None)] * 4, 4)
    assert (outcome.passed, outcome.seconds) == (True, None)
    assert "the time is not known" in outcome.reason


@pytest.mark.parametrize(
    ("trials", "pairs"),
    [([], 6), ([RIGHT, RIGHT], 6), ([NEITHER] * 6, 6), ([RIGHT, RIGHT, NEITHER, NEITHER, NEITHER], 5)],
    ids=["all skipped", "most skipped", "all undecided", "most undecided"],
)
def test_nobody_passes_on_a_few_easy_ones(trials: list[Trial], pairs: int) -> None:
    outcome = decide(GATE, trials, pairs)
    assert not outcome.passed
    assert "too few to tell" in outcome.reason


def test_half_of_the_pairs_is_enough() -> None:
    assert decide(GATE, [RIGHT, RIGHT, RIGHT], 6).passed
