"""Which answers a recipe leaves out of reward training, and why.

Knows the fields of app.domain.recipes.LabelsRecipe. Knows nothing of rows. P App. C.2: leaving answers out for their
confidence or for their labeler made the reward model worse, so a recipe must ask for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.domain.preferences import MIDDLE
from app.domain.recipes import LabelsRecipe
from app.quality.agreement import rows_of, sides, tally
from app.quality.resampling import Counts

LEAST_PAIRS = 20
"""With fewer pairings than this a labeler's agreement is too uncertain to leave anything out for."""


class Why(StrEnum):
    """Why an answer is left out; the first reason that applies."""

    KIND = "kind"
    AGREEMENT = "agreement"
    CONFIDENCE = "confidence"


@dataclass(frozen=True)
class Answer:
    """What a filter asks of an answer: the comparison, who gave it, its value in any frame, the comparison's kind."""

    comparison: int
    labeler: str
    value: int
    kind: str


def left_out(labels: LabelsRecipe, answers: Sequence[Answer]) -> list[Why | None]:
    """For each answer why it is left out, or None.

    Agreement is raw agreement with the other labelers among these answers, so it is the same whenever the same
    snapshot is read again; a comparison's answers must be in one frame.
    """
    if labels.keeps_all or not answers:
        return [None] * len(answers)
    weak = _weak(answers, labels.least_agreement) if labels.least_agreement else frozenset()
    found: list[Why | None] = []
    for answer in answers:
        if answer.kind in labels.leave_out:
            found.append(Why.KIND)
        elif answer.labeler in weak:
            found.append(Why.AGREEMENT)
        elif abs(answer.value - MIDDLE) < labels.least_confidence:
            found.append(Why.CONFIDENCE)
        else:
            found.append(None)
    return found


def _weak(answers: Sequence[Answer], least: float) -> frozenset[str]:
    """Labelers who agree with the others in less than this share of LEAST_PAIRS pairings or more."""
    names, labelers = np.unique([answer.labeler for answer in answers], return_inverse=True)
    rows, size = rows_of([answer.comparison for answer in answers])
    values: Counts = np.asarray([answer.value for answer in answers], dtype=np.int64)
    own = sides(tally(np.arange(len(rows)), values, len(rows)))
    others = sides(tally(rows, values, size))[rows] - own
    agreeing = np.bincount(labelers, (own * others).sum(axis=1))
    pairings = np.bincount(labelers, own.sum(axis=1) * others.sum(axis=1))
    return frozenset(
        str(name)
        for name, agreed, met in zip(names, agreeing, pairings, strict=True)
        if met >= LEAST_PAIRS and agreed < least * met
    )
