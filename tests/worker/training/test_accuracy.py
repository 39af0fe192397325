import math

from tests.support import tiny_models
from worker.training.accuracy import Accuracy, ScoredPair, accuracy, by_confidence, by_policies
from worker.training.examples import Pair


def scored(value: int, policies: tuple[str, str], preferred: float, other: float) -> ScoredPair:
    return ScoredPair(Pair(tiny_models.query(1), "a", "b", value, policies), preferred, other)


ROWS = [
    scored(1, ("sft", "ref"), 2.0, 1.0),
    scored(9, ("ref", "sft"), 1.0, 2.0),
    scored(6, ("sft", "sft"), 1.0, 1.0),
    scored(5, ("sft", "sft"), 9.0, 1.0),
]


def test_equal_scores_count_half_and_ties_not_at_all() -> None:
    assert accuracy(ROWS) == Accuracy(1.5, 3)
    assert accuracy(ROWS).rate == 0.5
    assert math.isnan(accuracy([]).rate)


def test_groups() -> None:
    assert by_policies(ROWS) == {"ref / sft": Accuracy(1.0, 2), "sft / sft": Accuracy(0.5, 1)}
    assert by_confidence(ROWS) == {"1": Accuracy(0.5, 1), "4": Accuracy(1.0, 2)}
