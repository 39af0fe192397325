"""When a gold pair is due: the share is kept, and nobody can count to the next one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.domain.gold import due


def places(share: float, count: int, seed: str, before: float = 0.0) -> list[bool]:
    """For each of `count` places in a row whether it belongs to a gold pair."""
    given: list[bool] = []
    for _ in range(count):
        given.append(due(before, share, seed))
        before += share
    return given


@given(some.sampled_from([0.01, 0.05, 0.1, 0.15, 1 / 3, 0.5]), some.integers(1, 400), some.text(max_size=8))
def test_the_share_is_kept_at_every_length(share: float, count: int, seed: str) -> None:
    assert abs(sum(places(share, count, seed)) - share * count) <= 1


@pytest.mark.parametrize("share", [0.03, 0.15, 0.3, 0.45, 0.5])
def test_no_two_pairs_fall_on_one_place(share: float) -> None:
    """Or one of them would be lost, and the share with it."""
    assert abs(sum(places(share, 4000, "Ada")) - share * 4000) <= 1


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_the_gaps_tell_nothing_about_the_next_one(share: float) -> None:
    at = [place for place, gold in enumerate(places(share, 4000, "Ada")) if gold]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert min(gaps) < 0.5 / share, "sometimes soon"
    assert max(gaps) > 1.5 / share, "sometimes late"
    assert len(set(gaps)) > 10


def test_two_labelers_meet_them_at_different_places() -> None:
    assert places(0.1, 100, "Ada") != places(0.1, 100, "Bob")
    assert places(0.1, 100, "Ada") == places(0.1, 100, "Ada")


def test_without_a_share_nothing_is_due() -> None:
    assert not any(places(0.0, 100, "Ada", before=0.7))


def test_a_changed_share_counts_from_there_on() -> None:
    """Neither a flood for places that were given before, nor a drought."""
    before = 1000 * 0.3
    assert abs(sum(places(0.05, 400, "Ada", before)) - 20) <= 1
