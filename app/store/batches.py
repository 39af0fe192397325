"""Batches and the comparisons in them: put up, counted, paused, asked of more or fewer labelers, adopted by a round.

Knows how many opinions a batch still needs. Knows nothing of who is given which (app.store.queueing) or of what was
answered (app.store.answers).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.domain.protocols import Protocol
from app.domain.words import (
    BatchKind,
    BatchPurpose,
    ComparisonKind,
    LabelerKind,
    Role,
    RunState,
    SlotState,
    Split,
)
from app.store.session import Session, directly, first
from app.store.slices import slices
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Labeler,
    Preference,
    Rating,
    Run,
    Slot,
    Summary,
)

UNFINISHED = (SlotState.OPEN, SlotState.LEASED)
# Comparisons whose slots are added or voided by one statement, so that none takes long.
PIECE = 5000
PLAIN = Protocol()


def add_batch(
    session: Session,
    project_id: int,
    name: str,
    *,
    kind: BatchKind = BatchKind.COMPARE,
    protocol: Protocol = PLAIN,
    opinions: int = 1,
    priority: int = 0,
    for_kind: LabelerKind | None = None,
    round_id: int | None = None,
) -> Batch:
    """A new batch, without comparisons yet."""
    batch = Batch(
        project_id=project_id,
        name=name,
        kind=kind,
        protocol=protocol.to_dict(),
        opinions=opinions,
        priority=priority,
        for_kind=for_kind,
        round_id=round_id,
    )
    session.add(batch)
    session.flush()
    return batch


def batch(session: Session, project_id: int, batch_id: int) -> Batch | None:
    """The batch with this id as it is now, locked against other changes until the transaction ends.

    Claims and new slots, which refer to the batch, do not wait for it.
    """
    return session.scalar(
        select(Batch)
        .where(Batch.project_id == project_id, Batch.id == batch_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


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
    """Put comparisons up in a batch, each with as many open slots as are asked for its kind. Gives how many were new.

    Rows hold document_id, first_summary_id, second_summary_id, reason, and optionally kind and propensity. A pair that
    is in the batch already is left as it is.
    """
    if not rows:
        return 0
    holder = session.get_one(Batch, batch_id)
    protocol = Protocol.of(holder.protocol)
    full = [{"batch_id": batch_id, "kind": ComparisonKind.ORDINARY, "propensity": None, **row} for row in rows]
    added = [
        (row[0], ComparisonKind(row[1]))
        for part in slices(full)
        for row in session.execute(
            upsert(Comparison).values(list(part)).on_conflict_do_nothing().returning(Comparison.id, Comparison.kind)
        )
    ]
    slots = [
        {
            "batch_id": batch_id,
            "comparison_id": comparison_id,
            "number": number,
        }
        for comparison_id, kind in sorted(added)
        for number in range(1, protocol.opinions_on(kind, holder.opinions) + 1)
    ]
    if slots:
        session.execute(insert(Slot), slots)
    return len(added)


def unrated(session: Session, policy_id: int, number: int) -> list[int]:
    """Summaries by this policy that were never put up for rating: one per document, in a fixed shuffled order."""
    first = func.min(Summary.id)
    return list(
        session.scalars(
            select(first)
            .join(Document, Document.id == Summary.document_id)
            .where(
                Summary.policy_id == policy_id,
                func.btrim(Summary.text) != "",
                ~exists().where(Slot.summary_id == Summary.id),
            )
            .group_by(Document.id)
            .order_by(func.md5(Document.source_id), Document.id)
            .limit(number)
        )
    )


def add_ratings(session: Session, batch: Batch, summary_ids: Sequence[int]) -> None:
    """Put summaries up for rating, each with as many open slots as the batch asks opinions."""
    slots = [
        {"batch_id": batch.id, "summary_id": summary_id, "number": number}
        for summary_id in summary_ids
        for number in range(1, batch.opinions + 1)
    ]
    session.execute(insert(Slot), slots)


def name_is_taken(session: Session, project_id: int, name: str) -> bool:
    """Whether a batch of the project has this name."""
    return bool(session.scalar(select(exists().where(Batch.project_id == project_id, Batch.name == name))))


@dataclass(frozen=True)
class BatchCounts:
    """A batch and how its slots stand. `subjects`: comparisons, or summaries to rate.

    Slots made for one labeler at their turn (gold, qualification, calibration) are not among those of the batch: `lent`
    is how many of them are done.
    """

    batch: Batch
    subjects: int
    open: int
    leased: int
    done: int
    lent: int


def batches(session: Session, project_id: int, *, before: int | None, limit: int) -> list[BatchCounts]:
    """Batches with ids below `before` (all when None), newest first."""
    rows = select(Batch).where(Batch.project_id == project_id).order_by(Batch.id.desc()).limit(limit)
    if before is not None:
        rows = rows.where(Batch.id < before)
    return _counted(session, list(session.scalars(rows)))


def newer_batches(session: Session, project_id: int, after: int, limit: int) -> list[int]:
    """Ids of the batches that come next above this one, lowest first."""
    rows = select(Batch.id).where(Batch.project_id == project_id, Batch.id > after).order_by(Batch.id).limit(limit)
    return list(session.scalars(rows))


def found(session: Session, project_id: int, batch_id: int) -> Batch | None:
    """The batch with this id, to look at."""
    return session.scalar(select(Batch).where(Batch.project_id == project_id, Batch.id == batch_id))


def counted(session: Session, project_id: int, batch_id: int) -> BatchCounts | None:
    """The batch with this id and its counts."""
    row = found(session, project_id, batch_id)
    return None if row is None else _counted(session, [row])[0]


def _counted(session: Session, rows: list[Batch]) -> list[BatchCounts]:
    """With their counts, by indexes alone: the slots of other batches are not touched."""
    ids = [row.id for row in rows]
    subjects: dict[int, int] = {
        row[0]: row[1]
        for row in session.execute(
            select(Comparison.batch_id, func.count()).where(Comparison.batch_id.in_(ids)).group_by(Comparison.batch_id)
        )
    }
    rating = [row.id for row in rows if row.kind == BatchKind.RATE]
    if rating:
        subjects |= {
            row[0]: row[1]
            for row in session.execute(
                select(Slot.batch_id, func.count(Slot.summary_id.distinct()))
                .where(Slot.batch_id.in_(rating))
                .group_by(Slot.batch_id)
            )
        }
    lent = Slot.for_labeler_id.is_not(None)
    slots: dict[tuple[int, SlotState, bool], int] = {
        (row[0], SlotState(row[1]), row[2]): row[3]
        for row in session.execute(
            select(Slot.batch_id, Slot.state, lent, func.count())
            .where(Slot.batch_id.in_(ids))
            .group_by(Slot.batch_id, Slot.state, lent)
        )
    }
    return [
        BatchCounts(
            batch=row,
            subjects=subjects.get(row.id, 0),
            open=slots.get((row.id, SlotState.OPEN, False), 0),
            leased=slots.get((row.id, SlotState.LEASED, False), 0),
            done=slots.get((row.id, SlotState.DONE, False), 0),
            lent=slots.get((row.id, SlotState.DONE, True), 0),
        )
        for row in rows
    ]


def kinds_in(session: Session, batch_id: int) -> dict[ComparisonKind, int]:
    """How many comparisons of each kind a batch holds."""
    rows = session.execute(
        select(Comparison.kind, func.count()).where(Comparison.batch_id == batch_id).group_by(Comparison.kind)
    )
    return {ComparisonKind(row[0]): row[1] for row in rows}


def assignable(session: Session, for_kind: LabelerKind | None, assigned: Sequence[str]) -> list[Labeler]:
    """Labelers of this kind who can sign in, and those with the names given, by name."""
    may_judge = (Labeler.role == Role.LABELER) & Labeler.deactivated_at.is_(None)
    if for_kind is not None:
        may_judge &= Labeler.kind == for_kind
    return list(
        session.scalars(
            select(Labeler)
            .where(
                or_(may_judge, Labeler.name.in_(assigned)),
                ~Labeler.name.startswith("import:", autoescape=True),
            )
            .order_by(func.lower(Labeler.name))
        )
    )


def set_batch_paused(session: Session, batch_id: int, paused: bool) -> None:
    """Stop giving out slots of the batch, or go on. Leases that are out may still be answered."""
    session.execute(update(Batch).where(Batch.id == batch_id).values(paused_at=func.now() if paused else None))


def set_batch_priority(session: Session, batch_id: int, priority: int) -> None:
    """Batches with a higher priority are given out first."""
    session.execute(update(Batch).where(Batch.id == batch_id).values(priority=priority))


def set_batch_protocol(session: Session, batch_id: int, protocol: Protocol) -> None:
    """How the batch's pairs are given out from now on."""
    session.execute(update(Batch).where(Batch.id == batch_id).values(protocol=protocol.to_dict()))


