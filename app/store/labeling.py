"""Batches, comparisons, slots, showings and what labelers said.

Knows the statements by which a slot is claimed once, an answer kept once, and a newest version found. Knows nothing of
who may ask (app.services.judging).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, and_, case, exists, func, insert, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.preferences import turned
from app.domain.words import BatchKind, ComparisonKind, LabelerKind, RunState, SkipReason, SlotState, Split
from app.store.session import Session
from app.store.tables import (
    Batch,
    BatchLabeler,
    Comparison,
    Document,
    Labeler,
    Note,
    Policy,
    Preference,
    Run,
    Showing,
    Skip,
    Slot,
    Summary,
)

UNFINISHED = (SlotState.OPEN, SlotState.LEASED)


# Batches and comparisons


def add_batch(
    session: Session,
    project_id: int,
    name: str,
    *,
    opinions: int = 1,
    priority: int = 0,
    for_kind: LabelerKind | None = None,
    round_id: int | None = None,
) -> Batch:
    """A new batch of comparisons."""
    batch = Batch(
        project_id=project_id,
        name=name,
        kind=BatchKind.COMPARE,
        opinions=opinions,
        priority=priority,
        for_kind=for_kind,
        round_id=round_id,
    )
    session.add(batch)
    session.flush()
    return batch


def batch(session: Session, project_id: int, batch_id: int) -> Batch | None:
    """The batch with this id, locked until the transaction ends."""
    return session.scalar(select(Batch).where(Batch.project_id == project_id, Batch.id == batch_id).with_for_update())


def import_batches(session: Session, project_id: int, names: Iterable[str]) -> dict[str, int]:
    """Batches for imported comparisons, by name, made where they are not there yet."""
    wanted = sorted(set(names))
    session.execute(
        upsert(Batch)
        .values([{"project_id": project_id, "name": name, "kind": BatchKind.COMPARE} for name in wanted])
        .on_conflict_do_nothing(index_elements=["project_id", "name"])
    )
    rows = session.execute(select(Batch.name, Batch.id).where(Batch.project_id == project_id, Batch.name.in_(wanted)))
    return {row[0]: row[1] for row in rows}


def add_comparisons(session: Session, batch_id: int, rows: list[dict[str, Any]]) -> int:
    """Put comparisons up in a batch, each with as many open slots as the batch asks opinions. Gives how many were new.

    Rows hold document_id, first_summary_id, second_summary_id, reason, and optionally kind and propensity. A pair that
    is in the batch already is left as it is.
    """
    if not rows:
        return 0
    holder = session.get_one(Batch, batch_id)
    added = session.execute(
        upsert(Comparison)
        .values([{"batch_id": batch_id, "kind": ComparisonKind.ORDINARY, "propensity": None, **row} for row in rows])
        .on_conflict_do_nothing()
        .returning(Comparison.id)
    ).scalars()
    slots = [
        {
            "batch_id": batch_id,
            "comparison_id": comparison_id,
            "number": number,
            "priority": holder.priority,
            "for_kind": holder.for_kind,
        }
        for comparison_id in sorted(added)
        for number in range(1, holder.opinions + 1)
    ]
    if slots:
        session.execute(insert(Slot), slots)
    return len(slots) // holder.opinions


@dataclass(frozen=True)
class Given:
    """An opinion that was given elsewhere: `first`, `second` (summary ids) and `value` in displayed order."""

    batch_id: int
    document_id: int
    first: int
    second: int
    labeler_id: int
    page_version: str
    value: int
    key: UUID
    notes: tuple[str | None, str | None]


def add_given(session: Session, opinions: Sequence[Given], reason: str) -> None:
    """Keep opinions that were given elsewhere: done slots with showings, preferences and notes, in a few statements.

    Two opinions on the same two summaries of a batch are one comparison; a second one by the same labeler is a new
    version of the first.
    """
    comparisons = _comparisons_of(session, opinions, reason)
    found = [
        comparisons[each.batch_id, min(each.first, each.second), max(each.first, each.second)] for each in opinions
    ]
    ids = {comparison_id for comparison_id, _ in found}
    newest: dict[tuple[int, int], tuple[int, int]] = {
        (row[0], row[1]): (row[2], row[3])
        for row in session.execute(
            select(Preference.comparison_id, Preference.labeler_id, Preference.slot_id, Preference.version)
            .where(Preference.comparison_id.in_(ids))
            .order_by(Preference.version)
        )
    }
    slots = _new_slots(session, opinions, found, newest)
    showings, preferences, notes = [], [], []
    for each, (comparison_id, first_id) in zip(opinions, found, strict=True):
        swapped = first_id != each.first
        slot_id, version = newest.get((comparison_id, each.labeler_id)) or (slots[comparison_id, each.labeler_id], 0)
        newest[comparison_id, each.labeler_id] = slot_id, version + 1
        shown = {"id": uuid4(), "slot_id": slot_id, "labeler_id": each.labeler_id, "swapped": swapped}
        showings.append({**shown, "page_version": each.page_version})
        common = {"comparison_id": comparison_id, "labeler_id": each.labeler_id, "showing_id": shown["id"]}
        common["version"] = version + 1
        value = turned(each.value, swapped)
        preferences.append({**common, "slot_id": slot_id, "value": value, "surplus": False, "key": each.key})
        notes += [
            {**common, "summary_id": summary_id, "text": words}
            for summary_id, words in zip((each.first, each.second), each.notes, strict=True)
            if words is not None
        ]
    session.execute(insert(Showing), showings)
    session.execute(
        update(Slot)
        .where(Slot.id == Showing.slot_id, Showing.id.in_([each["id"] for each in showings]))
        .values(state=SlotState.DONE, labeler_id=Showing.labeler_id, showing_id=Showing.id, done_at=func.now())
        .execution_options(synchronize_session=False)
    )
    session.execute(insert(Preference), preferences)
    if notes:
        session.execute(insert(Note), notes)


def _comparisons_of(
    session: Session, opinions: Sequence[Given], reason: str
) -> dict[tuple[int, int, int], tuple[int, int]]:
    """By batch and both summaries, the lower id first: the comparison, and the summary that is its first."""
    wanted: dict[tuple[int, int, int], dict[str, Any]] = {}
    for each in opinions:
        wanted.setdefault(
            (each.batch_id, min(each.first, each.second), max(each.first, each.second)),
            {
                "batch_id": each.batch_id,
                "document_id": each.document_id,
                "first_summary_id": each.first,
                "second_summary_id": each.second,
                "reason": reason,
            },
        )
    session.execute(upsert(Comparison).values(list(wanted.values())).on_conflict_do_nothing())
    lower = func.least(Comparison.first_summary_id, Comparison.second_summary_id)
    upper = func.greatest(Comparison.first_summary_id, Comparison.second_summary_id)
    rows = session.execute(
        select(Comparison.batch_id, lower, upper, Comparison.id, Comparison.first_summary_id).where(
            tuple_(Comparison.batch_id, lower, upper).in_(list(wanted))
        )
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


def _new_slots(
    session: Session,
    opinions: Sequence[Given],
    found: Sequence[tuple[int, int]],
    newest: dict[tuple[int, int], tuple[int, int]],
) -> dict[tuple[int, int], int]:
    """A slot for every labeler who has not answered the comparison yet, by comparison and labeler."""
    numbers: dict[int | None, int] = dict(
        session.execute(
            select(Slot.comparison_id, func.max(Slot.number))
            .where(Slot.comparison_id.in_({comparison_id for comparison_id, _ in found}))
            .group_by(Slot.comparison_id)
        )
        .tuples()
        .all()
    )
    places: dict[tuple[int, int], dict[str, int]] = {}
    for each, (comparison_id, _) in zip(opinions, found, strict=True):
        if (comparison_id, each.labeler_id) in newest or (comparison_id, each.labeler_id) in places:
            continue
        numbers[comparison_id] = numbers.get(comparison_id, 0) + 1
        places[comparison_id, each.labeler_id] = {
            "batch_id": each.batch_id,
            "comparison_id": comparison_id,
            "number": numbers[comparison_id],
        }
    if not places:
        return {}
    rows = session.execute(insert(Slot).returning(Slot.id, Slot.comparison_id, Slot.number), list(places.values()))
    ids = {(row[1], row[2]): row[0] for row in rows}
    return {place: ids[row["comparison_id"], row["number"]] for place, row in places.items()}


def preference_keys(session: Session, keys: Iterable[UUID]) -> set[UUID]:
    """Which of these idempotency keys are there."""
    return set(session.scalars(select(Preference.key).where(Preference.key.in_(list(keys)))))


@dataclass(frozen=True)
class BatchCounts:
    """A batch and how its slots stand."""

    batch: Batch
    comparisons: int
    open: int
    leased: int
    done: int


def batches(session: Session, project_id: int) -> list[BatchCounts]:
    """All batches, newest first."""
    slots = (
        select(
            Slot.batch_id,
            func.count(Slot.comparison_id.distinct()).label("comparisons"),
            func.count().filter(Slot.state == SlotState.OPEN).label("open"),
            func.count().filter(Slot.state == SlotState.LEASED).label("leased"),
            func.count().filter(Slot.state == SlotState.DONE).label("done"),
        )
        .group_by(Slot.batch_id)
        .subquery()
    )
    rows = session.execute(
        select(Batch, slots)
        .outerjoin(slots, slots.c.batch_id == Batch.id)
        .where(Batch.project_id == project_id)
        .order_by(Batch.id.desc())
    )
    return [BatchCounts(row[0], row[2] or 0, row[3] or 0, row[4] or 0, row[5] or 0) for row in rows]


def set_batch_paused(session: Session, batch_id: int, paused: bool) -> None:
    """Stop giving out slots of the batch, or go on. Leases that are out may still be answered."""
    session.execute(update(Batch).where(Batch.id == batch_id).values(paused_at=func.now() if paused else None))


def set_batch_priority(session: Session, batch_id: int, priority: int) -> None:
    """Batches with a higher priority are given out first."""
    session.execute(update(Batch).where(Batch.id == batch_id).values(priority=priority))
    session.execute(update(Slot).where(Slot.batch_id == batch_id).values(priority=priority))


# The queue


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


# Answers


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


def preference_by_key(session: Session, key: UUID) -> Preference | None:
    """The answer that was sent with this key."""
    return session.scalar(select(Preference).where(Preference.key == key))


def newest_of(session: Session, comparison_id: int, labeler_id: int) -> Preference | None:
    """The labeler's newest version on the comparison."""
    return session.scalar(
        select(Preference)
        .where(Preference.comparison_id == comparison_id, Preference.labeler_id == labeler_id)
        .order_by(Preference.version.desc())
        .limit(1)
    )


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


