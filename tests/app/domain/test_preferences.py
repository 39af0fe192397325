"""The 9-point scale turns with the sides and says which side is preferred."""

import pytest

from app.domain.preferences import HIGHEST, LOWEST, MIDDLE, WORDS, choice, turned

SCALE = range(LOWEST, HIGHEST + 1)


@pytest.mark.parametrize(("value", "other"), [(1, 9), (2, 8), (3, 7), (4, 6), (5, 5)])
def test_a_turned_answer_prefers_the_other_side_as_much(value: int, other: int) -> None:
    assert turned(value, True) == other
    assert turned(other, True) == value
    assert turned(value, False) == value


@pytest.mark.parametrize("value", SCALE)
def test_turning_turns_the_choice(value: int) -> None:
    chosen = choice(value)
    assert choice(turned(value, True)) == (None if chosen is None else 1 - chosen)


def test_the_middle_prefers_nobody() -> None:
    assert [choice(value) for value in SCALE] == [0, 0, 0, 0, None, 1, 1, 1, 1]
    assert MIDDLE == 5


def test_every_step_has_words_that_name_its_side() -> None:
    assert list(WORDS) == list(SCALE)
    for value, words in WORDS.items():
        chosen = choice(value)
        assert words.startswith("Cannot tell" if chosen is None else "AB"[chosen] + " is ")
