"""Who was let begin: what newcomers answered to the qualification pairs, and what was decided.

Knows rows. Knows nothing of the gate's rule (app.domain.qualifying) or of who decides (app.services.onboarding).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import aliased

from app.domain.words import BatchPurpose, LabelerKind, Role, SlotState
from app.store.session import Session
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Labeler,
    Preference,
    Project,
    Qualification,
    Showing,
    Skip,
    Slot,
    Verdict,
)

_QUALIFICATION = Batch.purpose == BatchPurpose.QUALIFICATION


def newest(session: Session, project_id: int, labeler_id: int) -> Qualification | None:
    """The decision that counts for the labeler."""
    return session.scalar(
        select(Qualification)
        .where(Qualification.project_id == project_id, Qualification.labeler_id == labeler_id)
        .order_by(Qualification.id.desc())
        .limit(1)
    )


def decisions(session: Session, project_id: int, labeler_id: int) -> list[tuple[Qualification, str | None]]:
    """All decisions on the labeler with who took them (None: the gate), newest first."""
    rows = session.execute(
        select(Qualification, Labeler.name)
        .outerjoin(Labeler, Labeler.id == Qualification.decided_by)
        .where(Qualification.project_id == project_id, Qualification.labeler_id == labeler_id)
        .order_by(Qualification.id.desc())
    )
    return [(row[0], row[1]) for row in rows]


def add(session: Session, decision: Qualification) -> None:
    """Keep a decision."""
    session.add(decision)
    session.flush()


@dataclass(frozen=True)
class Tried:
    """A qualification pair that a labeler answered: the first answer, before they learned the researchers', and theirs.

    `value` and `verdict` are in the comparison's frame. `void`: an admin made the opinion void.
    """

    comparison_id: int
    title: str
    value: int
    seconds: float | None
    verdict: int
    retired: bool
    void: bool


def tried(session: Session, project_id: int, labeler_id: int) -> list[Tried]:
    """The qualification pairs that the labeler answered, in that order."""
    rows = session.execute(
        select(
            Comparison.id,
            Document.title,
            Preference.value,
            Preference.seconds,
            Verdict.value,
            Verdict.retired_at.is_not(None),
            Slot.state == SlotState.VOID,
        )
        .join(Slot, Slot.id == Preference.slot_id)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .where(Batch.project_id == project_id, _QUALIFICATION, Preference.labeler_id == labeler_id)
        .where(Preference.version == 1)
        .order_by(Preference.id)
    )
    return [Tried(*row) for row in rows]


def _in_use(project_id: int) -> list[ColumnElement[bool]]:
    return [Batch.project_id == project_id, _QUALIFICATION, Verdict.retired_at.is_(None)]


def pairs(session: Session, project_id: int) -> int:
    """How many qualification pairs there are."""
    found = session.scalar(
        select(func.count())
        .select_from(Comparison)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .where(*_in_use(project_id))
    )
    return found or 0


def left(session: Session, project_id: int, labeler_id: int) -> int:
    """How many of them the labeler may still be given, or holds: not answered, nor passed on, nor made void."""
    answered = select(Preference.id).where(
        Preference.comparison_id == Comparison.id, Preference.labeler_id == labeler_id
    )
    passed_on = select(Skip.id).where(Skip.comparison_id == Comparison.id, Skip.labeler_id == labeler_id)
    void = select(Slot.id).where(
        Slot.comparison_id == Comparison.id, Slot.for_labeler_id == labeler_id, Slot.state == SlotState.VOID
    )
    found = session.scalar(
        select(func.count())
        .select_from(Comparison)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .where(*_in_use(project_id), ~answered.exists(), ~passed_on.exists(), ~void.exists())
    )
    return found or 0


def passed_on(session: Session, project_id: int, labeler_id: int, since: datetime | None) -> int:
    """How many of them the labeler passed on without an answer, after `since` if that is given."""
    answered = select(Preference.id).where(
        Preference.comparison_id == Comparison.id, Preference.labeler_id == labeler_id
    )
    query = (
        select(func.count(Comparison.id.distinct()))
        .select_from(Skip)
        .join(Comparison, Comparison.id == Skip.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .where(*_in_use(project_id), Skip.labeler_id == labeler_id, ~answered.exists())
    )
    if since is not None:
        query = query.where(Skip.created_at > since)
    return session.scalar(query) or 0


@dataclass(frozen=True)
class Newcomer:
    """Somebody who judges, the decision that counts for them, and how many qualification pairs they answered."""

    labeler: Labeler
    decision: Qualification | None
    decided_by: str | None
    answered: int


def newcomers(session: Session, project_id: int) -> list[Newcomer]:
    """Everybody who judges and can sign in, by name; simulated labelers are not asked to qualify."""
    later, judge = aliased(Qualification), aliased(Labeler)
    superseded = select(later.id).where(
        later.labeler_id == Qualification.labeler_id,
        later.project_id == Qualification.project_id,
        later.id > Qualification.id,
    )
    answered = (
        select(func.count(Preference.comparison_id.distinct()))
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .where(Preference.labeler_id == Labeler.id, Batch.project_id == project_id, _QUALIFICATION)
        .correlate(Labeler)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Labeler, Qualification, judge.name, answered)
        .select_from(Labeler)
        .outerjoin(
            Qualification,
            and_(Qualification.labeler_id == Labeler.id, Qualification.project_id == project_id, ~superseded.exists()),
        )
        .outerjoin(judge, judge.id == Qualification.decided_by)
        .where(
            Labeler.role == Role.LABELER,
            Labeler.kind == LabelerKind.HUMAN,
            Labeler.deactivated_at.is_(None),
            ~Labeler.name.startswith("import:", autoescape=True),
        )
        .order_by(func.lower(Labeler.name))
    )
    return [Newcomer(*row) for row in rows]


@dataclass(frozen=True)
class Practice:
    """What feedback on an answered qualification pair is made of; values in the comparison's frame."""

    value: int
    swapped: bool
    verdict: int
    reason: str


def practice(session: Session, showing_id: Any, labeler_id: int) -> Practice | None:
    """The labeler's newest answer to the qualification pair of this showing, and the researchers'.

    None for any other pair, for somebody else's showing, and before they have answered.
    """
    row = session.execute(
        select(Preference.value, Showing.swapped, Verdict.value, Verdict.reason)
        .select_from(Showing)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .join(Verdict, Verdict.comparison_id == Slot.comparison_id)
        .join(
            Preference,
            and_(Preference.comparison_id == Slot.comparison_id, Preference.labeler_id == Showing.labeler_id),
        )
        .where(Showing.id == showing_id, Showing.labeler_id == labeler_id, _QUALIFICATION)
        .order_by(Preference.version.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Practice(*row)


def set_gate(session: Session, project_id: int, gate: dict[str, Any]) -> None:
    """What newcomers must show from now on."""
    session.execute(update(Project).where(Project.id == project_id).values(gate=gate))
