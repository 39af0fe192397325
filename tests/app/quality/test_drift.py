"""The sentinel alarm: silent while nothing moves, given when something does, either way."""

import numpy as np
import pytest

from app.quality.drift import LIMIT, REFERENCE, cusum


def test_one_answer_by_hand() -> None:
    # Reference 0.5, shift 0.2: a win says ln(0.7 / 0.5) for a rise and ln(0.3 / 0.5) for a fall, floored at 0.
    found = cusum([True, False], 0.5)
    assert found.rising == pytest.approx([np.log(1.4), 0.0])
    assert found.falling == pytest.approx([0.0, np.log(1.4)])
    assert found.alarms == []


def test_both_sums_start_again_after_an_alarm() -> None:
    # ln(1.4) fits 17 times into 5.75.
    found = cusum([True] * 40, 0.5)
    assert [(alarm.at, alarm.risen) for alarm in found.alarms] == [(17, True), (35, True)]
    assert found.rising[17] > LIMIT
    assert found.rising[18] == pytest.approx(np.log(1.4))


@pytest.mark.parametrize("share", [0.26, 0.5, 0.74])
@pytest.mark.parametrize("risen", [True, False])
def test_a_change_of_twenty_five_points_is_seen_within_sixty_answers(share: float, risen: bool) -> None:
    caught = 0
    moved = min(share + 0.25, 0.99) if risen else max(share - 0.25, 0.01)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = cusum((rng.random(60) < moved).tolist(), share)
        caught += bool(found.alarms) and found.alarms[0].risen is risen
    assert caught / 200 > 0.8


@pytest.mark.parametrize("share", [0.26, 0.5, 0.9])
def test_at_most_one_false_alarm_in_a_thousand_with_the_reference_as_uncertain_as_it_is(share: float) -> None:
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(100):
        reference = rng.binomial(REFERENCE, share) / REFERENCE
        alarms += len(cusum((rng.random(1000) < share).tolist(), reference).alarms)
    assert alarms / 100 <= 1.0


@pytest.mark.parametrize("reference", [0.0, 1.0])
def test_a_reference_at_the_edge_can_be_watched(reference: float) -> None:
    usual = cusum([reference == 1.0] * 1000, reference)
    assert usual.alarms == []
    assert cusum([reference == 0.0] * 20, reference).alarms
    # What may still move does so the right way: another win never speaks against wins.
    assert cusum([True], reference).rising[0] > 0 and cusum([False], reference).falling[0] > 0


def test_nothing_to_watch() -> None:
    found = cusum([], 0.5)
    assert (found.rising, found.falling, found.alarms) == ([], [], [])