def add_preference(session: Session, preference: Preference) -> None:
    """Keep an answer."""
    session.add(preference)
    session.flush()


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


def void_unfinished(session: Session, batch_ids: Iterable[int]) -> int:
    """Stop asking for the opinions still open in these batches; those being given right now become surplus."""
    voided = session.execute(
        update(Slot)
        .where(Slot.batch_id.in_(list(batch_ids)), Slot.state.in_(UNFINISHED))
        .values(state=SlotState.VOID, labeler_id=None, showing_id=None, lease_expires_at=None)
        .returning(Slot.id)
        .execution_options(synchronize_session=False)
    )
    return len(voided.all())


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


def has_skipped(session: Session, showing_id: UUID) -> bool:
    """Whether the showing was passed on."""
    return bool(session.scalar(select(exists().where(Skip.showing_id == showing_id))))


def progress(session: Session, labeler_id: int) -> tuple[int, int]:
    """How many comparisons the labeler has answered since midnight UTC, and in all."""
    row = session.execute(
        select(
            func.count().filter(Preference.created_at >= func.date_trunc("day", func.now())),
            func.count(),
        ).where(Preference.labeler_id == labeler_id, Preference.version == 1)
    ).one()
    return row[0], row[1]


def unfinished_slots(session: Session, batch_ids: Iterable[int]) -> int:
    """Opinions still needed in these batches."""
    found = session.scalar(select(func.count()).where(Slot.batch_id.in_(list(batch_ids)), Slot.state.in_(UNFINISHED)))
    return found or 0


