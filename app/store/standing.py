"""Pairs that are put before one labeler at their turn: gold, qualification and calibration, by a slot made for them.

Knows which pair is next for whom, and how its slot is numbered under concurrency. Knows nothing of when the turn comes
(app.services.standing) or of leases (app.store.queueing).
"""

from itertools import chain, count
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Select,
    and_,
    any_,
    bindparam,
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

from app.domain.words import BatchKind, BatchPurpose, SlotState
from app.store.batches import UNFINISHED, name_is_taken
from app.store.session import Session, directly, first
from app.store.tables import Batch, Comparison, Labeler, Preference, Project, QueuePlace, Skip, Slot, Verdict

NAMES = {BatchPurpose.GOLD: "Gold pairs", BatchPurpose.QUALIFICATION: "Qualification pairs"}


def standing_batch(session: Session, project: Project, purpose: BatchPurpose) -> Batch:
    """The project's standing batch of this purpose, made when there is none. It follows the protocol of new batches."""
    session.execute(text("select pg_advisory_xact_lock(4172008, :project)"), {"project": project.id % 2**31})
    found = session.scalar(
        select(Batch).where(Batch.project_id == project.id, Batch.purpose == purpose).order_by(Batch.id).limit(1)
    )
    if found is not None:
        return found
    names = chain([NAMES[purpose]], (f"{NAMES[purpose]} {number}" for number in count(2)))
    name = next(each for each in names if not name_is_taken(session, project.id, each))
    batch = Batch(
        project_id=project.id, name=name, kind=BatchKind.COMPARE, purpose=purpose, protocol=dict(project.protocol)
    )
    session.add(batch)
    session.flush()
    return batch


_ONE: ColumnElement[int] = literal_column("1")
_NOTHING: ColumnElement[int] = literal_column("0")
_LABELER = bindparam("labeler", type_=BigInteger)
_PROJECT = bindparam("project", type_=BigInteger)


