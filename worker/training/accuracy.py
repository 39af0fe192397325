"""How often scores agree with labelers, over all pairs and by group, pure.

Equal scores count half. Pairs without a preference are left out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from worker.training.examples import Pair


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A judged pair with the scores of its two summaries."""

    pair: Pair
    preferred_score: float
    other_score: float

    @property
    def right(self) -> float:
        """1 when the preferred summary scores higher, 0 when lower, 0.5 when equal."""
        return 0.5 + 0.5 * ((self.preferred_score > self.other_score) - (self.preferred_score < self.other_score))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`right` of `n` pairs; `right` may be a half."""

    right: float
    n: int

    @property
    def rate(self) -> float:
        """right / n; not a number when there are no pairs."""
        return self.right / self.n if self.n else math.nan


def accuracy(scored: Iterable[ScoredPair]) -> Accuracy:
    """Over all pairs that have a preference."""
    counted = [each.right for each in scored if not each.pair.tied]
    return Accuracy(sum(counted), len(counted))


def by_policies(scored: Sequence[ScoredPair]) -> dict[str, Accuracy]:
    """By the two policies compared, in alphabetical order: `ref / sft`."""
    return _grouped(scored, lambda pair: " / ".join(sorted(pair.policies)))


def by_confidence(scored: Sequence[ScoredPair]) -> dict[str, Accuracy]:
    """By how sure the labeler was: `1` (barely) to `4` (much better)."""
    return _grouped(scored, lambda pair: str(pair.confidence))


def _grouped(scored: Sequence[ScoredPair], name: Callable[[Pair], str]) -> dict[str, Accuracy]:
    names = sorted({name(each.pair) for each in scored if not each.pair.tied})
    return {each: accuracy(one for one in scored if name(one.pair) == each) for each in names}
