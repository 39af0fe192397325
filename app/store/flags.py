"""What labelers asked the researchers to look at, and what was replied.

Knows a flag beside the texts it is about, in the order in which its labeler saw them. Knows nothing of who replies
(app.services.flags) or of how a flag is raised (app.store.answers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, case, func, select, update
from sqlalchemy.orm import aliased

from app.store.session import Session
from app.store.tables import Batch, Comparison, Document, Flag, Labeler, Showing, Slot, Summary


@dataclass(frozen=True)
class Raised:
    """A flag, who raised it on which document, and who replied. `kept_back`: they have not seen the document yet."""

    flag: Flag
    labeler: str
    closed_by: str | None
    document: Document
    kept_back: bool
    texts: Sequence[str]


def _raised() -> Select[*tuple[Any, ...]]:
    one, two, closer = aliased(Summary), aliased(Summary), aliased(Labeler)
    first_id = case(
        (Slot.summary_id.is_not(None), Slot.summary_id),
        (Showing.swapped, Comparison.second_summary_id),
        else_=Comparison.first_summary_id,
    )
    second_id = case((Showing.swapped, Comparison.first_summary_id), else_=Comparison.second_summary_id)
    kept_back = and_(Showing.notes_first, Showing.revealed_at.is_(None))
    return (
        select(Flag, Labeler.name, closer.name, Document, kept_back, one.text, two.text)
        .join(Labeler, Labeler.id == Flag.labeler_id)
        .join(Showing, Showing.id == Flag.showing_id)
        .join(Slot, Slot.id == Flag.slot_id)
        .outerjoin(Comparison, Comparison.id == Slot.comparison_id)
        .join(one, one.id == first_id)
        .outerjoin(two, two.id == second_id)
        .join(Document, Document.id == one.document_id)
        .outerjoin(closer, closer.id == Flag.closed_by)
    )


def _read(session: Session, query: Select[*tuple[Any, ...]]) -> list[Raised]:
    return [
        Raised(
            flag=row[0],
            labeler=row[1],
            closed_by=row[2],
            document=row[3],
            kept_back=row[4],
            texts=[each for each in (row[5], row[6]) if each is not None],
        )
        for row in session.execute(query)
    ]


def flags(session: Session, project_id: int, *, closed: bool, before: int | None, limit: int) -> list[Raised]:
    """Flags that wait for a reply, or those that were closed, newest first, with ids below `before`."""
    query = _raised().where(
        Document.project_id == project_id, Flag.closed_at.is_not(None) if closed else Flag.closed_at.is_(None)
    )
    if before is not None:
        query = query.where(Flag.id < before)
    return _read(session, query.order_by(Flag.id.desc()).limit(limit))


def waiting(session: Session, project_id: int) -> int:
    """How many flags wait for a reply."""
    query = (
        select(func.count())
        .select_from(Flag)
        .join(Slot, Slot.id == Flag.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(Batch.project_id == project_id, Flag.closed_at.is_(None))
    )
    return session.scalar(query) or 0


def flag(session: Session, project_id: int, flag_id: int) -> Raised | None:
    """The flag with this id."""
    found = _read(session, _raised().where(Document.project_id == project_id, Flag.id == flag_id))
    return found[0] if found else None


def of_labeler(session: Session, labeler_id: int, limit: int) -> list[Raised]:
    """The labeler's own flags, newest first."""
    return _read(session, _raised().where(Flag.labeler_id == labeler_id).order_by(Flag.id.desc()).limit(limit))


def close(session: Session, flag_id: int, closed_by: int, reply: str | None) -> None:
    """Reply to a flag, or replace the reply; it waits no longer."""
    session.execute(
        update(Flag)
        .where(Flag.id == flag_id)
        .values(reply=reply, closed_by=closed_by, closed_at=func.coalesce(Flag.closed_at, func.now()))
    )
