"""Choosing has the probabilities that it says, and estimates made with them are right on average."""

from collections import Counter
from itertools import combinations
from random import Random

import pytest

from app.domain.choosing import choose, draw, inclusion

SCORES = [0.0, 0.01, 0.05, 0.05, 0.2, 0.4, 0.9, 3.0]


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("control", [0.1, 0.5, 1.0])
def test_probabilities_add_up_and_none_is_below_its_share_of_chance(number: int, control: float) -> None:
    chances = inclusion(SCORES, number, control)
    assert sum(chances) == pytest.approx(number)
    assert max(chances) <= 1 and min(chances) >= control * number / len(SCORES) - 1e-12
    assert chances == sorted(chances), "a higher score never has a lower probability"


def test_probabilities_by_hand() -> None:
    # Of two places the 6 takes one for certain, being more than half of all; the others share the second.
    assert inclusion([1, 1, 2, 6], 2, 1e-12) == pytest.approx([0.25, 0.25, 0.5, 1.0])
    assert inclusion([1, 1, 2, 6], 2, 0.2) == pytest.approx([0.3, 0.3, 0.5, 0.9])
    assert inclusion([1, 1, 2, 6], 1, 0.5) == pytest.approx([0.175, 0.175, 0.225, 0.425])


def test_where_nothing_tells_more_than_anything_else_all_are_alike() -> None:
    assert inclusion([0.0] * 5, 2, 0.3) == pytest.approx([0.4] * 5)
    assert inclusion([7.0] * 5, 2, 0.3) == pytest.approx([0.4] * 5)
    # One that tells something is certain of the part in proportion; what is left is shared by those that tell nothing.
    assert inclusion([0.0, 0.0, 0.0, 5.0], 2, 0.5) == pytest.approx([0.25 + 1 / 6] * 3 + [0.75])


def test_exactly_so_many_are_chosen_and_as_often_as_said() -> None:
    random, draws, counts = Random(1), 20_000, Counter[int]()
    chances = inclusion(SCORES, 3, 0.2)
    for _ in range(draws):
        drawn = draw(chances, random)
        assert len(drawn) == len(set(drawn)) == 3
        counts.update(drawn)
    for place, chance in enumerate(chances):
        # Five standard errors.
        assert counts[place] / draws == pytest.approx(chance, abs=5 * (chance * (1 - chance) / draws) ** 0.5 + 1e-9)


def test_neighbours_are_drawn_together_too() -> None:
    random = Random(6)
    seen = Counter(tuple(draw([0.5] * 4, random)) for _ in range(6_000))
    assert set(seen) == set(combinations(range(4), 2))
    assert max(seen.values()) < 1.3 * min(seen.values())


def test_the_sum_over_the_chosen_by_their_propensity_is_right_on_average() -> None:
    random = Random(2)
    # What tells more is worth less: an average over the chosen alone would be far off.
    worth = [8.0, 7.5, 6.0, 6.5, 4.0, 3.0, 2.0, 0.5]
    estimates, plain = [], []
    for _ in range(10_000):
        chosen = choose(SCORES, 3, 0.2, random)
        estimates.append(sum(worth[each.place] / each.propensity for each in chosen) / len(worth))
        plain.append(sum(worth[each.place] for each in chosen) / len(chosen))
    truth = sum(worth) / len(worth)
    mean = sum(estimates) / len(estimates)
    error = (sum((each - mean) ** 2 for each in estimates) / len(estimates) ** 2) ** 0.5
    assert abs(mean - truth) < 4 * error
    assert sum(plain) / len(plain) < truth - 1


def test_every_candidate_is_as_often_in_the_control_arm() -> None:
    random, draws, control = Random(3), 20_000, Counter[int]()
    for _ in range(draws):
        control.update(each.place for each in choose(SCORES, 4, 0.25, random) if each.control)
    # A quarter of four, over eight candidates.
    for place in range(len(SCORES)):
        assert control[place] / draws == pytest.approx(0.125, abs=5 * (0.125 * 0.875 / draws) ** 0.5)


def test_all_are_chosen_for_certain_where_there_are_no_more() -> None:
    for number in (3, 9):
        assert [(each.place, each.propensity) for each in choose([0.0, 2.0, 0.1], number, 0.2, Random(1))] == [
            (0, 1.0),
            (1, 1.0),
            (2, 1.0),
        ]
    assert choose([], 3, 0.2, Random(1)) == [] and choose([1.0], 0, 0.2, Random(1)) == []


def test_the_same_seed_chooses_the_same() -> None:
    assert choose(SCORES, 3, 0.2, Random(5)) == choose(SCORES, 3, 0.2, Random(5))
    assert len({tuple(draw(inclusion(SCORES, 3, 0.2), Random(seed))) for seed in range(50)}) > 5


def test_many_small_probabilities_lose_nobody() -> None:
    random = Random(4)
    for size in (1_000, 4_097):
        scores = [random.expovariate(1) ** 6 for _ in range(size)]
        assert len(draw(inclusion(scores, size // 4, 0.1), random)) == size // 4