def set_standing_protocol(session: Session, project_id: int, protocol: Protocol) -> None:
    """How gold and qualification pairs are given out from now on."""
    session.execute(
        update(Batch)
        .where(Batch.project_id == project_id, Batch.purpose != BatchPurpose.ORDINARY)
        .values(protocol=protocol.to_dict())
    )


@dataclass(frozen=True)
class Changed:
    """What a change of the number of opinions did: how many slots it added and voided.

    `fillable`: those added for which an answer was kept as surplus.
    """

    added: int
    voided: int
    fillable: Sequence[int]


def set_batch_opinions(session: Session, batch: Batch, opinions: int) -> Changed:
    """Ask so many labelers for each comparison, or summary, of the batch: more adds slots, fewer voids open ones.

    What is held or done stays (invariant 2), and so does what was asked for on top. The batch has to be locked. It goes
    piece by piece, and looks at a piece again as long as claims took slots that were to be voided.
    """
    more = opinions > batch.opinions
    batch.opinions = opinions
    session.flush()
    added: list[int] = []
    voided = 0
    for piece in _pieces(session, batch):
        if more:
            added += _add_missing(session, batch, piece)
            continue
        spare, ended = 1, 0
        while ended < spare:
            spare, ended = _void_spare(session, batch, piece)
            voided += ended
    return Changed(len(added), voided, _with_surplus(session, batch, min(added)) if added else [])


