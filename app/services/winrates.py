"""Which policy people prefer: win rates between policies from what was judged, as they are and at equal length.

Knows whose answers count (invariant 10). The formulas are in app.quality.winrates. Knows nothing of pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.intervals import Estimate
from app.domain.words import LabelerKind
from app.quality import winrates
from app.quality.winrates import WinRate
from app.services.projects import the_project
from app.store import quality
from app.store.session import Session


@dataclass(frozen=True)
class Pairing:
    """Two policies that met, the newer first, how often people preferred its summaries, and by how many answers."""

    first_id: int
    first: str
    second_id: int
    second: str
    rate: WinRate
    answers: int


@dataclass(frozen=True)
class Standings:
    """Every pair of policies that met, the most compared first; `slope` is what an e-fold length adds to log-odds."""

    pairings: list[Pairing]
    slope: Estimate

    def of(self, policy_id: int, against: int) -> WinRate | None:
        """How often the one is preferred to the other; None where they never met."""
        return next(
            (each.rate for each in self.pairings if (each.first_id, each.second_id) == (policy_id, against)), None
        )

    def with_policy(self, policy_id: int) -> list[Pairing]:
        """Every pair in which this policy is."""
        return [each for each in self.pairings if policy_id in (each.first_id, each.second_id)]


def standings(session: Session, kinds: Sequence[LabelerKind] = (LabelerKind.HUMAN,)) -> Standings:
    """Win rates between policies; simulated labelers only when their kind is asked for."""
    project = the_project(session)
    said = quality.wins(session, project.id, kinds=kinds)
    names = {policy_id: name for policy_id, (name, _) in quality.policies(session, project.id).items()}
    first, second = np.asarray(said.first_policy, dtype=np.int64), np.asarray(said.second_policy, dtype=np.int64)
    won = np.asarray(said.won, dtype=np.float64)
    # An empty text has no ratio to another: it counts as one character.
    lengths = np.maximum(np.asarray([said.first_length, said.second_length], dtype=np.float64), 1)
    log_ratio = np.log(lengths[0] / lengths[1]) if len(won) else np.empty(0)
    newer = first > second
    both = np.stack([np.where(newer, first, second), np.where(newer, second, first)], axis=1)
    pairs, place = np.unique(both, axis=0, return_inverse=True)
    answers = np.bincount(place, np.asarray(said.answers, dtype=np.float64), minlength=len(pairs))
    found = winrates.win_rates(
        place.astype(np.int64),
        np.where(newer, won, 1 - won),
        np.where(newer, log_ratio, -log_ratio),
        1 / np.asarray(said.propensity, dtype=np.float64),
        len(pairs),
    )
    pairings = [
        Pairing(int(one), names[int(one)], int(other), names[int(other)], rate, int(count))
        for (one, other), rate, count in zip(pairs, found.pairs, answers, strict=True)
    ]
    return Standings(sorted(pairings, key=lambda each: -each.rate.raw.n), found.slope)
