"""What labelers said: preferences, ratings, notes and flags, version by version, and the newest that count.

Knows how an answer is kept once and which ones training, statistics and exports see (invariants 1, 7 and 10). Knows
nothing of how a slot was given out (app.store.queueing).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.preferences import turned
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, SlotState, Split
from app.store import queueing
from app.store.queueing import Shown
from app.store.session import Session, directly
from app.store.tables import (
    Batch,
    Comparison,
    Document,
    Flag,
    Labeler,
    Note,
    Policy,
    Preference,
    Rating,
    Showing,
    Slot,
    Summary,
    Tally,
)

# Slots that are filled by one transaction, so that none takes long.
MOST_FILLABLE = 1000


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


@dataclass(frozen=True)
class Answer:
    """One version of what a labeler said of a subject: as far as the next version needs it."""

    id: int
    labeler_id: int
    slot_id: int
    showing_id: UUID
    version: int
    surplus: bool


_LABELER = bindparam("labeler", type_=BigInteger)
_Said = type[Preference] | type[Rating]


def _subject(said: Any) -> ColumnElement[int]:
    """The column that names what is answered, of a table or an alias of one."""
    column: ColumnElement[int] = said.comparison_id if hasattr(said, "comparison_id") else said.summary_id
    return column


def _answers(said: _Said) -> Select[int, int, int, UUID, int, bool]:
    return select(said.id, said.labeler_id, said.slot_id, said.showing_id, said.version, said.surplus)


def _before(said: _Said) -> tuple[Select[Any], Select[Any]]:
    one: ColumnElement[int] = literal_column("1")
    subject = Slot.comparison_id if said is Preference else Slot.summary_id
    mine = [_subject(said) == subject, said.labeler_id == _LABELER]
    newest = _answers(said).where(*mine).order_by(said.version.desc()).limit(one).lateral("newest")
    sent = _answers(said).where(said.key == bindparam("key", type_=Uuid)).limit(one).lateral("sent")
    return queueing.of_showing((newest, true()), (sent, true()))


def _insert(said: _Said) -> Insert:
    sent = [column.key for column in said.__mapper__.column_attrs if column.key not in ("id", "created_at")]
    # Not now(): of two answers of one labeler, the one that waited for the other is the later one.
    return insert(said).values({name: bindparam(name) for name in sent} | {"created_at": func.clock_timestamp()})


def _day_of(moment: ColumnElement[datetime]) -> ColumnElement[date]:
    return func.date(func.timezone("UTC", moment))


def _first(said: _Said) -> Insert:
    kept = _insert(said).returning(said.labeler_id, said.created_at).cte("kept")
    return (
        upsert(Tally)
        .from_select(
            ["labeler_id", "day", "answers"],
            select(kept.c.labeler_id, _day_of(kept.c.created_at), literal_column("1")),
        )
        .on_conflict_do_update(index_elements=["labeler_id", "day"], set_={"answers": Tally.answers + 1})
    )


_BEFORE = {said: _before(said) for said in (Preference, Rating)}
# By table, whether it is the first of its subject, and whether it fills its slot.
_ADD = {
    (said, first, fills): statement.add_cte(queueing.FINISH.cte("filled")) if fills else statement
    for said in (Preference, Rating)
    for first, statement in ((True, _first(said)), (False, _insert(said)))
    for fills in (True, False)
}
_PROGRESS = select(
    func.coalesce(func.sum(Tally.answers).filter(Tally.day == _day_of(func.now())), 0),
    func.coalesce(func.sum(Tally.answers), 0),
).where(Tally.labeler_id == _LABELER)


@dataclass(frozen=True)
class Before:
    """What is there when an answer comes: what it is about, locked as by `app.store.queueing.lock_shown`, the one sent
    with its key, on whatever subject, and the labeler's newest on its subject."""

    shown: Shown
    sent: Answer | None
    newest: Answer | None


def before(session: Session, said: _Said, showing_id: UUID, labeler_id: int, key: UUID) -> Before | None:
    """What is there when an answer by this showing comes. None for an unknown showing or somebody else's."""
    found = queueing.shown_beside(session, _BEFORE[said], showing=showing_id, labeler=labeler_id, key=key)
    if found is None:
        return None
    shown, columns = found
    newest, sent = (None if each[0] is None else Answer(*each) for each in (columns[:6], columns[6:]))
    return Before(shown, sent, newest)


