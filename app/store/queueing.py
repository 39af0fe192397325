"""The queue: slots leased to labelers, kept, filled, passed on.

Knows the statements by which a slot is claimed once, under any concurrency, on the database's clock. Knows nothing of
who may ask (app.services.judging) or of what is answered (app.store.answers).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    ScalarSelect,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.words import BatchKind, BatchPurpose, SkipReason, SlotState
from app.store.session import Session
from app.store.tables import (
    Batch,
    BatchLabeler,
    Comparison,
    Document,
    Labeler,
    Note,
    Preference,
    QueuePlace,
    Rating,
    Showing,
    Skip,
    Slot,
    Summary,
)

# How often a batch in which a labeler finds nothing is searched from its start again, by the database's clock.
SEARCH_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Lease:
    """What a labeler holds: a showing, with its texts in displayed order.

    `task`: two summaries to compare or one to rate. The document's `title`, `community` and `post` are None while it is
    kept back (`notes_first`, and not both notes are saved yet). `notes`: the labeler's own, as saved, one per summary.
    """

    showing_id: UUID
    task: BatchKind
    notes_first: bool
    title: str | None
    community: str | None
    post: str | None
    texts: tuple[str, ...]
    notes: tuple[str | None, ...]
    expires_at: datetime | None


def lock_queue_of(session: Session, labeler_id: int) -> None:
    """One claim at a time per labeler, so that two tabs or a double click get the same leases."""
    session.execute(text("select pg_advisory_xact_lock(4172001, :labeler)"), {"labeler": labeler_id % 2**31})


def held(session: Session, labeler_id: int, showing_id: UUID | None = None) -> list[Lease]:
    """What the labeler holds, oldest first. With `showing_id`: that one alone, whether they still hold it or not.

    A document that is kept back is not read from the database at all (invariant 4).
    """
    first_id = case(
        (Slot.summary_id.is_not(None), Slot.summary_id),
        (Showing.swapped, Comparison.second_summary_id),
        else_=Comparison.first_summary_id,
    )
    second_id = case((Showing.swapped, Comparison.first_summary_id), else_=Comparison.second_summary_id)
    one, two = aliased(Summary), aliased(Summary)
    told = or_(~Showing.notes_first, Showing.revealed_at.is_not(None))

    def note(summary: type[Summary]) -> ScalarSelect[str]:
        return (
            select(Note.text)
            .where(
                Note.comparison_id == Slot.comparison_id,
                Note.summary_id == summary.id,
                Note.labeler_id == Showing.labeler_id,
            )
            .order_by(Note.version.desc())
            .limit(1)
            .scalar_subquery()
        )

    rows = (
        select(
            Showing.id,
            Batch.kind,
            Showing.notes_first,
            case((told, Document.title)),
            case((told, Document.community)),
            case((told, Document.post)),
            one.text,
            two.text,
            note(one),
            note(two),
            Slot.lease_expires_at,
        )
        .select_from(Showing)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .outerjoin(Comparison, Comparison.id == Slot.comparison_id)
        .join(one, one.id == first_id)
        .outerjoin(two, two.id == second_id)
        .join(Document, Document.id == one.document_id)
        .where(Showing.labeler_id == labeler_id)
        .order_by(Showing.shown_at, Showing.id)
    )
    if showing_id is None:
        rows = rows.where(Slot.showing_id == Showing.id, Slot.state == SlotState.LEASED, Slot.labeler_id == labeler_id)
    else:
        rows = rows.where(Showing.id == showing_id)
    return [
        Lease(
            showing_id=row[0],
            task=row[1],
            notes_first=row[2],
            title=row[3],
            community=row[4],
            post=row[5],
            texts=(row[6],) if row[7] is None else (row[6], row[7]),
            notes=(row[8],) if row[7] is None else (row[8], row[9]),
            expires_at=row[10],
        )
        for row in session.execute(rows)
    ]


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


@dataclass(frozen=True)
class _Place:
    """A batch with open slots that the labeler may be given, and where their search of it goes on."""

    batch_id: int
    kind: BatchKind
    notes_first: bool
    after: int
    due: bool


def _places(session: Session, project_id: int, labeler: Labeler) -> list[_Place]:
    due = or_(QueuePlace.searched_at.is_(None), QueuePlace.searched_at < func.now() - SEARCH_AGAIN)
    mine = (QueuePlace.batch_id == Batch.id) & (QueuePlace.labeler_id == labeler.id)
    assigned = exists().where(BatchLabeler.batch_id == Batch.id)
    rows = session.execute(
        select(
            Batch.id,
            Batch.kind,
            _notes_first(),
            func.coalesce(QueuePlace.slot_id, 0),
            due,
        )
        .outerjoin(QueuePlace, mine)
        .where(
            Batch.project_id == project_id,
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.paused_at.is_(None),
            or_(Batch.for_kind.is_(None), Batch.for_kind == labeler.kind),
            or_(~assigned, assigned.where(BatchLabeler.labeler_id == labeler.id)),
            exists().where(Slot.batch_id == Batch.id, Slot.state == SlotState.OPEN, Slot.for_labeler_id.is_(None)),
        )
        .order_by(Batch.priority.desc(), Batch.id)
    )
    return [_Place(*row) for row in rows]


def claim(session: Session, project_id: int, labeler: Labeler, lasts: timedelta, page_version: str) -> UUID | None:
    """Lease the next open slot to the labeler: the new showing's id, or None when there is nothing for them.

    Slots addressed to them come first. Then batches by priority; in a batch, slots by their ids, going on after the
    last one that this labeler was given there, so that the cost grows neither with the queue nor with what they have
    answered. A slot that came back behind that place is found when the rest is exhausted: then the batch is searched
    from its start, at most every SEARCH_AGAIN.
    """
    taken = _take_addressed(session, project_id, labeler, lasts, page_version)
    if taken is not None:
        return taken
    for place in _places(session, project_id, labeler):
        taken = _take(session, place, place.after, labeler, lasts, page_version)
        if taken is None and place.due and place.after:
            taken = _take(session, place, 0, labeler, lasts, page_version)
        if taken is not None:
            return taken
        if place.due:
            _searched(session, place.batch_id, labeler.id)
    return None


def _untouched(labeler_id: int, kind: BatchKind) -> list[ColumnElement[bool]]:
    """Conditions on a slot: the labeler has not answered its subject, does not hold it, and has not passed it on."""
    subject = "comparison_id" if kind is BatchKind.COMPARE else "summary_id"
    answer = Preference if kind is BatchKind.COMPARE else Rating
    mine = aliased(Slot)

    def none(source: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        # Not `not exists`: the planner would hash all that the labeler ever answered, at every claim.
        same = getattr(source, subject) == getattr(Slot, subject)
        rows = select(literal(1)).select_from(source).where(same, source.labeler_id == labeler_id, *conditions)
        return rows.limit(1).scalar_subquery().is_(None)

    return [none(mine, mine.state != SlotState.VOID), none(answer), none(Skip)]


def _notes_first() -> ColumnElement[bool]:
    return func.coalesce(Batch.protocol["notes_first"].as_boolean(), False)


def _take_addressed(
    session: Session, project_id: int, labeler: Labeler, lasts: timedelta, page_version: str
) -> UUID | None:
    found = (
        select(Slot.id, _notes_first().label("notes_first"))
        .join(Batch, Batch.id == Slot.batch_id)
        .where(
            Batch.project_id == project_id,
            Batch.paused_at.is_(None),
            Slot.state == SlotState.OPEN,
            Slot.for_labeler_id == labeler.id,
            *_untouched(labeler.id, BatchKind.COMPARE),
            *_untouched(labeler.id, BatchKind.RATE),
        )
        .order_by(Slot.id)
        .limit(1)
        .with_for_update(of=Slot, skip_locked=True)
        .cte("found")
    )
    return session.scalar(select(_leased(found, labeler.id, lasts, page_version).c.showing_id))


def _take(
    session: Session, place: _Place, after: int, labeler: Labeler, lasts: timedelta, page_version: str
) -> UUID | None:
    """One statement chooses a slot, takes it (`for update skip locked`) and shows it: no two labelers get the same.

    Never a subject that the labeler has answered, holds, or passed on. The sides are drawn here, once per showing.
    """
    found = (
        select(Slot.id, literal(place.notes_first).label("notes_first"))
        .where(
            Slot.batch_id == place.batch_id,
            Slot.state == SlotState.OPEN,
            Slot.for_labeler_id.is_(None),
            Slot.id > after,
            *_untouched(labeler.id, place.kind),
        )
        .order_by(Slot.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("found")
    )
    taken = _leased(found, labeler.id, lasts, page_version)
    kept = (
        upsert(QueuePlace)
        .from_select(
            ["labeler_id", "batch_id", "slot_id"],
            select(literal(labeler.id), literal(place.batch_id), taken.c.id),
        )
        .on_conflict_do_update(
            index_elements=["labeler_id", "batch_id"], set_={"slot_id": literal_column("excluded.slot_id")}
        )
        .cte("kept")
    )
    return session.scalar(select(taken.c.showing_id).add_cte(kept))


def _leased(found: CTE, labeler_id: int, lasts: timedelta, page_version: str) -> CTE:
    """The statement's part that shows the slot it found and leases it."""
    shown = (
        insert(Showing)
        .from_select(
            ["slot_id", "labeler_id", "swapped", "page_version", "notes_first", "shown_at"],
            # Not now(): several claims of one transaction are held in the order in which they were made.
            select(
                found.c.id,
                literal(labeler_id),
                func.random() < 0.5,
                literal(page_version),
                found.c.notes_first,
                func.clock_timestamp(),
            ),
        )
        .returning(Showing.id, Showing.slot_id)
        .cte("shown")
    )
    return (
        update(Slot)
        .where(Slot.id == shown.c.slot_id)
        .values(
            state=SlotState.LEASED,
            labeler_id=labeler_id,
            showing_id=shown.c.id,
            lease_expires_at=func.now() + lasts,
        )
        .returning(Slot.id, Slot.showing_id)
        .cte("taken")
    )


