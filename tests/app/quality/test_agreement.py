"""Agreement, by the worked examples of those who made the coefficients, by hand, and on real comparisons."""

import gzip
import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from app.quality import agreement
from app.quality.agreement import VALUES
from app.quality.resampling import Counts, Figure

DATA = Path(__file__).parents[4] / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not there: {DATA}")


def _value(figure: Figure) -> float:
    return float(figure.of(figure.parts.sum(axis=0)))


def _rng() -> np.random.Generator:
    return np.random.default_rng(1)


def _tally(*rows: dict[int, int]) -> Counts:
    """A tally from what was said of each comparison: value -> how often."""
    counts = np.zeros((len(rows), 9), dtype=np.int64)
    for row, said in enumerate(rows):
        for value, times in said.items():
            counts[row, value - 1] = times
    return counts


# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section D: four observers, twelve units, gaps.
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Fleiss' table as it is worked through on many pages: 10 subjects, 14 raters, 5 categories; kappa 0.210.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def _krippendorff() -> Counts:
    counts = np.zeros((12, 5), dtype=np.int64)
    for observer in OBSERVERS:
        for unit, said in enumerate(observer):
            if said != ".":
                counts[unit, int(said) - 1] += 1
    return counts


def test_alpha_of_krippendorffs_own_example() -> None:
    counts = _krippendorff()
    assert counts.sum() == 41
    assert _value(agreement.alpha_nominal(counts)) == pytest.approx(0.743, abs=0.0005)
    assert _value(agreement.alpha_interval(counts, np.arange(1.0, 6.0))) == pytest.approx(0.849, abs=0.0005)


def test_fleiss_of_the_worked_table() -> None:
    assert _value(agreement.fleiss(np.array(FLEISS))) == pytest.approx(0.20993, abs=0.00001)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
        ([20.0, 5.0, 10.0, 15.0], 0.4),
        # Observed 0.6, expected 0.6 * 0.7 + 0.4 * 0.3 = 0.54; the next one has the same observed, and 0.46 expected.
        ([45.0, 15.0, 25.0, 15.0], 0.06 / 0.46),
        ([25.0, 35.0, 5.0, 35.0], 0.14 / 0.54),
    ],
)
def test_cohen_of_worked_tables(table: list[float], kappa: float) -> None:
    """Two readers: both yes, only the first, only the second, both no."""
    assert _value(agreement.cohen(np.array([table]))) == pytest.approx(kappa)


def test_raw_agreement_by_hand() -> None:
    # Three answers make three pairs, of which one agrees; two agree; one answer and fives make none.
    counts = _tally({1: 2, 8: 1}, {6: 1, 9: 1}, {2: 1, 5: 3}, {5: 2})
    found = agreement.among(counts, _rng())
    assert found.raw.value == pytest.approx(2 / 4)
    assert (found.pairings, found.raw.n) == (4, 2)
    # The nine points are compared where two of them were said, fives among them.
    assert found.interval.n == 4
    assert agreement.sides_among(agreement.sides(counts), _rng()) == found.raw


def test_the_middle_is_no_side() -> None:
    assert agreement.sides(_tally({1: 1, 4: 2, 5: 7, 6: 1, 9: 3})).tolist() == [[3, 4]]


def test_fleiss_by_hand_where_the_numbers_differ() -> None:
    # P_i: 1/3 and 1, so 2/3 on average; sides 2 + 2 of 5 and 1 of 5: expected 0.16 * 4 + 0.04 = 0.68.
    counts = np.array([[2, 1], [2, 0], [1, 0]])
    assert _value(agreement.fleiss(counts)) == pytest.approx((2 / 3 - 0.68) / (1 - 0.68))


def test_nobody_beyond_chance_where_chance_agrees_always() -> None:
    found = agreement.among(_tally(*({2: 2},) * 12), _rng())
    assert found.raw.value == 1.0
    assert found.kappa.value is None and found.nominal.value is None and found.interval.value is None
    assert found.kappa.n == 12


