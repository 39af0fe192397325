"""How much of somebody's answers the summaries decide, and how much the side does: a noisy Bradley-Terry fit.

Knows only which of two sides was preferred, by whom, and which summary was shown first. Knows nothing of the texts.

The model, in own words after Chen et al. 2013 (Crowd-BT: annotators of differing reliability) and the NoisyBradleyTerry
of Crowd-Kit (Ustalov et al. 2024: a left-side bias for each annotator): with probability `skill` a labeler looks, and
then prefers the first summary as Bradley and Terry 1952 say, with log-odds that belong to the comparison; otherwise the
answer is the first shown with probability `first`, the second shown with `second`, whatever the texts. The three add up
to 1; `bias` is first - second. Unlike there, the log-odds are not fitted one by one, because most comparisons get one
answer and the fit would follow each: they are taken as normal over comparisons and integrated out (Bock and Aitkin
1981), with mean and spread fitted by the same EM. Three shares of answers can be read as shares, whatever the scale of
the scores; the scale itself is decided by comparisons with four or more answers, and by the priors below without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.intervals import Z95, Estimate
from app.quality.resampling import Counts, Floats

LEAST_SHARED = 30
"""Fewer answers than this on comparisons that others judged too say nothing of skill."""
PRIOR = (3.0, 0.2, 0.2)
"""Answers that everybody is taken to have given before (looked, first shown, second shown): it keeps shares off 0."""
MOST_SHARED = 20_000
"""So many answers on comparisons that several judged are fitted, the newest: more would only cost time."""
_NODES = np.linspace(-4.0, 4.0, 17)
_SPREAD, _COMPARISONS = 2.5, 10.0
"""So many comparisons more, of mean log-odds 0 and this spread, are taken to be there: few answers have no other.

With it, two labelers who always look prefer the same side in 74 % of comparisons, about as often as in the study.
"""
_MOST_ODDS = 30.0
_MOST_STEPS = 100
_CLOSE = 1e-4
_LONGEST = 64.0


@dataclass(frozen=True)
class Skill:
    """Of one labeler. The n of `skill` counts answers on comparisons with another one; that of `bias` all of them."""

    skill: Estimate
    bias: Estimate


@dataclass(frozen=True)
class Fit:
    """Labelers in the order of their rows, and the mean and spread of the comparisons' log-odds."""

    labelers: Sequence[Skill]
    mean: float
    spread: float


@dataclass(frozen=True)
class _Data:
    """Each answer's unit, and its code: labeler * 4 + 2 * (second shown first) + (first shown preferred).

    A unit is a comparison with two answers or more, or all lone answers of one code: those are alike, and `weights`
    says how many there are.
    """

    units: Counts
    codes: Counts
    weights: Floats
    labelers: int


def fit(
    items: Counts, labelers: Counts, swapped: npt.NDArray[np.bool_], first_shown: npt.NDArray[np.bool_], size: int
) -> Fit:
    """Fit `size` labelers, rows 0 to size - 1, to answers that prefer a side, at most one by a labeler on an item.

    `swapped`: the comparison's second summary was shown first. `first_shown`: the one shown first was preferred.
    """
    _, rows, counts = np.unique(items, return_inverse=True, return_counts=True)
    # From the newest comparison back, as many answers on shared ones as are fitted in all.
    later = np.cumsum(np.where(counts > 1, counts, 0)[::-1])[::-1]
    taken = ((counts == 1) | (later <= MOST_SHARED))[rows]
    rows, labelers = rows[taken].astype(np.int64), labelers[taken]
    codes = labelers * 4 + 2 * swapped[taken] + first_shown[taken]
    lone = counts[rows] == 1
    if not len(rows):
        nothing = Estimate(None, 0, None, None)
        return Fit([Skill(nothing, nothing)] * size, 0.0, _SPREAD)
    data = _data(rows, codes, lone, size)
    answers = np.bincount(labelers, minlength=size)
    found = _climb(data, answers.astype(np.float64))
    shared = np.bincount(labelers[~lone], minlength=size)
    return Fit(_told(data, found, shared, answers), found.mean, found.spread)


def _data(rows: Counts, codes: Counts, lone: npt.NDArray[np.bool_], size: int) -> _Data:
    lone_codes, lone_counts = np.unique(codes[lone], return_counts=True)
    several, units = np.unique(rows[~lone], return_inverse=True)
    return _Data(
        units=np.concatenate([units, len(several) + np.arange(len(lone_codes))]).astype(np.int64),
        codes=np.concatenate([codes[~lone], lone_codes]).astype(np.int64),
        weights=np.concatenate([np.ones(len(several)), lone_counts.astype(np.float64)]),
        labelers=size,
    )


def _looking(mean: float, spread: float) -> Floats:
    """The chance of each code (4) at each node for somebody who looks: nodes by 4."""
    first = 1 / (1 + np.exp(-(mean + spread * _NODES)))
    return np.stack([1 - first, first, first, 1 - first], axis=1)


def _chances(shares: Floats, looking: Floats) -> Floats:
    """The chance of every labeler's codes at every node: nodes by labelers * 4."""
    chances = shares[None, :, [2, 1, 2, 1]] + shares[None, :, :1] * looking[:, None, :]
    return np.asarray(chances.reshape(len(_NODES), -1), dtype=np.float64)


def _posterior(data: _Data, chances: Floats) -> Floats:
    """Where the log-odds of each unit lie, given its answers: nodes by units."""
    # A sum for each node, and no matrix product: its threads would wait for each other on a machine at work.
    sums = np.stack([np.bincount(data.units, at_node[data.codes]) for at_node in np.log(chances)])
    logs = sums - 0.5 * _NODES[:, None] ** 2
    found = np.exp(logs - logs.max(axis=0))
    return np.asarray(found / found.sum(axis=0), dtype=np.float64)


