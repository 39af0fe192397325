"""Pairs that are put before one labeler when it is their turn: gold, qualification, calibration.

Knows who is given which of them and when. Knows nothing of leases (app.services.judging); never commits.
"""

from app.domain.gold import due
from app.domain.words import BatchPurpose, LabelerKind
from app.services import onboarding
from app.services.people import Viewer
from app.store import standing
from app.store.guidelines import Entrance
from app.store.session import Session


def lent_only(session: Session, met: Entrance, viewer: Viewer) -> bool:
    """Whether the labeler is given nothing but what `lend` gives: researchers' accounts, and newcomers who practise."""
    return viewer.calibrates or onboarding.practises(session, met, viewer)


def lend(session: Session, met: Entrance, viewer: Viewer, gold_share: float, *, waiting: bool) -> int | None:
    """A slot addressed to this labeler that is to be leased to them now, before any ordinary one; None for none.

    Called once per pair that the labeler is about to be given. `waiting`: open slots addressed to them are there, which
    came back. They are given before new ones; a gold pair when the next one is due, lest it be told apart by coming
    first after a break. `gold_share` is that of the batch that they would be given an ordinary slot of (0 when there
    is no such batch). Simulated labelers are lent nothing.
    """
    if viewer.kind is not LabelerKind.HUMAN:
        return None
    if onboarding.practises(session, met, viewer):
        return _next(session, met, viewer, BatchPurpose.QUALIFICATION)
    again = standing.waiting(session, met.project_id, BatchPurpose.ORDINARY, viewer.id) if waiting else None
    if again is not None:
        return again
    if viewer.calibrates:
        pair = standing.next_to_calibrate(session, met.project_id, viewer.id)
        return None if pair is None else standing.address(session, pair, viewer.id)
    if _gold_is_due(session, met, viewer, gold_share):
        return _next(session, met, viewer, BatchPurpose.GOLD)
    return None


def _next(session: Session, met: Entrance, viewer: Viewer, purpose: BatchPurpose) -> int | None:
    """A slot of the labeler that came back, or else one of the next pair that is new to them."""
    again = standing.waiting(session, met.project_id, purpose, viewer.id)
    if again is not None:
        return again
    pair = standing.next_pair(session, met.project_id, purpose, viewer.id)
    return None if pair is None else standing.address(session, pair, viewer.id)


def _gold_is_due(session: Session, met: Entrance, viewer: Viewer, share: float) -> bool:
    if share == 0:
        return False
    turns = standing.take_turn(session, met.project_id, viewer.id, share)
    return turns is not None and due(turns - share, share, f"{met.salt}/{viewer.id}")
