"""What labelers said: preferences and notes, version by version, and the newest that count.

Knows how an answer is kept once and which ones training, statistics and exports see (invariants 1, 7 and 10). Knows
nothing of how a slot was given out (app.store.queueing).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import and_, exists, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.preferences import turned
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, SlotState, Split
from app.store.session import Session
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Labeler,
    Note,
    Policy,
    Preference,
    Showing,
    Slot,
    Summary,
)


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
    numbers: dict[int | None, int] = {
        row[0]: row[1]
        for row in session.execute(
            select(Slot.comparison_id, func.max(Slot.number))
            .where(Slot.comparison_id.in_({comparison_id for comparison_id, _ in found}))
            .group_by(Slot.comparison_id)
        )
    }
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


def add_preference(session: Session, preference: Preference) -> None:
    """Keep an answer."""
    session.add(preference)
    session.flush()


def progress(session: Session, labeler_id: int) -> tuple[int, int]:
    """How many comparisons the labeler has answered since midnight UTC, and in all."""
    row = session.execute(
        select(
            func.count().filter(Preference.created_at >= func.date_trunc("day", func.now())),
            func.count(),
        ).where(Preference.labeler_id == labeler_id, Preference.version == 1)
    ).one()
    return row[0], row[1]


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
    purposes: Sequence[BatchPurpose] = (BatchPurpose.ORDINARY,),
    splits: Sequence[Split] = tuple(Split),
    batch_ids: Sequence[int] | None = None,
    up_to: int | None = None,
    chunk: int = 1000,
) -> Iterator[Judged]:
    """Newest versions of answers that are not surplus, in the order they were first given (invariant 7).

    Answers in a slot that an admin made void do not count, nor do those on gold and qualification pairs (they are about
    the labeler, and repeat one pair many times) unless asked for by `purposes`. Simulated labelers are left out unless asked for by `kinds` (invariant 10). `up_to`: nothing after this preference
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
        .join(Slot, Slot.id == Preference.slot_id)
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
            Slot.state != SlotState.VOID,
            Labeler.kind.in_(kinds),
            Batch.purpose.in_(purposes),
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


def any_counted(session: Session, project_id: int, kinds: Sequence[LabelerKind]) -> bool:
    """Whether there is an answer by these kinds of labelers that prefers a side, on any document of the project."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Preference.labeler_id == Labeler.id,
                    Labeler.kind.in_(kinds),
                    ~Preference.surplus,
                    Preference.value != 5,
                    Preference.comparison_id == Comparison.id,
                    Comparison.batch_id == Batch.id,
                    Batch.project_id == project_id,
                )
            )
        )
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