def test_two_kinds_of_people_by_hand() -> None:
    labelers = _tally({1: 1}, {8: 1}, {2: 1, 7: 1}, {3: 1}, {4: 1})
    researchers = _tally({2: 1}, {9: 1}, {1: 2}, {5: 1}, {})
    found = agreement.between(labelers, researchers, _rng())
    # Both first; both second; (first, first) twice and (second, first) twice; a five has no side; nobody to compare.
    assert found.raw.value == pytest.approx((1 + 1 + 2) / (1 + 1 + 4))
    assert (found.pairings, found.raw.n, found.interval.n) == (6, 3, 4)
    # Labelers: first in 3 of 6 pairs; researchers: in 5 of 6. Expected 3/6 * 5/6 + 3/6 * 1/6 = 1/2.
    assert found.kappa.value == pytest.approx((4 / 6 - 1 / 2) / (1 - 1 / 2))
    # Twelve answers in six units of two, of which two differ: 8 first and 4 second.
    assert found.nominal.value == pytest.approx(1 - 11 * 4 / (12**2 - 8**2 - 4**2))
    same = agreement.sides_between(agreement.sides(labelers), agreement.sides(researchers), _rng())
    assert same == found.raw


def test_alpha_of_pairs_is_alpha_of_units_of_two() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.integers(1, 10, 40), rng.integers(1, 10, 40)
    places = np.arange(40)
    one, other = agreement.tally(places, first, 40), agreement.tally(places, second, 40)
    both = _value(agreement.alpha_interval(one + other, VALUES))
    assert _value(agreement.alpha_of_pairs(one, other, VALUES)) == pytest.approx(both)
    sided = agreement.crossed(agreement.sides(one), agreement.sides(other))
    units = (agreement.sides(one) + agreement.sides(other))[sided.sum(axis=1) > 0]
    assert _value(agreement.alpha_of_table(sided)) == pytest.approx(_value(agreement.alpha_nominal(units)))


def test_nobody_is_part_of_the_mode_they_are_held_against() -> None:
    # Three against one: each of the three sees 2 to 1 on their side, the one sees 3 to 0 against them.
    assert agreement.with_mode(np.array([[3, 1]]), _rng()).value == pytest.approx(3 / 4)
    # Two against two: each sees 1 to 2 against them. Three opinions leave two others, which is too few.
    assert agreement.with_mode(np.array([[2, 2]]), _rng()).value == 0.0
    assert agreement.with_mode(np.array([[3, 0], [2, 1]]), _rng()).n == 0
    # Three against two: the three see a tie, the two see 3 to 1 against them.
    assert agreement.with_mode(np.array([[3, 2]]), _rng()).value == 0.0


def test_a_mode_needs_three_and_no_tie() -> None:
    found = agreement.mode(np.array([[2, 1], [1, 4], [2, 0], [2, 2], [0, 0]]))
    assert found.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]


def test_nothing_to_compare() -> None:
    for counts in (np.zeros((0, 9), dtype=np.int64), _tally({2: 1}, {5: 1})):
        found = agreement.among(counts, _rng())
        assert (found.raw.value, found.raw.n, found.pairings) == (None, 0, 0)
        other = agreement.between(counts, np.zeros_like(counts), _rng())
        assert (other.raw.value, other.kappa.value, other.interval.n, other.pairings) == (None, None, 0, 0)
        assert agreement.sides_between(agreement.sides(counts), agreement.sides(counts * 0), _rng()).n == 0
        assert agreement.with_mode(agreement.sides(counts), _rng()).value is None


def test_rows_follow_the_order_of_ids() -> None:
    rows, size = agreement.rows_of([70, 9, 70, 8])
    assert (rows.tolist(), size) == ([2, 1, 2, 0], 3)
    assert agreement.tally(rows, np.array([1, 9, 1, 5]), size)[2].tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0]


@real_data
def test_the_workers_of_the_released_comparisons() -> None:
    """Batches 13 and 18 of the study's release: as many pairs of workers agree as a count one by one says."""
    said: dict[tuple[str, ...], list[int]] = defaultdict(list)
    with gzip.open(DATA / "tldr_comparisons.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            texts = [each["text"] for each in record["summaries"]]
            value = record["extra"]["confidence"]
            turn = texts[0] > texts[1]
            said[record["info"]["id"], *sorted(texts)].append(10 - value if turn else value)
    pairs = [pair for values in said.values() for pair in itertools.combinations(values, 2)]
    agreeing = sum((one > 5) == (other > 5) for one, other in pairs)
    rows = np.repeat(np.arange(len(said)), [len(values) for values in said.values()])
    counts = agreement.tally(rows, np.array([value for values in said.values() for value in values]), len(said))
    found = agreement.among(counts, _rng())
    assert found.pairings == len(pairs) > 500
    assert found.raw.value == pytest.approx(agreeing / len(pairs))
    assert found.raw.low is not None and found.raw.high is not None
    # The study says 72 % of its training comparisons; these are a few of its evaluation.
    assert found.raw.low < 0.72 < found.raw.high