@dataclass(frozen=True)
class _State:
    """The shares (looked, first, second) of each labeler, and mean and spread of the log-odds."""

    shares: Floats
    mean: float
    spread: float

    def vector(self) -> Floats:
        """Free of bounds, for extrapolation."""
        return np.concatenate([np.log(self.shares).ravel(), [self.mean, np.log(self.spread)]])

    @staticmethod
    def of(vector: Floats) -> "_State":
        """Back from a vector, which an extrapolation may have carried far off; shares add up to 1."""
        logs = vector[:-2].reshape(-1, 3)
        shares = np.maximum(np.exp(logs - logs.max(axis=1, keepdims=True)), 1e-9)
        mean, spread = np.clip(vector[-2], -_MOST_ODDS, _MOST_ODDS), np.exp(np.clip(vector[-1], -5, np.log(_MOST_ODDS)))
        return _State(shares / shares.sum(axis=1, keepdims=True), float(mean), float(spread))


def _better(data: _Data, answers: Floats, now: _State) -> _State:
    """One step of EM."""
    chances = _chances(now.shares, _looking(now.mean, now.spread))
    weighted = _posterior(data, chances) * data.weights
    # How often each labeler gave each code while the log-odds were at each node.
    codes = 4 * data.labelers
    given = np.stack([np.bincount(data.codes, at_node[data.units], minlength=codes) for at_node in weighted])
    blind = (given / chances).sum(axis=0).reshape(-1, 4) * now.shares[:, [2, 1, 2, 1]]
    first, second = blind[:, 1] + blind[:, 3], blind[:, 0] + blind[:, 2]
    told = np.stack([answers - first - second, first, second], axis=1) + PRIOR
    at, total = weighted.sum(axis=1), data.weights.sum() + _COMPARISONS
    odds = now.mean + now.spread * _NODES
    mean = float(at @ odds / total)
    around = at @ (odds - mean) ** 2 + _COMPARISONS * (_SPREAD**2 + mean**2)
    spread = float(np.sqrt(around / total))
    return _State(told / told.sum(axis=1, keepdims=True), mean, spread)


def _climb(data: _Data, answers: Floats) -> _State:
    """EM from everybody alike, with the squared extrapolation of Varadhan and Roland 2008 between steps."""
    start = _State(np.tile(np.array(PRIOR) / sum(PRIOR), (data.labelers, 1)), 0.0, _SPREAD)
    at = start.vector()
    for _ in range(_MOST_STEPS):
        one = _better(data, answers, _State.of(at)).vector()
        two = _better(data, answers, _State.of(one)).vector()
        step, turn = one - at, (two - one) - (one - at)
        if np.abs(np.exp(one) - np.exp(at)).max() < _CLOSE:
            break
        ratio = np.linalg.norm(step) / max(float(np.linalg.norm(turn)), 1e-12)
        length = float(np.clip(ratio, 1.0, _LONGEST))
        far = _State.of(at + 2 * length * step + length**2 * turn)
        at = _better(data, answers, far).vector()
    return _State.of(at)


def _told(data: _Data, found: _State, shared: Counts, answers: Counts) -> list[Skill]:
    """Shares with intervals from the curvature at the top: outer products of each answer's slope, the prior's added.

    The other labelers and the spread are taken as known, so the intervals are somewhat narrow where all are uncertain.
    """
    shares = found.shares
    looking = _looking(found.mean, found.spread)
    chances = _chances(shares, looking)
    # The slope of the chance of a code by the share `first`, and by `second`; their sum with `looked` stays 1.
    by_first = np.stack([-looking[:, 0], 1 - looking[:, 1], -looking[:, 2], 1 - looking[:, 3]], axis=1)
    by_second = np.stack([1 - looking[:, 0], -looking[:, 1], 1 - looking[:, 2], -looking[:, 3]], axis=1)
    units, codes = data.units, data.codes
    likely = _posterior(data, chances)[:, units] / chances[:, codes]
    slopes = ((likely * by_first[:, codes % 4]).sum(axis=0), (likely * by_second[:, codes % 4]).sum(axis=0))
    curvature = np.empty((data.labelers, 2, 2))
    for row in (0, 1):
        for column in (0, 1):
            products = data.weights[units] * slopes[row] * slopes[column]
            curvature[:, row, column] = np.bincount(codes // 4, products, minlength=data.labelers)
    curvature += (PRIOR[0] / shares[:, 0] ** 2)[:, None, None]
    curvature[:, 0, 0] += PRIOR[1] / shares[:, 1] ** 2
    curvature[:, 1, 1] += PRIOR[2] / shares[:, 2] ** 2
    spreads = np.linalg.inv(curvature)
    own, cross = spreads[:, 0, 0] + spreads[:, 1, 1], 2 * spreads[:, 0, 1]
    skills, biases = np.sqrt(own + cross), np.sqrt(own - cross)
    return [
        Skill(
            _estimate(shares[row, 0], skills[row], int(shared[row]), LEAST_SHARED, 0.0),
            _estimate(shares[row, 1] - shares[row, 2], biases[row], int(answers[row]), 1, -1.0),
        )
        for row in range(data.labelers)
    ]


def _estimate(value: float, error: float, n: int, least: int, lowest: float) -> Estimate:
    if n < least:
        return Estimate(None, n, None, None)
    return Estimate(float(value), n, max(lowest, float(value - Z95 * error)), min(1.0, float(value + Z95 * error)))
