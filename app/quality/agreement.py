"""How far people agree: raw agreement, Cohen's and Fleiss' kappa, Krippendorff's alpha, and one against a mode.

Knows tallies: a row for each comparison, a column for each value, and how often it was given. Knows nothing of who
gave it. Raw agreement and the kappas are about the preferred side, so the answer 5 is left out of them (P App. C.2);
alpha for interval data is about the 9-point value and takes it in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.intervals import Estimate
from app.domain.preferences import HIGHEST, LOWEST, MIDDLE
from app.quality.resampling import Counts, Figure, Floats, estimates, patterns

VALUES = np.arange(LOWEST, HIGHEST + 1, dtype=np.float64)
MODE_OF = 3
"""A mode is taken of at least so many preferred sides (P App. C.2 asks three labelers)."""


@dataclass(frozen=True)
class Agreement:
    """How far people agree; the n of a figure counts comparisons, `pairings` the pairs of answers behind `raw`.

    `kappa` is Fleiss' among people of one kind and Cohen's between two kinds. Figures are None where there is nothing
    to compare or where chance alone would agree always.
    """

    raw: Estimate
    kappa: Estimate
    nominal: Estimate
    interval: Estimate
    pairings: int


def rows_of(items: npt.ArrayLike) -> tuple[Counts, int]:
    """Comparison ids as rows 0, 1, ... in the order of the ids, and how many there are."""
    known, codes = np.unique(np.asarray(items, dtype=np.int64), return_inverse=True)
    return codes.astype(np.int64), len(known)


def tally(items: Counts, values: Counts, size: int) -> Counts:
    """How often each comparison, 0 to size - 1, was given each value 1 to 9: an array of size by 9."""
    cells = np.bincount(items * HIGHEST + values - LOWEST, minlength=size * HIGHEST)
    return cells.reshape(size, HIGHEST).astype(np.int64)


def sides(tallied: Counts) -> Counts:
    """How often the first and the second summary were preferred: an array of comparisons by 2."""
    middle = MIDDLE - LOWEST
    return np.stack([tallied[:, :middle].sum(axis=1), tallied[:, middle + 1 :].sum(axis=1)], axis=1)


def among(tallied: Counts, rng: np.random.Generator) -> Agreement:
    """How far people of one kind agree with each other. Comparisons with one answer say nothing and cost nothing."""
    rows, weights = patterns(tallied[tallied.sum(axis=1) > 1])
    preferred = sides(rows)
    figures = [raw(preferred), fleiss(preferred), alpha_nominal(preferred), alpha_interval(rows, VALUES)]
    return _agreement(figures, weights, rng)


def between(first: Counts, second: Counts, rng: np.random.Generator) -> Agreement:
    """How far people of two kinds agree: every answer of the one with every answer of the other on the same comparison.

    Both tallies have a row for the same comparisons. Alpha takes each such pair of answers as a unit of two.
    """
    both = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
    rows, weights = patterns(np.hstack([first[both], second[both]]))
    one, other = rows[:, :HIGHEST], rows[:, HIGHEST:]
    table = crossed(sides(one), sides(other))
    figures = [agreement_of(table), cohen(table), alpha_of_table(table), alpha_of_pairs(one, other, VALUES)]
    return _agreement(figures, weights, rng)


def sides_among(preferred: Counts, rng: np.random.Generator) -> Estimate:
    """Raw agreement among people of one kind, from preferred sides: `among` for those who need nothing else of it."""
    rows, weights = patterns(preferred[preferred.sum(axis=1) > 1])
    return estimates([raw(rows)], weights, rng)[0]


def sides_between(first: Counts, second: Counts, rng: np.random.Generator) -> Estimate:
    """Raw agreement between people of two kinds, from preferred sides, row by row."""
    both = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
    rows, weights = patterns(np.hstack([first[both], second[both]]))
    return estimates([agreement_of(crossed(rows[:, :2], rows[:, 2:]))], weights, rng)[0]


def _agreement(figures: Sequence[Figure], weights: Counts, rng: np.random.Generator) -> Agreement:
    found = estimates(figures, weights, rng)
    pairings = int((weights @ figures[0].parts)[1]) if len(weights) else 0
    return Agreement(found[0], found[1], found[2], found[3], pairings)


def _share(sums: Floats) -> Floats:
    """The first of two sums as a share of the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1], dtype=np.float64)


def _beyond_chance(observed: Floats, expected: Floats) -> Floats:
    """(observed - expected) / (1 - expected); nan where chance alone agrees always."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.where(expected < 1, (observed - expected) / (1 - expected), np.nan),
            dtype=np.float64,
        )


def _pairs(counts: Counts) -> Floats:
    return (counts * (counts - 1) / 2).astype(np.float64)


def raw(counts: Counts) -> Figure:
    """The share of pairs of answers to the same comparison that are in the same column (P App. C.2)."""
    pairs = _pairs(counts.sum(axis=1))
    return Figure(np.stack([_pairs(counts).sum(axis=1), pairs], axis=1), _share, pairs > 0)


def fleiss(counts: Counts) -> Figure:
    """Fleiss' kappa (Fleiss 1971) of comparisons with at least two answers in any of the columns.

    Where the number of answers differs between comparisons, each comparison weighs the same in the observed agreement
    and each answer in the expected one; with one number for all it is Fleiss' own formula.
    """
    answers = counts.sum(axis=1)
    enough = answers > 1
    shares = np.divide(_pairs(counts).sum(axis=1), _pairs(answers), out=np.zeros(len(counts)), where=enough)
    kept = counts * enough[:, None]

    def of(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            observed = sums[..., 1] / sums[..., 0]
            columns = sums[..., 2:] / sums[..., 2:].sum(axis=-1, keepdims=True)
        return _beyond_chance(observed, (columns**2).sum(axis=-1))

    return Figure(np.column_stack([enough, shares, kept]).astype(np.float64), of, enough)


def alpha_nominal(counts: Counts) -> Figure:
    """Krippendorff's alpha for nominal data (Krippendorff 2011); answers may be missing anywhere."""
    answers = counts.sum(axis=1)
    enough = answers > 1
    kept = counts * enough[:, None]
    # Pairs that differ, each weighing 1 / (m - 1), so that every answer counts once.
    differing = np.divide(
        (kept * (answers[:, None] - kept)).sum(axis=1), answers - 1, out=np.zeros(len(counts)), where=enough
    )
    return Figure(np.column_stack([differing, kept]).astype(np.float64), _alpha_nominal, enough)


