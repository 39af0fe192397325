"""One comparison with everything that was said of it, the comparisons of a batch page by page, and single slots.

Knows what is read together, and what voiding a slot keeps. Knows nothing of who may ask (app.services.comparisons) or
of how slots are given out (app.store.queueing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, exists, func, insert, or_, select, update
from sqlalchemy import Text as Words
from sqlalchemy.orm import aliased

from app.domain.words import ComparisonKind, SlotState
from app.store.batches import UNFINISHED
from app.store.session import Session
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Flag,
    Labeler,
    Note,
    Policy,
    Preference,
    Showing,
    Skip,
    Slot,
    Summary,
    Verdict,
)


class Standing(StrEnum):
    """How a comparison stands: it has an open slot, somebody holds one, it needs no more, or a slot of it is void."""

    OPEN = "open"
    HELD = "held"
    DONE = "done"
    VOID = "void"


@dataclass(frozen=True)
class Line:
    """A comparison in a list: what it is about, whose texts, and how many of its slots are in each state."""

    comparison: Comparison
    title: str
    post: str
    policies: tuple[str, str]
    slots: dict[SlotState, int]


def _has(*states: SlotState) -> ColumnElement[bool]:
    return exists().where(Slot.comparison_id == Comparison.id, Slot.state.in_(states))


_STANDING = {
    Standing.OPEN: _has(SlotState.OPEN),
    Standing.HELD: _has(SlotState.LEASED),
    Standing.DONE: ~_has(*UNFINISHED),
    Standing.VOID: _has(SlotState.VOID),
}


def lines(
    session: Session,
    batch_id: int,
    *,
    kind: ComparisonKind | None,
    standing: Standing | None,
    words: str,
    after: int | None,
    before: int | None,
    limit: int,
) -> list[Line]:
    """Comparisons of a batch by their ids: the first `limit` above `after`, or the last ones below `before`.

    `words`: part of a document's title, its id in the file it came in, or a comparison's own number.
    """
    one, two = aliased(Summary), aliased(Summary)
    policy_one, policy_two = aliased(Policy), aliased(Policy)
    query = (
        select(Comparison, Document.title, func.left(Document.post, 400), policy_one.name, policy_two.name)
        .join(Document, Document.id == Comparison.document_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .join(policy_one, policy_one.id == one.policy_id)
        .join(policy_two, policy_two.id == two.policy_id)
        .where(Comparison.batch_id == batch_id)
    )
    if kind is not None:
        query = query.where(Comparison.kind == kind)
    if standing is not None:
        query = query.where(_STANDING[standing])
    if words:
        query = query.where(
            or_(
                Document.title.icontains(words, autoescape=True),
                Document.source_id == words,
                cast(Comparison.id, Words) == words,
            )
        )
    if after is not None:
        query = query.where(Comparison.id > after)
    if before is not None:
        query = query.where(Comparison.id < before)
    backwards = before is not None and after is None
    query = query.order_by(Comparison.id.desc() if backwards else Comparison.id).limit(limit)
    rows = list(session.execute(query))[:: -1 if backwards else 1]
    slots = _slots_by_state(session, [row[0].id for row in rows])
    return [Line(row[0], row[1], row[2], (row[3], row[4]), slots.get(row[0].id, {})) for row in rows]


def _slots_by_state(session: Session, ids: Sequence[int]) -> dict[int | None, dict[SlotState, int]]:
    found: dict[int | None, dict[SlotState, int]] = {}
    for comparison_id, state, number in session.execute(
        select(Slot.comparison_id, Slot.state, func.count())
        .where(Slot.comparison_id.in_(ids))
        .group_by(Slot.comparison_id, Slot.state)
    ):
        found.setdefault(comparison_id, {})[SlotState(state)] = number
    return found


@dataclass(frozen=True)
class Side:
    """A summary of a comparison and the policy that wrote it."""

    summary: Summary
    policy: Policy


@dataclass(frozen=True)
class Found:
    """A comparison, where it belongs and what it is about."""

    comparison: Comparison
    batch: Batch
    document: Document
    sides: tuple[Side, Side]
    verdict: Verdict | None


def comparison(session: Session, project_id: int, comparison_id: int) -> Found | None:
    """The comparison with this id."""
    one, two = aliased(Summary), aliased(Summary)
    policy_one, policy_two = aliased(Policy), aliased(Policy)
    row = session.execute(
        select(Comparison, Batch, Document, one, policy_one, two, policy_two, Verdict)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(policy_one, policy_one.id == one.policy_id)
        .join(two, two.id == Comparison.second_summary_id)
        .join(policy_two, policy_two.id == two.policy_id)
        .outerjoin(Verdict, Verdict.comparison_id == Comparison.id)
        .where(Batch.project_id == project_id, Comparison.id == comparison_id)
    ).one_or_none()
    return None if row is None else Found(row[0], row[1], row[2], (Side(row[3], row[4]), Side(row[5], row[6])), row[7])


@dataclass(frozen=True)
class SlotLine:
    """A slot with who has it and for whom it was made. `answered`: by an answer that is no surplus, void or not."""

    slot: Slot
    labeler: str | None
    for_labeler: str | None
    answered: bool


def slots(session: Session, comparison_id: int) -> list[SlotLine]:
    """A comparison's slots by number."""
    holder, addressee = aliased(Labeler), aliased(Labeler)
    rows = session.execute(
        select(Slot, holder.name, addressee.name, _is_answered())
        .outerjoin(holder, holder.id == Slot.labeler_id)
        .outerjoin(addressee, addressee.id == Slot.for_labeler_id)
        .where(Slot.comparison_id == comparison_id)
        .order_by(Slot.number)
        .execution_options(populate_existing=True)
    )
    return [SlotLine(row[0], row[1], row[2], row[3]) for row in rows]