def lease(session: Session, slot_id: int, labeler_id: int, lasts: timedelta, page_version: str) -> UUID | None:
    """Lease this open slot, which was made for the labeler; None when it is not open any more."""
    found = (
        select(Slot.id, _notes_first().label("notes_first"))
        .join(Batch, Batch.id == Slot.batch_id)
        .where(Slot.id == slot_id, Slot.state == SlotState.OPEN)
        .with_for_update(of=Slot)
        .cte("found")
    )
    return session.scalar(select(_leased(found, labeler_id, lasts, page_version).c.showing_id))


def _searched(session: Session, batch_id: int, labeler_id: int) -> None:
    """Note that nothing in the batch is for the labeler now, so that the next search begins at its end."""
    last = func.coalesce(
        select(func.max(Slot.id))
        .where(Slot.batch_id == batch_id, Slot.state == SlotState.OPEN, Slot.for_labeler_id.is_(None))
        .scalar_subquery(),
        0,
    )
    values = {"slot_id": last, "searched_at": func.now()}
    session.execute(
        upsert(QueuePlace)
        .values(labeler_id=labeler_id, batch_id=batch_id, **values)
        .on_conflict_do_update(index_elements=["labeler_id", "batch_id"], set_=values)
    )


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


def _same_subject(slot: Slot) -> ColumnElement[bool]:
    if slot.comparison_id is not None:
        return Slot.comparison_id == slot.comparison_id
    return Slot.summary_id == slot.summary_id


def lock_slot_to_fill(session: Session, shown: Shown, labeler_id: int) -> Slot | None:
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
            _same_subject(slot),
            Slot.id != slot.id,
            or_(
                and_(Slot.state == SlotState.LEASED, Slot.labeler_id == labeler_id),
                and_(
                    Slot.state == SlotState.OPEN,
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
            _same_subject(slot),
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
            summary_id=shown.slot.summary_id,
            showing_id=shown.showing.id,
            labeler_id=labeler_id,
            reason=reason,
            comment=comment,
        )
        .on_conflict_do_nothing(index_elements=["showing_id"])
    )