def _subject(batch: Batch) -> InstrumentedAttribute[int | None]:
    return Slot.comparison_id if batch.kind == BatchKind.COMPARE else Slot.summary_id


@dataclass(frozen=True)
class _Piece:
    """Subjects of a batch, by their lowest and highest id."""

    first: int
    last: int


def _pieces(session: Session, batch: Batch) -> Iterator[_Piece]:
    """The batch's comparisons, or its summaries to rate, in pieces.

    Comparisons are locked against whoever else adds a slot to one: two would take the same number.
    """
    last = 0
    while True:
        query: Select[Any]
        if batch.kind == BatchKind.COMPARE:
            query = select(Comparison.id).where(Comparison.batch_id == batch.id, Comparison.id > last)
            query = query.order_by(Comparison.id).with_for_update(key_share=True)
        else:
            query = select(Slot.summary_id).where(Slot.batch_id == batch.id, Slot.summary_id > last)
            query = query.distinct().order_by(Slot.summary_id)
        ids: list[Any] = list(session.scalars(query.limit(PIECE)))
        if not ids:
            return
        last = ids[-1]
        yield _Piece(ids[0], last)


def _live() -> ColumnElement[bool]:
    """A slot counts, or may yet. Those made for one labeler at their turn come on top of what a batch asks."""
    return (Slot.state != SlotState.VOID) & Slot.for_labeler_id.is_(None)


def _slots(batch: Batch, piece: _Piece, *columns: Any) -> Select[*tuple[Any, ...]]:
    """Columns of the slots of a piece; of their comparisons, too, where they have one."""
    within = _subject(batch).between(piece.first, piece.last)
    joined = select(*columns).outerjoin(Comparison, Comparison.id == Slot.comparison_id)
    return joined.where(Slot.batch_id == batch.id, within)


def _asked(batch: Batch, shared: ColumnElement[bool]) -> ColumnElement[int]:
    protocol = Protocol.of(batch.protocol)
    return case(
        (shared, protocol.opinions_on(ComparisonKind.SHARED, batch.opinions)),
        else_=protocol.opinions_on(ComparisonKind.ORDINARY, batch.opinions),
    )


