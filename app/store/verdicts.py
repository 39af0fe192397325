"""Researchers' own answers to comparisons, and the comparisons they are given on or used for.

Knows which answers of labelers stand beside a verdict. Knows nothing of who may see what when (app.services.verdicts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from app.domain.preferences import MIDDLE
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, SlotState
from app.store.session import Session
from app.store.standing import same_pair
from app.store.tables import Batch, Comparison, Document, Labeler, Policy, Preference, Slot, Summary, Verdict

KIND_OF = {
    BatchPurpose.GOLD: ComparisonKind.GOLD,
    BatchPurpose.QUALIFICATION: ComparisonKind.QUALIFICATION,
}


class Only(StrEnum):
    """Which comparisons to list."""

    DISAGREED = "disagreed"
    WITHOUT = "without"
    GIVEN = "given"
    RELEASED = "released"


@dataclass(frozen=True)
class Line:
    """A comparison in a list: how many people judged it, whether they disagree, and how far they are with the verdict.

    `agreeing` of `sided` answers are on the verdict's side; both are 0 without one.
    """

    id: int
    kind: ComparisonKind
    batch: str
    title: str
    post: str
    answers: int
    disagreed: bool
    verdict: Verdict | None
    agreeing: int
    sided: int


def _counted() -> list[ColumnElement[bool]]:
    """Conditions on a preference: a person's newest one, which was not surplus."""
    later, giver, slot = aliased(Preference), aliased(Labeler), aliased(Slot)
    newer = select(later.id).where(
        later.comparison_id == Preference.comparison_id,
        later.labeler_id == Preference.labeler_id,
        later.version > Preference.version,
        ~later.surplus,
    )
    person = select(giver.id).where(giver.id == Preference.labeler_id, giver.kind == LabelerKind.HUMAN)
    void = select(slot.id).where(slot.id == Preference.slot_id, slot.state == SlotState.VOID)
    return [~Preference.surplus, ~newer.exists(), person.exists(), ~void.exists()]


def _said(*conditions: ColumnElement[bool]) -> Select[int]:
    return select(Preference.id).where(Preference.comparison_id == Comparison.id, *conditions, *_counted())


def lines(
    session: Session,
    project_id: int,
    *,
    batch_id: int | None,
    kind: ComparisonKind | None,
    only: Only | None,
    before: int | None,
    limit: int,
) -> list[Line]:
    """Comparisons, newest first, with ids below `before`.

    Of the sentinel kind only those with a verdict: whoever knows the kind knows the policies.
    """
    query = (
        select(Comparison, Batch.name, Document.title, func.left(Document.post, 1000), Verdict)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .outerjoin(Verdict, Verdict.comparison_id == Comparison.id)
        .where(Batch.project_id == project_id)
        .order_by(Comparison.id.desc())
        .limit(limit)
    )
    if batch_id is not None:
        query = query.where(Comparison.batch_id == batch_id)
    if kind is not None:
        query = query.where(Comparison.kind == kind)
    if kind is ComparisonKind.SENTINEL:
        query = query.where(Verdict.comparison_id.is_not(None))
    if only is Only.DISAGREED:
        query = query.where(_said(Preference.value < MIDDLE).exists(), _said(Preference.value > MIDDLE).exists())
    elif only is Only.WITHOUT:
        query = query.where(Verdict.comparison_id.is_(None))
    elif only is Only.GIVEN:
        query = query.where(Verdict.comparison_id.is_not(None))
    elif only is Only.RELEASED:
        query = query.where(Verdict.released_at.is_not(None))
    if before is not None:
        query = query.where(Comparison.id < before)
    found = session.execute(query).all()
    said = _sides(session, [row[0].id for row in found])
    none = _Sides(0, 0, 0, 0, 0)
    return [
        Line(
            id=row[0].id,
            kind=ComparisonKind(row[0].kind),
            batch=row[1],
            title=row[2],
            post=row[3],
            verdict=row[4],
            answers=sides.answers,
            disagreed=sides.first > 0 and sides.second > 0,
            agreeing=sides.agreeing,
            sided=sides.sided,
        )
        for row in found
        for sides in [said.get(row[0].id, none)]
    ]


@dataclass(frozen=True)
class _Sides:
    answers: int
    first: int
    second: int
    agreeing: int
    sided: int


def _sides(session: Session, comparison_ids: Sequence[int]) -> dict[int, _Sides]:
    """How the answers to these comparisons lie, also beside their verdicts."""
    sided = (Preference.value != MIDDLE) & (Verdict.value != MIDDLE)
    same = (Preference.value < MIDDLE) == (Verdict.value < MIDDLE)
    rows = session.execute(
        select(
            Preference.comparison_id,
            func.count(),
            func.count().filter(Preference.value < MIDDLE),
            func.count().filter(Preference.value > MIDDLE),
            func.count().filter(sided & same),
            func.count().filter(sided),
        )
        .outerjoin(Verdict, Verdict.comparison_id == Preference.comparison_id)
        .where(Preference.comparison_id.in_(comparison_ids), *_counted())
        .group_by(Preference.comparison_id)
    )
    return {row[0]: _Sides(*row[1:]) for row in rows}


