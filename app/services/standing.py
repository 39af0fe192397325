"""Pairs that are put before one labeler when it is their turn: gold, qualification, calibration.

Knows who is given which of them and when. Knows nothing of leases (app.services.judging); never commits.
"""

from app.domain.gold import due
from app.domain.words import BatchPurpose, LabelerKind
from app.services import onboarding
from app.services.people import Viewer
from app.store import standing
from app.store.session import Session
from app.store.tables import Project


def lent_only(session: Session, project: Project, viewer: Viewer) -> bool:
    """Whether the labeler is given nothing but what `lend` gives: researchers' accounts, and newcomers who practise."""
    return viewer.calibrates or onboarding.practises(session, project, viewer)


def lend(session: Session, project: Project, viewer: Viewer, gold_share: float, *, waiting: bool) -> int | None:
    """A slot addressed to this labeler that is to be leased to them now, before any ordinary one; None for none.

    Called once per pair that the labeler is about to be given. `waiting`: open slots addressed to them are there, which
    came back. They are given before new ones; a gold pair when the next one is due, lest it be told apart by coming
    first after a break. `gold_share` is that of the batch that they would be given an ordinary slot of (0 when there
    is no such batch). Simulated labelers are lent nothing.
    """
    if viewer.kind is not LabelerKind.HUMAN:
        return None
    if onboarding.practises(session, project, viewer):
        return _next(session, project, viewer, BatchPurpose.QUALIFICATION)
    again = standing.waiting(session, project.id, BatchPurpose.ORDINARY, viewer.id) if waiting else None
    if again is not None:
        return again
    if viewer.calibrates:
        pair = standing.next_to_calibrate(session, project.id, viewer.id)
        return None if pair is None else standing.address(session, pair, viewer.id)
    if _gold_is_due(session, project, viewer, gold_share):
        return _next(session, project, viewer, BatchPurpose.GOLD)
    return None


def _next(session: Session, project: Project, viewer: Viewer, purpose: BatchPurpose) -> int | None:
    """A slot of the labeler that came back, or else one of the next pair that is new to them."""
    again = standing.waiting(session, project.id, purpose, viewer.id)
    if again is not None:
        return again
    pair = standing.next_pair(session, project.id, purpose, viewer.id)
    return None if pair is None else standing.address(session, pair, viewer.id)


def _gold_is_due(session: Session, project: Project, viewer: Viewer, share: float) -> bool:
    if share == 0:
        return False
    turns = standing.take_turn(session, project.id, viewer.id, share)
    return turns is not None and due(turns - share, share, f"{project.salt}/{viewer.id}")