def _add_missing(session: Session, batch: Batch, piece: _Piece) -> Sequence[int]:
    subject = _subject(batch)
    asked = _asked(batch, func.bool_or(Comparison.kind == ComparisonKind.SHARED))
    there = (
        _slots(
            batch,
            piece,
            subject.label("subject"),
            func.max(Slot.number).label("highest"),
            (asked - func.count().filter(_live())).label("missing"),
        )
        .group_by(subject)
        .subquery("there")
    )
    nth = func.generate_series(1, there.c.missing).table_valued("nth").render_derived()
    rows = select(literal(batch.id), there.c.subject, there.c.highest + nth.c.nth).select_from(there.join(nth, true()))
    new = insert(Slot).from_select(["batch_id", subject.key, "number"], rows).returning(Slot.id)
    return session.scalars(new).all()


def _with_surplus(session: Session, batch: Batch, since: int) -> Sequence[int]:
    subject = _subject(batch)
    said = Preference if batch.kind == BatchKind.COMPARE else Rating
    kept = exists().where(getattr(said, subject.key) == subject, said.surplus)
    new = select(Slot.id).where(Slot.batch_id == batch.id, Slot.state == SlotState.OPEN, Slot.id >= since, kept)
    return session.scalars(new.order_by(Slot.id)).all()


def _void_spare(session: Session, batch: Batch, piece: _Piece) -> tuple[int, int]:
    """Void the last open slots of what has more than is asked for. Gives how many those were, and how many it voided.

    The difference are slots that somebody claimed while this statement waited for them.
    """
    by_subject = _subject(batch)
    open_first = (Slot.state == SlotState.OPEN).desc()
    # Windows in one pass: a join with counts goes wrong where the planner does not know the batch yet.
    ranked = (
        _slots(
            batch,
            piece,
            Slot.id,
            Slot.state,
            func.row_number().over(partition_by=by_subject, order_by=[open_first, Slot.number.desc()]).label("place"),
            (
                func.count().over(partition_by=by_subject) - _asked(batch, Comparison.kind == ComparisonKind.SHARED)
            ).label("spare"),
        )
        .where(_live())
        .cte("ranked")
    )
    is_open = ranked.c.state == SlotState.OPEN
    spare = select(ranked.c.id).where(is_open, ranked.c.place <= ranked.c.spare).cte("spare")
    voided = (
        update(Slot)
        .where(Slot.id.in_(select(spare.c.id)), Slot.state == SlotState.OPEN)
        .values(state=SlotState.VOID)
        .returning(Slot.id)
        .cte("voided")
    )
    row = session.execute(
        select(
            select(func.count()).select_from(spare).scalar_subquery(),
            select(func.count()).select_from(voided).scalar_subquery(),
        )
    ).one()
    return row[0], row[1]


def void_unfinished(session: Session, batch_ids: Sequence[int]) -> int:
    """Stop asking for the opinions still open in these batches; those being given right now become surplus.

    What researchers' accounts were lent on top of those is theirs still.
    """
    locked = select(Batch.id).where(Batch.id.in_(batch_ids)).order_by(Batch.id).with_for_update(key_share=True)
    session.execute(locked)
    voided = session.execute(
        update(Slot)
        .where(*_needed(batch_ids))
        .values(state=SlotState.VOID, labeler_id=None, showing_id=None, lease_expires_at=None)
        .returning(Slot.id)
        .execution_options(synchronize_session=False)
    )
    return len(voided.all())


def _needed(batch_ids: Sequence[int]) -> list[ColumnElement[bool]]:
    return [Slot.batch_id.in_(batch_ids), Slot.state.in_(UNFINISHED), Slot.for_labeler_id.is_(None)]


def has_unfinished_slots(session: Session, batch_ids: Sequence[int]) -> bool:
    """Whether an opinion is still needed in these batches; what researchers' accounts are lent does not count."""
    return bool(session.scalar(select(select(Slot.id).where(*_needed(batch_ids)).exists())))


def unfinished_slots(session: Session, batch_ids: Sequence[int]) -> int:
    """Opinions still needed in these batches, likewise."""
    return session.scalar(select(func.count()).select_from(Slot).where(*_needed(batch_ids))) or 0


def done_slots(session: Session, batch_ids: Sequence[int]) -> int:
    """Opinions given in these batches, likewise."""
    given = select(func.count()).where(
        Slot.batch_id.in_(batch_ids), Slot.state == SlotState.DONE, Slot.for_labeler_id.is_(None)
    )
    return session.scalar(given) or 0