def _is_answered() -> ColumnElement[bool]:
    return exists().where(Preference.slot_id == Slot.id, ~Preference.surplus)


@dataclass(frozen=True)
class Said:
    """One version of an answer, who gave it, and how it was shown."""

    preference: Preference
    labeler: str
    calibrates: bool
    swapped: bool
    notes_first: bool


def answers(session: Session, comparison_id: int) -> list[Said]:
    """Every version of every answer, in the order in which they came."""
    rows = session.execute(
        select(Preference, Labeler.name, Labeler.calibrates, Showing.swapped, Showing.notes_first)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .join(Showing, Showing.id == Preference.showing_id)
        .where(Preference.comparison_id == comparison_id)
        .order_by(Preference.id)
    )
    return [Said(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def _by_labeler(row: type[Note] | type[Skip] | type[Flag]) -> Select[*tuple[Any, ...]]:
    return select(row, Labeler.name).join(Labeler, Labeler.id == row.labeler_id).order_by(row.id)


def notes(session: Session, comparison_id: int) -> list[tuple[Note, str]]:
    """Every version of every note with its labeler's name, in the order in which they came."""
    rows = session.execute(_by_labeler(Note).where(Note.comparison_id == comparison_id))
    return [(row[0], row[1]) for row in rows]


def skips(session: Session, comparison_id: int) -> list[tuple[Skip, str]]:
    """Who passed the comparison on, and why."""
    rows = session.execute(_by_labeler(Skip).where(Skip.comparison_id == comparison_id))
    return [(row[0], row[1]) for row in rows]


def flags(session: Session, comparison_id: int) -> list[tuple[Flag, str]]:
    """What labelers wanted the researchers to look at."""
    rows = session.execute(_by_labeler(Flag).where(Flag.comparison_id == comparison_id))
    return [(row[0], row[1]) for row in rows]


# Single slots


def lock_slot(session: Session, comparison_id: int, slot_id: int) -> tuple[Slot, bool] | None:
    """A slot of this comparison as it is now, locked, and whether an answer that is no surplus is in it."""
    row = session.execute(
        select(Slot, _is_answered())
        .where(Slot.id == slot_id, Slot.comparison_id == comparison_id)
        .with_for_update(of=Slot)
        .execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def void_slot(session: Session, slot: Slot) -> None:
    """The opinion is asked of nobody, and does not count. An answer in it stays, with its labeler."""
    if slot.state != SlotState.DONE:
        slot.labeler_id = slot.showing_id = None
    slot.state = SlotState.VOID
    slot.lease_expires_at = slot.done_at = None
    session.flush()


def passed_on(session: Session, comparison_id: int, labeler_id: int) -> bool:
    """Whether the labeler has passed the comparison on."""
    skipped = exists().where(Skip.comparison_id == comparison_id, Skip.labeler_id == labeler_id)
    return bool(session.scalar(select(skipped)))


def open_slot(session: Session, slot: Slot) -> None:
    """The opinion is asked for again."""
    slot.state = SlotState.OPEN
    slot.labeler_id = slot.showing_id = None
    session.flush()


def count_again(session: Session, slot: Slot) -> None:
    """The answer in a slot that was made void counts again, since when it was first given."""
    first = select(func.min(Preference.created_at)).where(Preference.slot_id == slot.id, ~Preference.surplus)
    slot.done_at = session.scalar(first)
    slot.state = SlotState.DONE
    session.flush()


def void_open(session: Session, comparison_id: int) -> int:
    """Ask nobody for the opinions that are open; what somebody holds stays with them. Gives how many they were."""
    voided = session.execute(
        update(Slot)
        .where(Slot.comparison_id == comparison_id, Slot.state == SlotState.OPEN)
        .values(state=SlotState.VOID)
        .returning(Slot.id)
        .execution_options(synchronize_session=False)
    )
    return len(voided.all())


def add_slot(session: Session, found: Comparison) -> int:
    """One more opinion is asked for. The comparison is locked, so that no two slots get one number. Gives its id."""
    session.execute(select(Comparison.id).where(Comparison.id == found.id).with_for_update(key_share=True))
    highest = session.scalar(select(func.max(Slot.number)).where(Slot.comparison_id == found.id)) or 0
    new = insert(Slot).values(batch_id=found.batch_id, comparison_id=found.id, number=highest + 1)
    return session.scalars(new.returning(Slot.id)).one()
