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


def lend(session: Session, project: Project, viewer: Viewer, gold_share: float) -> int | None:
    """A slot addressed to this labeler that is to be leased to them now, before any ordinary one; None for none.

    Called once per pair that the labeler is about to be given, after open slots addressed to them were looked for, so
    what it gives is new. `gold_share` is that of the batch that they would be given an ordinary slot of (0 when there
    is no such batch). Simulated labelers are lent nothing.
    """
    if viewer.kind is not LabelerKind.HUMAN:
        return None
    if viewer.calibrates:
        pair = standing.next_to_calibrate(session, project.id, viewer.id)
    elif onboarding.practises(session, project, viewer):
        pair = standing.next_pair(session, project.id, BatchPurpose.QUALIFICATION, viewer.id)
    elif _gold_is_due(session, project, viewer, gold_share):
        pair = standing.next_pair(session, project.id, BatchPurpose.GOLD, viewer.id)
    else:
        pair = None
    return None if pair is None else standing.address(session, pair, viewer.id)


def _gold_is_due(session: Session, project: Project, viewer: Viewer, share: float) -> bool:
    if share == 0:
        return False
    turns = standing.take_turn(session, project.id, viewer.id, share)
    return turns is not None and due(turns - share, share, f"{project.salt}/{viewer.id}")
