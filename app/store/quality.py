"""Counted answers as columns, for statistics over tens of thousands of them, and what a labeler may see of verdicts.

Knows which answers count (as app.store.answers.judged does) and which verdicts are released. Knows nothing of any
statistic, nor of who may ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Select, Subquery, and_, case, cast, exists, func, select
from sqlalchemy.orm import aliased

from app.domain.preferences import MIDDLE
from app.domain.words import BatchPurpose, ComparisonKind, FlagReason, LabelerKind, PolicyKind, Role, SlotState
from app.store.session import Session
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Flag,
    Labeler,
    Policy,
    Preference,
    Showing,
    Slot,
    Summary,
    Verdict,
)

KINDS = tuple(ComparisonKind)


@dataclass(frozen=True)
class Opinions:
    """One entry in every column for each counted answer, in the order in which they were first given.

    `value` is of the newest version, in the comparison's frame; `seconds` (None where not measured) and `given_at`
    (seconds since 1970, UTC) are of the first, because a change of mind takes no reading. `kind` is a place in KINDS.
    `told`: it was changed after the verdict on its comparison was first released, so it is no longer the labeler's own.
    """

    comparison: Sequence[int]
    labeler: Sequence[int]
    value: Sequence[int]
    swapped: Sequence[bool]
    seconds: Sequence[float | None]
    given_at: Sequence[float]
    kind: Sequence[int]
    gold: Sequence[bool]
    first_policy: Sequence[int]
    second_policy: Sequence[int]
    told: Sequence[bool]


def _counted(preference: type[Preference]) -> list[ColumnElement[bool]]:
    """Conditions on a preference and its slot: the newest version that is not surplus, of a slot that is not void."""
    later = aliased(Preference)
    newer = and_(
        later.comparison_id == preference.comparison_id,
        later.labeler_id == preference.labeler_id,
        later.version > preference.version,
        ~later.surplus,
    )
    return [~preference.surplus, Slot.state != SlotState.VOID, ~exists().where(newer)]


def _told() -> ColumnElement[bool]:
    """Whether a change of mind came after its labeler could see the verdict, if only for a while; null without one."""
    return and_(Preference.version > 1, Preference.created_at > Verdict.first_released_at)


def opinions(
    session: Session,
    project_id: int,
    *,
    kinds: Sequence[LabelerKind],
    purposes: Sequence[BatchPurpose],
    labeler_id: int | None = None,
) -> Opinions:
    """Counted answers of these kinds of labelers, or of one of them only."""
    first, one, two = aliased(Preference), aliased(Summary), aliased(Summary)
    said: Select[*tuple[Any, ...]] = select(
        Preference.comparison_id,
        Preference.labeler_id,
        Preference.value,
        Showing.swapped,
        first.seconds,
        cast(func.extract("epoch", first.created_at), Float).label("given_at"),
        case({kind.value: place for place, kind in enumerate(KINDS)}, value=Comparison.kind).label("kind"),
        (Batch.purpose == BatchPurpose.GOLD).label("gold"),
        one.policy_id.label("first_policy"),
        two.policy_id.label("second_policy"),
        func.coalesce(_told(), False).label("told"),
    )
    query = (
        _counted_of(said, one, two, project_id, kinds)
        .join(Showing, Showing.id == Preference.showing_id)
        .join(
            first,
            and_(
                first.comparison_id == Preference.comparison_id,
                first.labeler_id == Preference.labeler_id,
                first.version == 1,
            ),
        )
        .outerjoin(Verdict, Verdict.comparison_id == Comparison.id)
        .where(Batch.purpose.in_(purposes))
    )
    if labeler_id is not None:
        query = query.where(Preference.labeler_id == labeler_id)
    rows = query.order_by(first.created_at, first.id).subquery()
    return Opinions(*_columns(session, rows))


def _counted_of(
    query: Select[*tuple[Any, ...]],
    one: type[Summary],
    two: type[Summary],
    project_id: int,
    kinds: Sequence[LabelerKind],
) -> Select[*tuple[Any, ...]]:
    """A query of preferences, to counted ones of these labelers, with what they are about: `one` and `two`."""
    return (
        query.select_from(Preference)
        .join(Slot, Slot.id == Preference.slot_id)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .where(Batch.project_id == project_id, Labeler.kind.in_(kinds), *_counted(Preference))
    )


def _columns(session: Session, rows: Subquery) -> Sequence[Any]:
    """One row of arrays: the driver reads them an order of magnitude faster than as many rows."""
    return session.execute(select(*(func.coalesce(func.array_agg(column), []) for column in rows.c))).one()


def count_sentinels(session: Session, project_id: int) -> int:
    """How many answers there are to sentinel pairs, whether they count or not."""
    found = session.scalar(
        select(func.count())
        .select_from(Preference)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .where(Batch.project_id == project_id, Comparison.kind == ComparisonKind.SENTINEL)
    )
    return found or 0


@dataclass(frozen=True)
class Wins:
    """One entry in every column for each comparison of two policies with a counted answer that prefers a side.

    `won` is the share of those answers, of which there are `answers`, that prefer the first summary; lengths are in
    characters without outer space; `propensity` is 1 where none was recorded: nothing was chosen.
    """

    first_policy: Sequence[int]
    second_policy: Sequence[int]
    won: Sequence[float]
    answers: Sequence[int]
    first_length: Sequence[int]
    second_length: Sequence[int]
    propensity: Sequence[float]


def wins(session: Session, project_id: int, *, kinds: Sequence[LabelerKind]) -> Wins:
    """What these kinds of labelers preferred in ordinary batches, where the two summaries are of two policies."""
    one, two = aliased(Summary), aliased(Summary)
    said: Select[*tuple[Any, ...]] = select(
        one.policy_id.label("first_policy"),
        two.policy_id.label("second_policy"),
        cast(func.avg(case((Preference.value < MIDDLE, 1.0), else_=0.0)), Float).label("won"),
        func.count().label("answers"),
        func.length(func.btrim(one.text)).label("first_length"),
        func.length(func.btrim(two.text)).label("second_length"),
        func.coalesce(Comparison.propensity, 1.0).label("propensity"),
    )
    query = _counted_of(said, one, two, project_id, kinds).where(
        Batch.purpose == BatchPurpose.ORDINARY, Preference.value != MIDDLE, one.policy_id != two.policy_id
    )
    rows = query.group_by(Comparison.id, one.id, two.id).order_by(Comparison.id).subquery()
    return Wins(*_columns(session, rows))


@dataclass(frozen=True)
class Judgement:
    """A researcher's verdict, by which account, in the comparison's frame."""

    comparison_id: int
    author_id: int
    value: int
    released: bool
    gold: bool
    kind: ComparisonKind
    first_policy_id: int
    second_policy_id: int


def judgements(session: Session, project_id: int, *, purposes: Sequence[BatchPurpose]) -> list[Judgement]:
    """Verdicts on comparisons of batches with these purposes."""
    one, two = aliased(Summary), aliased(Summary)
    rows = session.execute(
        select(
            Verdict.comparison_id,
            Verdict.author_id,
            Verdict.value,
            Verdict.released_at.is_not(None),
            Batch.purpose == BatchPurpose.GOLD,
            Comparison.kind,
            one.policy_id,
            two.policy_id,
        )
        .join(Comparison, Comparison.id == Verdict.comparison_id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .where(Batch.project_id == project_id, Batch.purpose.in_(purposes))
        .order_by(Verdict.comparison_id)
    )
    return [Judgement(row[0], row[1], row[2], row[3], row[4], ComparisonKind(row[5]), row[6], row[7]) for row in rows]


def accounts(session: Session) -> dict[int, Labeler]:
    """Accounts that judge, by id."""
    return {row.id: row for row in session.scalars(select(Labeler).where(Labeler.role == Role.LABELER))}


def policies(session: Session, project_id: int) -> dict[int, tuple[str, PolicyKind]]:
    """Names and kinds of policies by id."""
    rows = session.execute(select(Policy.id, Policy.name, Policy.kind).where(Policy.project_id == project_id))
    return {row[0]: (row[1], PolicyKind(row[2])) for row in rows}


@dataclass(frozen=True)
class Released:
    """An answer and the released verdict on the same comparison, both in the comparison's frame.

    `swapped`: the second summary was shown first. `asked`: its labeler has asked about it since it was released.
    """

    showing_id: UUID
    swapped: bool
    value: int
    explanation: str | None
    told: bool
    verdict: int
    reason: str
    released_at: datetime
    title: str
    community: str
    post: str
    texts: tuple[str, str]
    asked: bool


def released(session: Session, project_id: int, labeler_id: int) -> list[Released]:
    """What a labeler answered and researchers released since or before, the newest release first.

    Only their own counted answers, so nothing of a comparison that they have not answered. No practice pairs.
    """
    one, two = aliased(Summary), aliased(Summary)
    asked = exists().where(
        Flag.labeler_id == labeler_id,
        Flag.comparison_id == Comparison.id,
        Flag.reason == FlagReason.QUESTION,
        Flag.created_at > Verdict.released_at,
    )
    query: Select[*tuple[Any, ...]] = (
        select(
            Preference.showing_id,
            Showing.swapped,
            Preference.value,
            Preference.explanation,
            _told(),
            Verdict.value,
            Verdict.reason,
            Verdict.released_at,
            Document.title,
            Document.community,
            Document.post,
            one.text,
            two.text,
            asked,
        )
        .join(Showing, Showing.id == Preference.showing_id)
        .join(Slot, Slot.id == Preference.slot_id)
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Verdict, Verdict.comparison_id == Comparison.id)
        .join(Batch, Batch.id == Comparison.batch_id)
        .join(Document, Document.id == Comparison.document_id)
        .join(one, one.id == Comparison.first_summary_id)
        .join(two, two.id == Comparison.second_summary_id)
        .where(
            Preference.labeler_id == labeler_id,
            Batch.project_id == project_id,
            Batch.purpose.in_((BatchPurpose.ORDINARY, BatchPurpose.GOLD)),
            Verdict.released_at.is_not(None),
            *_counted(Preference),
        )
        .order_by(Verdict.released_at.desc(), Comparison.id.desc())
    )
    return [
        Released(
            showing_id=row[0],
            swapped=row[1],
            value=row[2],
            explanation=row[3],
            told=row[4],
            verdict=row[5],
            reason=row[6],
            released_at=row[7],
            title=row[8],
            community=row[9],
            post=row[10],
            texts=(row[11], row[12]),
            asked=row[13],
        )
        for row in session.execute(query)
    ]
