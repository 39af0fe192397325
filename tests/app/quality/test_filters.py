"""What a recipe leaves out of training: nothing unless asked, each answer for one reason, by the snapshot alone."""

from app.domain.recipes import LabelsRecipe
from app.quality.filters import LEAST_PAIRS, Answer, Why, left_out


def _answers(labeler: str, values: list[int], kind: str = "ordinary", start: int = 0) -> list[Answer]:
    return [Answer(start + place, labeler, value, kind) for place, value in enumerate(values)]


def test_nothing_is_left_out_by_default() -> None:
    answers = [
        *_answers("Ada", [1, 5, 9] * 20),
        *_answers("Bob", [9, 5, 1] * 20),
        *_answers("Ada", [4], "sentinel", 99),
    ]
    assert left_out(LabelsRecipe(), answers) == [None] * 121
    assert left_out(LabelsRecipe(least_confidence=3), []) == []


def test_answers_too_near_the_middle() -> None:
    found = left_out(LabelsRecipe(least_confidence=2), _answers("Ada", [1, 3, 4, 5, 6, 7, 9]))
    assert found == [None, None, Why.CONFIDENCE, Why.CONFIDENCE, Why.CONFIDENCE, None, None]


def test_kinds_by_name() -> None:
    answers = [*_answers("Ada", [2, 2]), *_answers("Ada", [2], "sentinel", 9), *_answers("Ada", [2], "shared", 12)]
    found = left_out(LabelsRecipe(leave_out=("sentinel", "calibration")), answers)
    assert found == [None, None, Why.KIND, None]


def test_labelers_who_agree_too_little_with_the_others() -> None:
    pool = LEAST_PAIRS
    good = [*_answers("Ada", [1] * pool), *_answers("Bob", [2] * pool)]
    odd = _answers("Eve", [9] * pool)
    found = left_out(LabelsRecipe(least_agreement=0.6), [*good, *odd])
    # Ada and Bob agree with each other and not with Eve: half of their pairings, which is below 0.6, too.
    assert found == [Why.AGREEMENT] * (3 * pool)
    found = left_out(LabelsRecipe(least_agreement=0.5), [*good, *odd])
    assert found == [None] * (2 * pool) + [Why.AGREEMENT] * pool


def test_nobody_is_left_out_for_a_handful_of_pairs_or_for_fives() -> None:
    few = LEAST_PAIRS - 1
    answers = [*_answers("Ada", [1] * few), *_answers("Eve", [9] * few)]
    assert left_out(LabelsRecipe(least_agreement=1.0), answers) == [None] * (2 * few)
    undecided = [*_answers("Ada", [1] * 40), *_answers("Eve", [5] * 40)]
    assert left_out(LabelsRecipe(least_agreement=1.0), undecided) == [None] * 80


def test_an_answer_is_left_out_for_the_first_reason_only() -> None:
    labels = LabelsRecipe(least_confidence=4, least_agreement=1.0, leave_out=("shared",))
    answers = [*_answers("Ada", [4] * LEAST_PAIRS), *_answers("Eve", [6] * LEAST_PAIRS, "shared")]
    assert left_out(labels, answers) == [Why.AGREEMENT] * LEAST_PAIRS + [Why.KIND] * LEAST_PAIRS