def _alpha_nominal(sums: Floats) -> Floats:
    columns = sums[..., 1:]
    n = columns.sum(axis=-1)
    expected = n**2 - (columns**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (n - 1) * sums[..., 0] / expected, np.nan), dtype=np.float64)


def alpha_interval(counts: Counts, values: Floats) -> Figure:
    """Krippendorff's alpha for interval data (Krippendorff 2011); `values`: what each column stands for."""
    answers = counts.sum(axis=1)
    enough = answers > 1
    summed, squared = counts @ values, counts @ values**2
    differing = np.divide(2 * (answers * squared - summed**2), answers - 1, out=np.zeros(len(counts)), where=enough)
    parts = np.column_stack([differing, answers * enough, summed * enough, squared * enough])
    return Figure(parts.astype(np.float64), _alpha_interval, enough)


def _alpha_interval(sums: Floats) -> Floats:
    differing, n, summed, squared = (sums[..., column] for column in range(4))
    expected = 2 * (n * squared - summed**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (n - 1) * differing / expected, np.nan), dtype=np.float64)


def crossed(first: Counts, second: Counts) -> Floats:
    """How often a column of `first` meets one of `second` on the same comparison: comparisons by columns squared."""
    cells = first.shape[1] * second.shape[1]
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), cells).astype(np.float64)


def _square(sums: Floats) -> Floats:
    side = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], side, side)


def agreement_of(table: Floats) -> Figure:
    """The share of pairs of answers on the diagonal of their tables."""
    met = table.sum(axis=1)
    same = np.trace(_square(table), axis1=-2, axis2=-1)
    return Figure(np.stack([same, met], axis=1), _share, met > 0)


def cohen(table: Floats) -> Figure:
    """Cohen's kappa (Cohen 1960) of two people, or two kinds of people, from their tables as `crossed` gives them."""

    def of(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = _square(sums / sums.sum(axis=-1, keepdims=True))
        expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
        return _beyond_chance(np.trace(shares, axis1=-2, axis2=-1), expected)

    return Figure(table, of, table.sum(axis=1) > 0)


def alpha_of_table(table: Floats) -> Figure:
    """Krippendorff's alpha for nominal data, where every cell of a table is a unit of two answers."""
    square = _square(table)
    met = table.sum(axis=1)
    differing = 2 * (met - np.trace(square, axis1=-2, axis2=-1))
    columns = square.sum(axis=-1) + square.sum(axis=-2)
    return Figure(np.column_stack([differing, columns]), _alpha_nominal, met > 0)


def alpha_of_pairs(first: Counts, second: Counts, values: Floats) -> Figure:
    """Krippendorff's alpha for interval data, where every answer of the one with every one of the other is a unit."""
    m_first, m_second = first.sum(axis=1), second.sum(axis=1)
    sum_first, sum_second = first @ values, second @ values
    squares_first, squares_second = first @ values**2, second @ values**2
    # The sum of squared differences over all pairs, each pair in both orders.
    differing = 2 * (m_second * squares_first + m_first * squares_second - 2 * sum_first * sum_second)
    parts = np.column_stack(
        [
            differing,
            2 * m_first * m_second,
            m_second * sum_first + m_first * sum_second,
            m_second * squares_first + m_first * squares_second,
        ]
    )
    return Figure(parts.astype(np.float64), _alpha_interval, m_first * m_second > 0)


def mode(preferred: Counts, least: int = MODE_OF) -> Counts:
    """The side that most answers prefer, as one count, where at least `least` prefer one and they do not tie."""
    decided = (preferred.sum(axis=1) >= least) & (preferred[:, 0] != preferred[:, 1])
    winner = preferred.argmax(axis=1)
    return np.asarray((np.arange(2) == winner[:, None]) & decided[:, None], dtype=np.int64)


def with_mode(preferred: Counts, rng: np.random.Generator, least: int = MODE_OF) -> Estimate:
    """How often an answer is on the side of the mode of the others, where at least `least` others prefer a side.

    An answer is never part of the mode it is held against: in a mode of three with oneself in it, coins agree 75 % of
    the time.
    """
    rows, weights = patterns(preferred)
    own = np.eye(2, dtype=np.int64)
    parts = np.zeros((len(rows), 2))
    for side in (0, 1):
        others = mode(np.maximum(rows - own[side], 0), least) * rows[:, [side]]
        parts += np.stack([others[:, side], others.sum(axis=1)], axis=1)
    return estimates([Figure(parts, _share, parts[:, 1] > 0)], weights, rng)[0]