def open_slots(session: Session, project_id: int) -> int:
    """Opinions still needed in the project's batches that are not paused."""
    going = select(Batch.id).where(Batch.project_id == project_id, Batch.paused_at.is_(None))
    return unfinished_slots(session, list(session.scalars(going)))


def adopt_batches(
    session: Session, project_id: int, round_id: int, kinds: Sequence[LabelerKind], *, judged: bool = False
) -> None:
    """Make sampled batches that wait for a round belong to this one, to be judged by labelers of these kinds.

    Imported batches stay on their own, and so does a batch that others have answered already: the round could not
    learn from their answers. `judged`: only those in which no opinion is needed any more.
    """
    foreign = exists().where(
        Slot.batch_id == Batch.id,
        Slot.state == SlotState.DONE,
        Labeler.id == Slot.labeler_id,
        Labeler.kind.not_in(kinds),
    )
    still = exists().where(Slot.batch_id == Batch.id, Slot.state.in_(UNFINISHED), Slot.for_labeler_id.is_(None))
    session.execute(
        update(Batch)
        .where(
            Batch.project_id == project_id,
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.round_id.is_(None),
            _sampled(),
            ~foreign,
            ~still if judged else true(),
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
    ids = list(
        session.scalars(
            select(Batch.id).where(
                Batch.project_id == project_id,
                Batch.purpose == BatchPurpose.ORDINARY,
                Batch.round_id.is_(None),
                _sampled(),
            )
        )
    )
    pairs = session.scalar(select(func.count()).where(Comparison.batch_id.in_(ids), _counts_for_the_recipe()))
    return Unadopted(pairs or 0, unfinished_slots(session, ids), done_slots(session, ids))


def _sampled() -> ColumnElement[bool]:
    return exists().where(Comparison.batch_id == Batch.id, Comparison.reason != "import")


def _counts_for_the_recipe() -> ColumnElement[bool]:
    """Sentinel pairs come on top of those that a recipe asks for."""
    return Comparison.kind != ComparisonKind.SENTINEL


def has_sampled_pairs(session: Session, project_id: int) -> bool:
    """Whether pairs were ever put up here to be judged; imported comparisons do not count."""
    found = exists().where(Batch.project_id == project_id, Batch.purpose == BatchPurpose.ORDINARY, _sampled())
    return bool(session.scalar(select(found)))


def count_comparisons(session: Session, round_id: int) -> dict[Split, int]:
    """How many of the comparisons that its recipe asks for a round has, by the split of their documents."""
    rows = session.execute(
        select(Document.split, func.count())
        .select_from(Comparison)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .where(Batch.round_id == round_id, _counts_for_the_recipe())
        .group_by(Document.split)
    )
    return {Split(row[0]): row[1] for row in rows}


def round_judged(session: Session, batch_id: int) -> int | None:
    """The round that this batch was put up for, if it waits for people and has all the opinions that it asked for."""
    found: int | None = first(directly(session, _ROUND_JUDGED, batch=batch_id))
    return found


# Asked with every answer: built once, and it stops at the first opinion that is missing.
_others = aliased(Batch)
_still = select(Slot.id).where(Slot.batch_id == _others.id, Slot.for_labeler_id.is_(None)).limit(literal_column("1"))
# In the order of an index: otherwise the planner hopes to meet an open one soon, and reads all that are done.
_open = _still.where(Slot.state == literal_column("'open'")).order_by(Slot.id).scalar_subquery()
_leased = _still.where(Slot.state == literal_column("'leased'")).scalar_subquery()
_missing = select(_others.id).where(_others.round_id == Run.round_id, or_(_open.is_not(None), _leased.is_not(None)))
_ROUND_JUDGED = (
    select(Run.round_id)
    .join(Batch, Batch.round_id == Run.round_id)
    .where(
        Batch.id == bindparam("batch", type_=BigInteger),
        Run.state == RunState.WAITING,
        _missing.limit(literal_column("1")).scalar_subquery().is_(None),
    )
    .limit(literal_column("1"))
)


def batches_of_round(session: Session, round_id: int) -> list[int]:
    """Batches that were put up for a round."""
    return list(session.scalars(select(Batch.id).where(Batch.round_id == round_id).order_by(Batch.id)))