def _none(source: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    # Not `not exists`: the planner would hash all that the labeler ever answered, at every turn.
    return select(_ONE).select_from(source).where(*conditions).limit(_ONE).scalar_subquery().is_(None)


# States are written out, so that partial indexes are used whatever the plan.
_VOID: ColumnElement[str] = literal_column("'void'")
_OPEN: ColumnElement[str] = literal_column("'open'")


def _theirs(comparison_id: Any) -> list[ColumnElement[bool]]:
    """Conditions on a comparison: `labeler` holds or has filled a slot of it, has answered it, or has passed it on."""
    slot = aliased(Slot)
    return [
        ~_none(slot, slot.comparison_id == comparison_id, slot.labeler_id == _LABELER, slot.state != _VOID),
        ~_none(Preference, Preference.comparison_id == comparison_id, Preference.labeler_id == _LABELER),
        ~_none(Skip, Skip.comparison_id == comparison_id, Skip.labeler_id == _LABELER),
    ]


def met(comparison_id: Any) -> list[ColumnElement[bool]]:
    """Conditions on a comparison, one of which is enough: `labeler` has met it, or a slot of it waits for them."""
    slot = aliased(Slot)
    waits = ~_none(slot, slot.comparison_id == comparison_id, slot.for_labeler_id == _LABELER, slot.state == _OPEN)
    return [*_theirs(comparison_id), waits]


def _new_to(comparison_id: Any) -> list[ColumnElement[bool]]:
    """Conditions on a comparison: `labeler` has not met it, and no slot of it was ever made for them."""
    slot = aliased(Slot)
    made = _none(slot, slot.comparison_id == comparison_id, slot.for_labeler_id == _LABELER)
    return [*(~each for each in _theirs(comparison_id)), made]


def same_pair(one: Any, other: Any) -> ColumnElement[bool]:
    """Whether two comparisons set the same two summaries side by side, whichever comes first."""
    return and_(
        one.document_id == other.document_id,
        or_(
            and_(
                one.first_summary_id == other.first_summary_id,
                one.second_summary_id == other.second_summary_id,
            ),
            and_(
                one.first_summary_id == other.second_summary_id,
                one.second_summary_id == other.first_summary_id,
            ),
        ),
    )


def _next(purpose: BatchPurpose) -> Select[int]:
    """The oldest pair of a purpose that is new to `labeler` and not retired.

    The pairs stand in a subquery of their own, in order: what is asked of each is asked until the first one fits.
    """
    standing = (
        select(Batch.id)
        .where(Batch.project_id == _PROJECT, Batch.purpose == purpose, Batch.paused_at.is_(None))
        .order_by(Batch.id)
        .limit(_ONE)
    )
    put_up = (
        select(Comparison.id, Comparison.document_id, Comparison.first_summary_id, Comparison.second_summary_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .where(Comparison.batch_id == standing.scalar_subquery(), Verdict.retired_at.is_(None))
        .order_by(Comparison.id)
        .offset(_NOTHING)
        .subquery()
    )
    found = select(put_up.c.id).where(*_new_to(put_up.c.id)).order_by(put_up.c.id).limit(_ONE)
    if purpose is BatchPurpose.GOLD:
        twin = aliased(Comparison)
        found = found.where(_none(twin, same_pair(twin, put_up.c), twin.id != put_up.c.id, or_(*met(twin.id))))
    return found


_NEXT = {purpose: _next(purpose) for purpose in NAMES}


def next_pair(session: Session, project_id: int, purpose: BatchPurpose, labeler_id: int) -> int | None:
    """The oldest pair of this purpose that is new to the labeler and not retired.

    The oldest, so that whoever takes several in one transaction locks them in the order of everybody else. A gold pair
    is not lent to somebody who has met the pair it was copied from, or another copy of it.
    """
    pair: int | None = first(directly(session, _NEXT[purpose], project=project_id, labeler=labeler_id))
    return pair


def _waiting(purpose: BatchPurpose) -> Select[int]:
    return (
        select(Slot.id)
        .join(Batch, Batch.id == Slot.batch_id)
        .outerjoin(Verdict, Verdict.comparison_id == Slot.comparison_id)
        .where(
            Slot.state == _OPEN,
            Slot.for_labeler_id == _LABELER,
            Batch.project_id == _PROJECT,
            Batch.purpose == purpose,
            Batch.paused_at.is_(None),
            Verdict.retired_at.is_(None),
            *(~each for each in _theirs(Slot.comparison_id)),
        )
        .order_by(Slot.id)
        .limit(_ONE)
    )


_WAITING = {purpose: _waiting(purpose) for purpose in BatchPurpose}


def waiting(session: Session, project_id: int, purpose: BatchPurpose, labeler_id: int) -> int | None:
    """The oldest open slot that was made for the labeler in a batch of this purpose, and came back."""
    slot: int | None = first(directly(session, _WAITING[purpose], project=project_id, labeler=labeler_id))
    return slot


def _to_calibrate(*, again: bool) -> Select[int]:
    """The next pair for researchers that none of them has judged, or else that the fewest of them have."""
    judged = (
        select(Preference.comparison_id, func.count(Preference.labeler_id.distinct()).label("times"))
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .where(Labeler.calibrates)
        .group_by(Preference.comparison_id)
        .cte("judged")
    )
    running = select(Batch.id).where(
        Batch.project_id == _PROJECT, Batch.purpose == BatchPurpose.ORDINARY, Batch.paused_at.is_(None)
    )
    kinds: ColumnElement[str] = literal_column("('calibration', 'shared')")
    void = _none(Slot, Slot.comparison_id == Comparison.id, Slot.state != _VOID, Slot.for_labeler_id.is_(None))
    put_up = select(Comparison.id).where(
        Comparison.kind.op("in")(kinds), Comparison.batch_id == any_(func.array(running.scalar_subquery())), ~void
    )
    if again:
        put_up = put_up.add_columns(judged.c.times).join(judged, judged.c.comparison_id == Comparison.id)
    else:
        put_up = put_up.where(Comparison.id.not_in(select(judged.c.comparison_id)))
    # Ordered first, so that what is asked of each pair is asked until the first one fits.
    order = ["times", "id"] if again else ["id"]
    ordered = put_up.order_by(*order).offset(_NOTHING).subquery()
    return select(ordered.c.id).where(*_new_to(ordered.c.id)).order_by(*(ordered.c[each] for each in order)).limit(_ONE)


_TO_CALIBRATE = [_to_calibrate(again=again) for again in (False, True)]


def next_to_calibrate(session: Session, project_id: int, labeler_id: int) -> int | None:
    """The pair that the fewest researchers' accounts have answered, of those put up for them or for several labelers.

    One whose opinions are all void is asked of nobody. Researchers are few: they take turns, so that none of them waits
    for another's pair.
    """
    session.execute(text("select pg_advisory_xact_lock(4172009, :project)"), {"project": project_id % 2**31})
    for query in _TO_CALIBRATE:
        found: int | None = first(directly(session, query, project=project_id, labeler=labeler_id))
        if found is not None:
            return found
    return None


def lock(session: Session, comparison_id: int) -> None:
    """Lock a comparison against whoever else makes a slot of it, or retires it, until the transaction ends."""
    session.execute(select(Comparison.id).where(Comparison.id == comparison_id).with_for_update(key_share=True))


def address(session: Session, comparison_id: int, labeler_id: int) -> int | None:
    """Make a slot of the comparison for this labeler alone. Gives its id; None when it was retired meanwhile.

    The comparison is locked while its highest number is read, so that two who are lent it at once get two numbers.
    """
    lock(session, comparison_id)
    highest = select(func.coalesce(func.max(Slot.number), 0)).where(Slot.comparison_id == comparison_id)
    retired = exists().where(Verdict.comparison_id == Comparison.id, Verdict.retired_at.is_not(None))
    return session.scalar(
        insert(Slot)
        .from_select(
            ["batch_id", "comparison_id", "number", "for_labeler_id"],
            select(Comparison.batch_id, Comparison.id, highest.scalar_subquery() + 1, literal(labeler_id)).where(
                Comparison.id == comparison_id, ~retired
            ),
        )
        .returning(Slot.id)
    )


_COUNTED = upsert(QueuePlace).from_select(
    ["labeler_id", "batch_id", "slot_id", "turns"],
    select(_LABELER, Batch.id, literal_column("0"), bindparam("share", type_=Double))
    .where(Batch.project_id == _PROJECT, Batch.purpose == BatchPurpose.GOLD, Batch.paused_at.is_(None))
    .order_by(Batch.id)
    .limit(1),
)
# Built once: it runs at every claim of a batch with a share of gold.
_TURN = _COUNTED.on_conflict_do_update(
    index_elements=["labeler_id", "batch_id"], set_={"turns": QueuePlace.turns + _COUNTED.excluded.turns}
).returning(QueuePlace.turns)


def take_turn(session: Session, project_id: int, labeler_id: int, share: float) -> float | None:
    """Count a place that the labeler is about to be given, worth `share` of a gold pair. Gives the sum, this one added.

    None when the project has no gold batch, or it is paused. The labeler's queue has to be locked.
    """
    turns: float | None = first(directly(session, _TURN, project=project_id, labeler=labeler_id, share=share))
    return turns


def void_unfinished(session: Session, comparison_id: int) -> None:
    """Stop asking for the opinions on a comparison that are still missing."""
    session.execute(
        update(Slot)
        .where(Slot.comparison_id == comparison_id, Slot.state.in_(UNFINISHED))
        .values(state=SlotState.VOID, labeler_id=None, showing_id=None, lease_expires_at=None)
        .execution_options(synchronize_session=False)
    )


def open_again(session: Session, comparison_id: int) -> None:
    """Ask those again for whom a slot was made void before they had answered the comparison or passed it on."""
    said = exists().where(Preference.comparison_id == comparison_id, Preference.labeler_id == Slot.for_labeler_id)
    passed_on = exists().where(Skip.comparison_id == comparison_id, Skip.labeler_id == Slot.for_labeler_id)
    session.execute(
        update(Slot)
        .where(
            Slot.comparison_id == comparison_id,
            Slot.state == SlotState.VOID,
            Slot.for_labeler_id.is_not(None),
            ~said,
            ~passed_on,
        )
        .values(state=SlotState.OPEN, labeler_id=None, showing_id=None)
        .execution_options(synchronize_session=False)
    )
