"""Pauses grow, old ends are forgiven, only what is needed is given up, and each child is due once."""

from app.local.restarts import LONGEST_PAUSE, MOST, WITHIN_SECONDS, Restarts


def test_pauses_grow_up_to_the_longest() -> None:
    restarts = Restarts(needed=[])
    pauses = [restarts.ended("worker", float(now)) for now in range(10)]
    assert pauses == [0, 1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_is_needed_is_given_up_and_only_for_ends_of_its_own() -> None:
    restarts = Restarts(needed=["web"])
    for now in range(MOST):
        assert restarts.ended("web", float(now)) is not None
        assert restarts.ended("worker", float(now)) is not None
    assert restarts.ended("worker", float(MOST)) is not None
    assert restarts.ended("web", float(MOST)) is None


def test_old_ends_are_forgiven() -> None:
    restarts = Restarts(needed=["web"])
    assert [restarts.ended("web", WITHIN_SECONDS * number) for number in range(20)] == [0] * 20


def test_a_child_is_due_after_its_pause_and_once() -> None:
    restarts = Restarts(needed=[])
    assert restarts.ended("worker", 0) == 0
    assert restarts.due(0) == ["worker"]
    assert restarts.ended("worker", 5) == 1
    assert restarts.due(5.5) == []
    assert restarts.due(6) == ["worker"]
    assert restarts.due(100) == []
