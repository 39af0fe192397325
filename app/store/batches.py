"""Batches and the comparisons in them: put up, counted, paused, adopted by a round.

Knows how many opinions a batch still needs. Knows nothing of who is given which (app.store.queueing) or of what was
answered (app.store.answers).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.domain.words import BatchKind, BatchPurpose, ComparisonKind, LabelerKind, RunState, SlotState, Split
from app.store.session import Session
from app.store.slices import slices
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Labeler,
    Run,
    Slot,
)

UNFINISHED = (SlotState.OPEN, SlotState.LEASED)


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
    full = [{"batch_id": batch_id, "kind": ComparisonKind.ORDINARY, "propensity": None, **row} for row in rows]
    added = [
        comparison_id
        for part in slices(full)
        for comparison_id in session.scalars(
            upsert(Comparison).values(list(part)).on_conflict_do_nothing().returning(Comparison.id)
        )
    ]
    slots = [
        {
            "batch_id": batch_id,
            "comparison_id": comparison_id,
            "number": number,
        }
        for comparison_id in sorted(added)
        for number in range(1, holder.opinions + 1)
    ]
    if slots:
        session.execute(insert(Slot), slots)
    return len(slots) // holder.opinions


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


def adopt_batches(session: Session, project_id: int, round_id: int, kinds: Sequence[LabelerKind]) -> None:
    """Make sampled batches that wait for a round belong to this one, to be judged by labelers of these kinds.

    Imported batches stay on their own, and so does a batch that others have answered already: the round could not
    learn from their answers.
    """
    sampled = exists().where(Comparison.batch_id == Batch.id, Comparison.reason != "import")
    foreign = exists().where(
        Slot.batch_id == Batch.id,
        Slot.state == SlotState.DONE,
        Labeler.id == Slot.labeler_id,
        Labeler.kind.not_in(kinds),
    )
    session.execute(
        update(Batch)
        .where(
            Batch.project_id == project_id,
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.round_id.is_(None),
            sampled,
            ~foreign,
        )
        .values(round_id=round_id, for_kind=kinds[0] if len(kinds) == 1 else None)
        .execution_options(synchronize_session=False)
    )


def release_batches(session: Session, round_id: int) -> None:
    """Let the next round adopt the batches of one that ended early: what was judged in them is not lost to it."""
    session.execute(
        update(Batch)
        .where(Batch.round_id == round_id)
        .values(round_id=None)
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
        .where(
            Batch.project_id == project_id,
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.round_id.is_(None),
            Comparison.reason != "import",
        )
    ).one()
    return Unadopted(row[0], row[1], row[2])


def has_sampled_pairs(session: Session, project_id: int) -> bool:
    """Whether pairs were ever put up here; imported comparisons do not count."""
    sampled = select(Comparison.id).join(Batch, Batch.id == Comparison.batch_id)
    return bool(
        session.scalar(select(sampled.where(Batch.project_id == project_id, Comparison.reason != "import").exists()))
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
