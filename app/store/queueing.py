"""The queue: slots leased to labelers, kept, filled, passed on.

Knows the statements by which a slot is claimed once, under any concurrency, on the database's clock. Knows nothing of
who may ask (app.services.judging) or of what is answered (app.store.answers).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, and_, case, exists, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.words import LabelerKind, SkipReason, SlotState
from app.store.session import Session
from app.store.tables import (
    Batch,
    BatchLabeler,
    Comparison,
    Document,
    Labeler,
    Preference,
    Showing,
    Skip,
    Slot,
    Summary,
)


@dataclass(frozen=True)
class Lease:
    """What a labeler holds: a showing of a comparison, with its texts in displayed order."""

    showing_id: UUID
    title: str
    community: str
    post: str
    first_shown: str
    second_shown: str
    expires_at: datetime | None


def lock_queue_of(session: Session, labeler_id: int) -> None:
    """One claim at a time per labeler, so that two tabs or a double click get the same leases."""
    session.execute(text("select pg_advisory_xact_lock(4172001, :labeler)"), {"labeler": labeler_id % 2**31})


def _held(labeler_id: int) -> Select[UUID, str, str, str, str, str, datetime | None]:
    shown_first, shown_second = aliased(Summary), aliased(Summary)
    first_id = case((Showing.swapped, Comparison.second_summary_id), else_=Comparison.first_summary_id)
    second_id = case((Showing.swapped, Comparison.first_summary_id), else_=Comparison.second_summary_id)
    return (
        select(
            Showing.id,
            Document.title,
            Document.community,
            Document.post,
            shown_first.text,
            shown_second.text,
            Slot.lease_expires_at,
        )
        .select_from(Slot)
        .join(Showing, Showing.id == Slot.showing_id)
        .join(Comparison, Comparison.id == Slot.comparison_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(shown_first, shown_first.id == first_id)
        .join(shown_second, shown_second.id == second_id)
        .where(Slot.state == SlotState.LEASED, Slot.labeler_id == labeler_id)
        .order_by(Showing.shown_at, Showing.id)
    )


def held(session: Session, labeler_id: int) -> list[Lease]:
    """What the labeler holds, oldest first."""
    return [Lease(*row) for row in session.execute(_held(labeler_id))]


def release_expired(session: Session, limit: int = 100) -> int:
    """Give slots back whose lease ran out by the database's clock. Rows that others work on are left to them."""
    expired = (
        select(Slot.id)
        .where(Slot.state == SlotState.LEASED, Slot.lease_expires_at < func.now())
        .order_by(Slot.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    freed = session.execute(
        update(Slot)
        .where(Slot.id.in_(expired.scalar_subquery()))
        .values(state=SlotState.OPEN, labeler_id=None, showing_id=None, lease_expires_at=None)
        .returning(Slot.id)
        .execution_options(synchronize_session=False)
    )
    return len(freed.all())


def claim(session: Session, project_id: int, labeler: Labeler, lasts: timedelta, page_version: str) -> UUID | None:
    """Lease the next open slot to the labeler: the new showing's id, or None when there is nothing for them.

    One statement chooses and takes it (`for update skip locked`), so no two labelers get the same slot. Never a
    comparison that the labeler has answered, holds, or passed on. The sides are drawn here, once per showing.
    """
    mine = aliased(Slot)
    candidate = (
        select(Slot.id)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(
            Slot.state == SlotState.OPEN,
            Slot.comparison_id.is_not(None),
            Batch.project_id == project_id,
            Batch.paused_at.is_(None),
            or_(Slot.for_kind.is_(None), Slot.for_kind == labeler.kind),
            or_(Slot.for_labeler_id.is_(None), Slot.for_labeler_id == labeler.id),
            or_(
                ~exists().where(BatchLabeler.batch_id == Batch.id),
                exists().where(BatchLabeler.batch_id == Batch.id, BatchLabeler.labeler_id == labeler.id),
            ),
            ~exists().where(
                mine.comparison_id == Slot.comparison_id,
                mine.labeler_id == labeler.id,
                mine.state != SlotState.VOID,
            ),
            ~exists().where(Preference.comparison_id == Slot.comparison_id, Preference.labeler_id == labeler.id),
            ~exists().where(Skip.comparison_id == Slot.comparison_id, Skip.labeler_id == labeler.id),
        )
        .order_by(Slot.priority.desc(), Slot.id)
        .limit(1)
        .with_for_update(of=Slot, skip_locked=True)
    )
    slot_id = session.scalar(candidate)
    if slot_id is None:
        return None
    showing = session.scalars(
        insert(Showing)
        .values(
            slot_id=slot_id,
            labeler_id=labeler.id,
            swapped=func.random() < 0.5,
            page_version=page_version,
            # Not now(): several claims of one transaction are held in the order in which they were made.
            shown_at=func.clock_timestamp(),
        )
        .returning(Showing.id)
    ).one()
    session.execute(
        update(Slot)
        .where(Slot.id == slot_id)
        .values(
            state=SlotState.LEASED,
            labeler_id=labeler.id,
            showing_id=showing,
            lease_expires_at=func.now() + lasts,
        )
        .execution_options(synchronize_session=False)
    )
    return showing


def extend(session: Session, labeler_id: int, showings: list[UUID], lasts: timedelta) -> datetime | None:
    """Keep these leases of the labeler longer; those that are gone are left. The new end, or None when all are gone."""
    return session.scalar(
        update(Slot)
        .where(Slot.state == SlotState.LEASED, Slot.labeler_id == labeler_id, Slot.showing_id.in_(showings))
        .values(lease_expires_at=func.now() + lasts)
        .returning(Slot.lease_expires_at)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Shown:
    """A showing with its slot, locked until the transaction ends."""

    showing: Showing
    slot: Slot


def lock_shown(session: Session, showing_id: UUID, labeler_id: int) -> Shown | None:
    """The labeler's own showing and its slot, locked. None for an id that is unknown or somebody else's."""
    row = session.execute(
        select(Showing, Slot)
        .join(Slot, Slot.id == Showing.slot_id)
        .where(Showing.id == showing_id, Showing.labeler_id == labeler_id)
        .with_for_update(of=Slot)
    ).one_or_none()
    return None if row is None else Shown(row[0], row[1])


def lock_slot_to_fill(session: Session, shown: Shown, labeler_id: int, kind: LabelerKind) -> Slot | None:
    """The slot that a first answer by this showing fills, locked; None when others fill them all (it is surplus).

    The slot that was shown, while it is free or this labeler's; otherwise one of the same comparison that this labeler
    holds, or that is free for them. Having answered they are given none of these again, so a slot that they could fill
    and did not might wait for ever.
    """
    slot = shown.slot
    if slot.state == SlotState.OPEN or (slot.state == SlotState.LEASED and slot.labeler_id == labeler_id):
        return slot
    others = session.scalars(
        select(Slot)
        .where(
            Slot.comparison_id == slot.comparison_id,
            Slot.id != slot.id,
            or_(
                and_(Slot.state == SlotState.LEASED, Slot.labeler_id == labeler_id),
                and_(
                    Slot.state == SlotState.OPEN,
                    or_(Slot.for_kind.is_(None), Slot.for_kind == kind),
                    or_(Slot.for_labeler_id.is_(None), Slot.for_labeler_id == labeler_id),
                ),
            ),
        )
        .order_by(Slot.state != SlotState.LEASED, Slot.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return others.one_or_none()


def finish_slot(session: Session, slot: Slot, labeler_id: int, showing_id: UUID) -> None:
    """The slot has its opinion."""
    slot.state = SlotState.DONE
    slot.labeler_id = labeler_id
    slot.showing_id = showing_id
    slot.lease_expires_at = None
    slot.done_at = func.now()
    session.flush()


def reopen_slot(session: Session, slot: Slot) -> None:
    """Give the slot back to the queue."""
    slot.state = SlotState.OPEN
    slot.labeler_id = slot.showing_id = slot.lease_expires_at = None
    session.flush()


def release_twins(session: Session, slot: Slot, labeler_id: int) -> None:
    """Give back other slots of the same comparison that the labeler holds: they answered it through this one."""
    session.execute(
        update(Slot)
        .where(
            Slot.comparison_id == slot.comparison_id,
            Slot.id != slot.id,
            Slot.labeler_id == labeler_id,
            Slot.state == SlotState.LEASED,
        )
        .values(state=SlotState.OPEN, labeler_id=None, showing_id=None, lease_expires_at=None)
        .execution_options(synchronize_session=False)
    )


def add_skip(session: Session, shown: Shown, labeler_id: int, reason: SkipReason, comment: str | None) -> None:
    """Note that a labeler passed a showing on; asking twice changes nothing."""
    session.execute(
        upsert(Skip)
        .values(
            slot_id=shown.slot.id,
            comparison_id=shown.slot.comparison_id,
            showing_id=shown.showing.id,
            labeler_id=labeler_id,
            reason=reason,
            comment=comment,
        )
        .on_conflict_do_nothing(index_elements=["showing_id"])
    )