class KeyTaken(Exception):
    """The key of an answer was used for another one in the same moment. The transaction is over."""


def add(session: Session, said: _Said, values: dict[str, Any], *, fills: bool) -> None:
    """Keep a version of an answer, every column given; the first of a subject counts in the labeler's progress.

    With `fills`, its slot has its opinion. Raises KeyTaken.
    """
    try:
        directly(session, _ADD[said, values["version"] == 1, fills], **values)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != f"uq_{said.__tablename__}_key":
            raise
        raise KeyTaken from error


def _surplus(said: _Said) -> list[ColumnElement[bool]]:
    """Conditions on an answer, its labeler, a slot of its subject and that one's batch: it is surplus and may fill it.

    Like `app.store.queueing.lock_slot_to_fill`: never where another kind of labeler is asked.
    """
    later = aliased(said)
    newer = [_subject(later) == _subject(said), later.labeler_id == said.labeler_id, later.version > said.version]
    return [
        and_(said.surplus),
        ~exists().where(*newer),
        Labeler.id == said.labeler_id,
        Batch.id == Slot.batch_id,
        or_(Batch.for_kind.is_(None), Batch.for_kind == Labeler.kind),
        or_(Slot.for_labeler_id == Labeler.id, and_(Slot.for_labeler_id.is_(None), ~Labeler.calibrates)),
    ]


def waiting(session: Session, slot: Slot) -> Answer | None:
    """The oldest answer on the slot's subject that was kept as surplus and could fill the slot."""
    said: _Said = Preference if slot.comparison_id is not None else Rating
    subject = slot.comparison_id or slot.summary_id
    found = _answers(said).where(_subject(said) == subject, Slot.id == slot.id, *_surplus(said))
    row = session.execute(found.order_by(said.id).limit(1)).one_or_none()
    return None if row is None else Answer(*row)


def fillable(session: Session) -> list[int]:
    """Open slots that an answer which was kept as surplus could fill, MOST_FILLABLE at most."""
    each = [
        select(Slot.id).where(Slot.state == literal_column("'open'"), subject == _subject(said), *_surplus(said))
        for subject, said in ((Slot.comparison_id, Preference), (Slot.summary_id, Rating))
    ]
    found = union(*each).subquery()
    return list(session.scalars(select(found.c.id).order_by(found.c.id).limit(MOST_FILLABLE)))


def count_after_all(session: Session, slot: Slot, answer: Answer) -> None:
    """The surplus answer counts from now on, in this slot: a new version of it that says the same at the same time."""
    said: _Said = Preference if slot.comparison_id is not None else Rating
    own = {"slot_id": slot.id, "version": answer.version + 1, "surplus": False, "key": uuid4()}
    kept = [column.key for column in said.__mapper__.column_attrs if column.key not in (*own, "id")]
    copied = select(*(literal(value) for value in own.values()), *(getattr(said, name) for name in kept))
    session.execute(insert(said).from_select([*own, *kept], copied.where(said.id == answer.id)))


def progress(session: Session, labeler_id: int) -> tuple[int, int]:
    """How many comparisons and summaries the labeler has answered since midnight UTC, and in all."""
    today, total = directly(session, _PROGRESS, labeler=labeler_id)[0]
    return today, total


# Notes and flags


@dataclass(frozen=True)
class Noted:
    """The newest notes of a labeler on a comparison: their version, and the showing and key they came with."""

    version: int
    showing_id: UUID
    key: UUID | None


def _noted(*conditions: ColumnElement[bool]) -> Select[int, UUID, UUID | None]:
    newest = select(Note.version, Note.showing_id, Note.key).where(*conditions)
    return newest.order_by(Note.version.desc()).limit(1)


def notes_by_key(session: Session, key: UUID) -> Noted | None:
    """The notes that were sent with this key."""
    row = session.execute(_noted(Note.key == key)).one_or_none()
    return None if row is None else Noted(*row)