def batches(session: Session, project_id: int) -> list[tuple[int, str]]:
    """Batches with comparisons, newest first, as (id, name)."""
    held = select(Comparison.id).where(Comparison.batch_id == Batch.id).exists()
    rows = session.execute(
        select(Batch.id, Batch.name).where(Batch.project_id == project_id, held).order_by(Batch.id.desc())
    )
    return [(row[0], row[1]) for row in rows]


@dataclass(frozen=True)
class Pair:
    """A comparison with its texts and who wrote them, in its own frame."""

    comparison: Comparison
    batch: Batch
    document: Document
    texts: tuple[str, str]
    policies: tuple[str, str]


def pair(session: Session, project_id: int, comparison_id: int) -> Pair | None:
    """The comparison with this id."""
    one, two, policy_one, policy_two = aliased(Summary), aliased(Summary), aliased(Policy), aliased(Policy)
    row = session.execute(
        select(Comparison, Batch, Document, one.text, two.text, policy_one.name, policy_two.name)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .join(policy_one, policy_one.id == one.policy_id)
        .join(policy_two, policy_two.id == two.policy_id)
        .where(Batch.project_id == project_id, Comparison.id == comparison_id)
    ).one_or_none()
    return None if row is None else Pair(row[0], row[1], row[2], (row[3], row[4]), (row[5], row[6]))


@dataclass(frozen=True)
class Said:
    """One person's counted answer, in the comparison's frame."""

    name: str
    calibrates: bool
    value: int
    explanation: str | None
    at: datetime


def said(session: Session, comparison_id: int) -> list[Said]:
    """What people answered, in the order of their first answers' slots."""
    rows = session.execute(
        select(Labeler.name, Labeler.calibrates, Preference.value, Preference.explanation, Preference.created_at)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .where(Preference.comparison_id == comparison_id, *_counted())
        .order_by(Preference.id)
    )
    return [Said(*row) for row in rows]


def verdict(session: Session, comparison_id: int) -> Verdict | None:
    """The verdict on a comparison, as it is now, locked until the transaction ends."""
    return session.scalar(
        select(Verdict)
        .where(Verdict.comparison_id == comparison_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def read(session: Session, comparison_id: int) -> tuple[Verdict, str] | None:
    """The verdict on a comparison and whose it is."""
    row = session.execute(
        select(Verdict, Labeler.name)
        .join(Labeler, Labeler.id == Verdict.author_id)
        .where(Verdict.comparison_id == comparison_id)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def add(session: Session, comparison_id: int, value: int, reason: str, author_id: int) -> bool:
    """Keep a first verdict. False when there is one already: it stays as it is."""
    added = session.scalar(
        insert(Verdict)
        .values(comparison_id=comparison_id, value=value, reason=reason, author_id=author_id)
        .on_conflict_do_nothing()
        .returning(Verdict.comparison_id)
    )
    return added is not None


def change(session: Session, comparison_id: int, value: int, reason: str, author_id: int) -> None:
    """Replace a verdict's answer and reason."""
    session.execute(
        update(Verdict)
        .where(Verdict.comparison_id == comparison_id)
        .values(value=value, reason=reason, author_id=author_id)
    )


def set_released(session: Session, comparison_id: int, released: bool) -> None:
    """Let labelers who answered see the verdict, or no longer."""
    at = func.coalesce(Verdict.released_at, func.now()) if released else None
    first = func.coalesce(Verdict.first_released_at, func.now()) if released else Verdict.first_released_at
    session.execute(
        update(Verdict).where(Verdict.comparison_id == comparison_id).values(released_at=at, first_released_at=first)
    )


def set_retired(session: Session, comparison_id: int, retired: bool) -> None:
    """Put the pair before nobody any more, or before labelers again."""
    at = func.now() if retired else None
    session.execute(update(Verdict).where(Verdict.comparison_id == comparison_id).values(retired_at=at))


@dataclass(frozen=True)
class Copy:
    """The same pair in a standing batch."""

    comparison_id: int
    purpose: BatchPurpose
    retired: bool


def copies(session: Session, comparison: Comparison) -> list[Copy]:
    """Where else the two summaries stand side by side as gold or qualification, oldest first."""
    twin = aliased(Comparison)
    rows = session.execute(
        select(twin.id, Batch.purpose, Verdict.retired_at.is_not(None))
        .select_from(Comparison)
        .join(twin, and_(twin.id != Comparison.id, same_pair(twin, Comparison)))
        .join(Batch, Batch.id == twin.batch_id)
        .join(Verdict, Verdict.comparison_id == twin.id)
        .where(Comparison.id == comparison.id, Batch.purpose != BatchPurpose.ORDINARY)
        .order_by(twin.id)
    )
    return [Copy(row[0], BatchPurpose(row[1]), row[2]) for row in rows]


def add_copy(session: Session, batch: Batch, comparison: Comparison) -> int | None:
    """Set the same two summaries side by side in a standing batch, without slots; None when they are there already."""
    return session.scalar(
        insert(Comparison)
        .values(
            batch_id=batch.id,
            document_id=comparison.document_id,
            first_summary_id=comparison.first_summary_id,
            second_summary_id=comparison.second_summary_id,
            kind=KIND_OF[BatchPurpose(batch.purpose)],
            reason="verdict",
        )
        .on_conflict_do_nothing()
        .returning(Comparison.id)
    )