def done_slots(session: Session, batch_ids: Iterable[int]) -> int:
    """Opinions given in these batches."""
    found = session.scalar(select(func.count()).where(Slot.batch_id.in_(list(batch_ids)), Slot.state == SlotState.DONE))
    return found or 0


def open_slots(session: Session, project_id: int) -> int:
    """Opinions still needed in the project's batches that are not paused."""
    found = session.scalar(
        select(func.count())
        .select_from(Slot)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(Batch.project_id == project_id, Batch.paused_at.is_(None), Slot.state.in_(UNFINISHED))
    )
    return found or 0


def adopt_batches(session: Session, project_id: int, round_id: int) -> None:
    """Make sampled batches that wait for a round belong to this one. Imported batches stay on their own."""
    sampled = exists().where(Comparison.batch_id == Batch.id, Comparison.reason != "import")
    session.execute(
        update(Batch)
        .where(Batch.project_id == project_id, Batch.round_id.is_(None), sampled)
        .values(round_id=round_id)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Unadopted:
    """Sampled pairs that no round has taken yet, and the opinions on them."""

    pairs: int
    unfinished: int
    done: int


def unadopted(session: Session, project_id: int) -> Unadopted:
    """What the next round would adopt."""
    row = session.execute(
        select(
            func.count(Comparison.id.distinct()),
            func.count(Slot.id).filter(Slot.state.in_(UNFINISHED)),
            func.count(Slot.id).filter(Slot.state == SlotState.DONE),
        )
        .select_from(Comparison)
        .join(Batch, Batch.id == Comparison.batch_id)
        .outerjoin(Slot, Slot.comparison_id == Comparison.id)
        .where(Batch.project_id == project_id, Batch.round_id.is_(None), Comparison.reason != "import")
    ).one()
    return Unadopted(row[0], row[1], row[2])


def has_sampled_pairs(session: Session, project_id: int) -> bool:
    """Whether pairs were ever put up here; imported comparisons do not count."""
    sampled = select(Comparison.id).join(Batch, Batch.id == Comparison.batch_id)
    return bool(
        session.scalar(select(sampled.where(Batch.project_id == project_id, Comparison.reason != "import").exists()))
    )


def has_answers(session: Session, project_id: int) -> bool:
    """Whether anybody has judged here; answers that came with imported comparisons do not count."""
    given = (
        select(Preference.id)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
    )
    return bool(
        session.scalar(select(given.where(Batch.project_id == project_id, Comparison.reason != "import").exists()))
    )


def count_comparisons(session: Session, round_id: int) -> dict[Split, int]:
    """How many comparisons a round has, by the split of their documents."""
    rows = session.execute(
        select(Document.split, func.count())
        .select_from(Comparison)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .where(Batch.round_id == round_id)
        .group_by(Document.split)
    )
    return {Split(row[0]): row[1] for row in rows}


def round_waiting_for(session: Session, batch_id: int) -> int | None:
    """The round that this batch was put up for, if it still waits for people."""
    return session.scalar(
        select(Run.round_id)
        .join(Batch, Batch.round_id == Run.round_id)
        .where(Batch.id == batch_id, Run.state == RunState.WAITING)
        .limit(1)
    )


def batches_of_round(session: Session, round_id: int) -> list[int]:
    """Batches that were put up for a round."""
    return list(session.scalars(select(Batch.id).where(Batch.round_id == round_id).order_by(Batch.id)))


# What was said, for training, statistics and export


@dataclass(frozen=True)
class Judged:
    """The newest version of one labeler's counted answer and what it is about; `value` in the comparison's frame."""

    preference_id: int
    value: int
    swapped: bool
    page_version: str
    worker: str
    worker_kind: LabelerKind
    batch: str
    kind: ComparisonKind
    document_id: int
    source_id: str
    community: str
    title: str
    post: str
    info: dict[str, Any]
    split: Split
    source_split: str | None
    texts: tuple[str, str]
    policies: tuple[str, str]
    summary_ids: tuple[int, int]
    notes: tuple[str | None, str | None]
    created_at: datetime


def judged(
    session: Session,
    project_id: int,
    *,
    kinds: Sequence[LabelerKind] = (LabelerKind.HUMAN,),
    splits: Sequence[Split] = tuple(Split),
    batch_ids: Sequence[int] | None = None,
    up_to: int | None = None,
    chunk: int = 1000,
) -> Iterator[Judged]:
    """Newest versions of answers that are not surplus, in the order they were first given (invariant 7).

    Simulated labelers are left out unless asked for by `kinds` (invariant 10). `up_to`: nothing after this preference
    id, so that a snapshot can be read again.
    """
    later = aliased(Preference)
    one, two = aliased(Summary), aliased(Summary)
    policy_one, policy_two = aliased(Policy), aliased(Policy)
    newer = [
        later.comparison_id == Preference.comparison_id,
        later.labeler_id == Preference.labeler_id,
        later.version > Preference.version,
        ~later.surplus,
    ]
    if up_to is not None:
        newer.append(later.id <= up_to)

    def note(summary: Any) -> Any:
        return (
            select(Note.text)
            .where(
                Note.comparison_id == Preference.comparison_id,
                Note.labeler_id == Preference.labeler_id,
                Note.summary_id == summary.id,
            )
            .order_by(Note.version.desc())
            .limit(1)
            .scalar_subquery()
        )

    query = (
        select(
            Preference.id,
            Preference.value,
            Showing.swapped,
            Showing.page_version,
            Labeler.name,
            Labeler.kind,
            Batch.name,
            Comparison.kind,
            Document.id,
            Document.source_id,
            Document.community,
            Document.title,
            Document.post,
            Document.info,
            Document.split,
            Document.source_split,
            one.text,
            two.text,
            policy_one.name,
            policy_two.name,
            one.id,
            two.id,
            note(one),
            note(two),
            Preference.created_at,
        )
        .join(Showing, Showing.id == Preference.showing_id)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .join(policy_one, policy_one.id == one.policy_id)
        .join(policy_two, policy_two.id == two.policy_id)
        .where(
            Batch.project_id == project_id,
            ~Preference.surplus,
            Labeler.kind.in_(kinds),
            Document.split.in_(splits),
            ~exists().where(and_(*newer)),
        )
        .order_by(Preference.slot_id, Preference.id)
        .execution_options(yield_per=chunk)
    )
    if batch_ids is not None:
        query = query.where(Batch.id.in_(batch_ids))
    if up_to is not None:
        query = query.where(Preference.id <= up_to)
    for row in session.execute(query):
        yield Judged(
            preference_id=row[0],
            value=row[1],
            swapped=row[2],
            page_version=row[3],
            worker=row[4],
            worker_kind=row[5],
            batch=row[6],
            kind=row[7],
            document_id=row[8],
            source_id=row[9],
            community=row[10],
            title=row[11],
            post=row[12],
            info=row[13],
            split=row[14],
            source_split=row[15],
            texts=(row[16], row[17]),
            policies=(row[18], row[19]),
            summary_ids=(row[20], row[21]),
            notes=(row[22], row[23]),
            created_at=row[24],
        )


def last_preference(session: Session) -> int:
    """The id of the newest answer; 0 when there is none."""
    return session.scalar(select(func.coalesce(func.max(Preference.id), 0))) or 0


def answers_today(session: Session, kind: LabelerKind = LabelerKind.HUMAN) -> int:
    """Comparisons answered by this kind of labeler since midnight UTC; imported ones do not count."""
    found = session.scalar(
        select(func.count())
        .select_from(Preference)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .where(
            Preference.version == 1,
            Preference.created_at >= func.date_trunc("day", func.now()),
            Labeler.kind == kind,
            ~Labeler.name.startswith("import:", autoescape=True),
        )
    )
    return found or 0