def newest_notes(session: Session, comparison_id: int, labeler_id: int) -> Noted | None:
    """The labeler's newest notes on the comparison."""
    row = session.execute(_noted(Note.comparison_id == comparison_id, Note.labeler_id == labeler_id)).one_or_none()
    return None if row is None else Noted(*row)


def add_notes(session: Session, common: dict[str, Any], texts: dict[int, str]) -> None:
    """Keep a version of a labeler's notes on the summaries of a comparison, by summary."""
    session.execute(insert(Note), [{**common, "summary_id": one, "text": words} for one, words in texts.items()])


def flag_by_key(session: Session, key: UUID) -> UUID | None:
    """The showing that was flagged with this key."""
    return session.scalar(select(Flag.showing_id).where(Flag.key == key))


def add_flag(session: Session, values: dict[str, Any]) -> None:
    """Keep what a labeler wants the researchers to look at."""
    session.execute(insert(Flag), values)


# An answer that is opened again


def last_shown(session: Session, labeler_id: int) -> UUID | None:
    """The showing of the answer that the labeler gave last, of either kind."""
    newest = [
        select(said.showing_id, said.created_at)
        .where(said.labeler_id == labeler_id)
        .order_by(said.created_at.desc())
        .limit(1)
        .subquery()
        for said in (Preference, Rating)
    ]
    both = union_all(*(select(one) for one in newest)).subquery()
    return session.scalar(select(both.c.showing_id).order_by(both.c.created_at.desc()).limit(1))


def preference_on(session: Session, showing_id: UUID) -> tuple[Preference, bool] | None:
    """The newest version of the labeler's answer to what a showing showed, and whether its sides were swapped."""
    row = session.execute(
        select(Preference, Showing.swapped)
        .select_from(Showing)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(
            Preference,
            and_(Preference.comparison_id == Slot.comparison_id, Preference.labeler_id == Showing.labeler_id),
        )
        .where(Showing.id == showing_id)
        .order_by(Preference.version.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def rating_on(session: Session, showing_id: UUID) -> Rating | None:
    """The newest version of the labeler's rating of what a showing showed."""
    return session.scalar(
        select(Rating)
        .select_from(Showing)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(Rating, and_(Rating.summary_id == Slot.summary_id, Rating.labeler_id == Showing.labeler_id))
        .where(Showing.id == showing_id)
        .order_by(Rating.version.desc())
        .limit(1)
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


@dataclass(frozen=True)
class Judged:
    """The newest version of one labeler's answer and what it is about; `value` in the comparison's frame."""

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
    surplus: bool


def judged(
    session: Session,
    project_id: int,
    *,
    kinds: Sequence[LabelerKind] = (LabelerKind.HUMAN,),
    purposes: Sequence[BatchPurpose] = (BatchPurpose.ORDINARY,),
    splits: Sequence[Split] = tuple(Split),
    batch_ids: Sequence[int] | None = None,
    surplus: bool = False,
    up_to: int | None = None,
    chunk: int = 1000,
) -> Iterator[Judged]:
    """Newest versions of answers that count, by the slots they fill, in the order in which those were put up.

    Asked for by name only (invariants 7 and 10): `surplus` ones beside those that count, answers on gold and
    qualification pairs (`purposes`: they are about the labeler, and repeat one pair many times), and those of simulated
    labelers (`kinds`). An answer that filled a slot which an admin made void afterwards is never given. `up_to`:
    nothing after this preference id, so that a snapshot can be read again.
    """
    later = aliased(Preference)
    one, two = aliased(Summary), aliased(Summary)
    policy_one, policy_two = aliased(Policy), aliased(Policy)
    newer = [
        later.comparison_id == Preference.comparison_id,
        later.labeler_id == Preference.labeler_id,
        later.version > Preference.version,
    ]
    if not surplus:
        newer.append(~later.surplus)
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
            Preference.surplus,
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
            or_(Preference.surplus, Slot.state != SlotState.VOID),
            Labeler.kind.in_(kinds),
            Batch.purpose.in_(purposes),
            Document.split.in_(splits),
            ~exists().where(and_(*newer)),
        )
        .order_by(Preference.slot_id, Preference.id)
        .execution_options(yield_per=chunk)
    )
    if not surplus:
        query = query.where(~Preference.surplus)
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
            surplus=row[25],
        )


def any_counted(session: Session, project_id: int, kinds: Sequence[LabelerKind]) -> bool:
    """Whether a round has anything to learn from: a counted answer by these kinds of labelers that prefers a side."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Preference.labeler_id == Labeler.id,
                    Labeler.kind.in_(kinds),
                    ~Preference.surplus,
                    Preference.value != 5,
                    Preference.slot_id == Slot.id,
                    Slot.state != SlotState.VOID,
                    Slot.batch_id == Batch.id,
                    Batch.purpose == BatchPurpose.ORDINARY,
                    Batch.project_id == project_id,
                )
            )
        )
    )


def came_in(
    session: Session, project_id: int, kinds: Sequence[LabelerKind], after: int, *, imported: bool = True
) -> int:
    """Counted answers to ordinary pairs by these kinds of labelers that first counted after this preference id.

    An answer that was edited since counts once, when it came; `imported` ones may be left out.
    """
    earlier = aliased(Preference)
    counted_before = exists().where(
        earlier.comparison_id == Preference.comparison_id,
        earlier.labeler_id == Preference.labeler_id,
        earlier.version < Preference.version,
        ~earlier.surplus,
    )
    query = (
        select(func.count())
        .select_from(Preference)
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .join(Slot, Slot.id == Preference.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(
            Preference.id > after,
            ~Preference.surplus,
            ~counted_before,
            Slot.state != SlotState.VOID,
            Labeler.kind.in_(kinds),
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.project_id == project_id,
        )
    )
    if not imported:
        query = query.where(~exists().where(Comparison.id == Preference.comparison_id, Comparison.reason == "import"))
    return session.scalar(query) or 0


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


def answers_within(session: Session, span: timedelta) -> int:
    """Comparisons and summaries that people answered for the first time in this span up to now."""
    counts = [
        select(func.count())
        .select_from(said)
        .join(Labeler, Labeler.id == said.labeler_id)
        .where(
            said.version == 1,
            said.created_at > func.now() - span,
            Labeler.kind == LabelerKind.HUMAN,
            ~Labeler.name.startswith("import:", autoescape=True),
        )
        .scalar_subquery()
        for said in (Preference, Rating)
    ]
    return session.scalar(select(counts[0] + counts[1])) or 0


@dataclass(frozen=True)
class AtWork:
    """Somebody who is labeling: what they answered today, when they answered last, and how many items they hold."""

    name: str
    kind: LabelerKind
    today: int
    last: datetime | None
    holding: int


def at_work(session: Session, within: timedelta) -> list[AtWork]:
    """Who holds something to answer now, or answered within this time; who answered most today first."""
    held = (
        select(Slot.labeler_id, func.count().label("holding"))
        .where(Slot.state == SlotState.LEASED, Slot.lease_expires_at > func.now())
        .group_by(Slot.labeler_id)
        .subquery()
    )
    recent = union_all(
        *(
            select(said.labeler_id, said.created_at).where(said.created_at > func.now() - within)
            for said in (Preference, Rating)
        )
    ).subquery()
    last = (
        select(recent.c.labeler_id, func.max(recent.c.created_at).label("at")).group_by(recent.c.labeler_id).subquery()
    )
    today = func.coalesce(Tally.answers, 0)
    rows = session.execute(
        select(Labeler.name, Labeler.kind, today, last.c.at, func.coalesce(held.c.holding, 0))
        .outerjoin(held, held.c.labeler_id == Labeler.id)
        .outerjoin(last, last.c.labeler_id == Labeler.id)
        .outerjoin(Tally, and_(Tally.labeler_id == Labeler.id, Tally.day == _day_of(func.now())))
        .where(
            or_(held.c.holding.is_not(None), last.c.at.is_not(None)),
            ~Labeler.name.startswith("import:", autoescape=True),
        )
        .order_by(today.desc(), Labeler.name)
    )
    return [AtWork(row[0], LabelerKind(row[1]), row[2], row[3], row[4]) for row in rows]
