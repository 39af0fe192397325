"""The queue: slots leased to labelers, kept, filled, passed on.

Knows the statements by which a slot is claimed once, under any concurrency, on the database's clock. They are built
once, and what an index is about is written out in them, not sent as a parameter: the planner must see that a partial
index fits. Knows nothing of who may ask (app.services.judging) or of what is answered (app.store.answers).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Interval,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    func,
    insert,
    join,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.domain.words import BatchKind, BatchPurpose, LabelerKind, SkipReason, SlotState
from app.store.session import Session, directly, first
from app.store.standing import met, same_pair
from app.store.tables import (
    Batch,
    BatchLabeler,
    Comparison,
    Document,
    Note,
    Preference,
    QueuePlace,
    Rating,
    Showing,
    Skip,
    Slot,
    Summary,
)

# How often a batch in which a labeler finds nothing is searched from its start again, by the database's clock, and how
# many open slots one claim looks at for it.
SEARCH_AGAIN = timedelta(minutes=1)
MOST_SEARCHED = 2000

_END = 2**63 - 1
_ONE: ColumnElement[int] = literal_column("1")
_LABELER = bindparam("labeler", type_=BigInteger)
_LASTS = bindparam("lasts", type_=Interval)
_PAGE = bindparam("page", type_=Text)
_BATCH = bindparam("batch", type_=BigInteger)
_FREE: dict[str, Any] = {"state": SlotState.OPEN, "labeler_id": None, "showing_id": None, "lease_expires_at": None}
_AS_IT_IS = {"synchronize_session": False}


def _is(state: SlotState, slot: type[Slot] = Slot) -> ColumnElement[bool]:
    return slot.state == literal_column(f"'{state.value}'")


def _found(source: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    # Not `exists`: the planner may turn that into a join and hash all that the labeler ever answered, at every claim.
    # Not `is not null`: it takes that for rare, and a search for the rest for one of the whole table.
    one: Select[Any] = select(literal_column("true")).select_from(source).where(*conditions).limit(_ONE)
    return func.coalesce(one.scalar_subquery(), literal_column("false"), type_=Boolean)


def _first(order: Any, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    # In the order of the index: otherwise the planner hopes to meet one soon, and reads all that are done.
    return select(Slot.id).where(*conditions).order_by(order).limit(_ONE).scalar_subquery()


def _nobody_works_on(found: Select[int]) -> ColumnElement[bool]:
    # Locked here, or left to whoever has it. Not `in`: that may become a join with the whole table.
    return Slot.id == any_(func.array(found.with_for_update(skip_locked=True).scalar_subquery()))


# In the order of the index that such slots have of their own.
_OPEN_TO_ALL = [Slot.batch_id == _BATCH, _is(SlotState.OPEN), Slot.for_labeler_id.is_(None)]
_LAST_OPEN = func.coalesce(select(func.max(Slot.id)).where(*_OPEN_TO_ALL).scalar_subquery(), 0)


# What the labeler holds, said as its index says it. To the planner `state = 'leased'` would fit the index of all that
# anybody holds or has answered as well, and a plan made while there was little of that reads all of it ever after.
_HOLDS = [Slot.lease_expires_at.is_not(None), Slot.labeler_id == _LABELER]


def _notes_first() -> ColumnElement[bool]:
    return func.coalesce(Batch.protocol["notes_first"].as_boolean(), False)


def lock_queue_of(session: Session, labeler_id: int) -> None:
    """One claim at a time per labeler, so that two tabs or a double click get the same leases.

    Asked again in the same transaction, which has it, it does nothing.
    """
    begun = session.get_transaction()
    if begun is None or session.info.get(_LOCKED) != (begun, labeler_id):
        directly(session, _LOCK, labeler=labeler_id % 2**31)
        session.info[_LOCKED] = session.get_transaction(), labeler_id


def by_index(session: Session) -> None:
    """To the end of this transaction everything is found by its index, as where it locks a queue.

    A connection keeps its plans, and one that was made while a table was empty would read all of it when it is full.
    """
    directly(session, _BY_INDEX)


def try_lock_queue_of(session: Session, labeler_id: int) -> bool:
    """The same for somebody else's queue, without waiting: False while that labeler is at it."""
    return bool(first(directly(session, _TRY_LOCK, labeler=labeler_id % 2**31)))


_LOCKED = "queue"
_BY_INDEX = text("select set_config('enable_seqscan', 'off', true)")
_LOCK = text("select pg_advisory_xact_lock(4172001, :labeler), set_config('enable_seqscan', 'off', true)")
_TRY_LOCK = text("select pg_try_advisory_xact_lock(4172001, :labeler)")


# What a labeler was shown


@dataclass(frozen=True)
class Lease:
    """What a labeler holds: a showing, with its texts in displayed order.

    `task`: two summaries to compare or one to rate. The document's `title`, `community` and `post` are None while it is
    kept back (`notes_first`, and not both notes are saved yet). `notes`: the labeler's own, as saved, one per summary.
    `practice`: the researchers' answer is told afterwards. `expires_at` is None when it is not held (any more).
    """

    showing_id: UUID
    task: BatchKind
    practice: bool
    notes_first: bool
    title: str | None
    community: str | None
    post: str | None
    texts: tuple[str, ...]
    notes: tuple[str | None, ...]
    expires_at: datetime | None


def _leases() -> Select[Any]:
    """Showings of `labeler`. A document that is kept back is not read from the database at all (invariant 4)."""
    first_id = case(
        (Slot.summary_id.is_not(None), Slot.summary_id),
        (Showing.swapped, Comparison.second_summary_id),
        else_=Comparison.first_summary_id,
    )
    second_id = case((Showing.swapped, Comparison.first_summary_id), else_=Comparison.second_summary_id)
    one, two = aliased(Summary), aliased(Summary)
    told = or_(~Showing.notes_first, Showing.revealed_at.is_not(None))

    def note(summary: type[Summary]) -> ColumnElement[str]:
        newest = (
            select(Note.text)
            .where(
                Note.comparison_id == Slot.comparison_id,
                Note.summary_id == summary.id,
                Note.labeler_id == Showing.labeler_id,
            )
            .order_by(Note.version.desc())
            .limit(_ONE)
        )
        return case((Showing.notes_first, newest.scalar_subquery()))

    return (
        select(
            Showing.id,
            Batch.kind,
            (Batch.purpose == BatchPurpose.QUALIFICATION).label("practice"),
            Showing.notes_first,
            case((told, Document.title)).label("title"),
            case((told, Document.community)).label("community"),
            case((told, Document.post)).label("post"),
            one.text.label("text_one"),
            two.text.label("text_two"),
            note(one).label("note_one"),
            note(two).label("note_two"),
            case((Slot.showing_id == Showing.id, Slot.lease_expires_at)).label("expires_at"),
        )
        .select_from(Showing)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .outerjoin(Comparison, Comparison.id == Slot.comparison_id)
        .join(one, one.id == first_id)
        .outerjoin(two, two.id == second_id)
        .join(Document, Document.id == one.document_id)
        .where(Showing.labeler_id == _LABELER)
    )


_HELD = _leases().where(Slot.showing_id == Showing.id, *_HOLDS).order_by(Showing.shown_at, Showing.id)
_SHOWN = _leases().where(Showing.id == bindparam("showing", type_=Uuid))


def _lease(row: tuple[Any, ...]) -> Lease:
    showing_id, kind, practice, notes_first, title, community, post, *texts_and_notes, expires_at = row
    task = BatchKind(kind)
    sides = 2 if task is BatchKind.COMPARE else 1
    return Lease(
        showing_id=showing_id,
        task=task,
        practice=practice,
        notes_first=notes_first,
        title=title,
        community=community,
        post=post,
        texts=tuple(texts_and_notes[:sides]),
        notes=tuple(texts_and_notes[2 : 2 + sides]),
        expires_at=expires_at,
    )


def held(session: Session, labeler_id: int) -> list[Lease]:
    """What the labeler holds, oldest first."""
    return [_lease(row) for row in directly(session, _HELD, labeler=labeler_id)]


def shown(session: Session, labeler_id: int, showing_id: UUID) -> Lease | None:
    """What the labeler was shown by this showing, whether they still hold it or not. None for somebody else's."""
    rows = directly(session, _SHOWN, labeler=labeler_id, showing=showing_id)
    return _lease(rows[0]) if rows else None


# Claims


@dataclass
class Place:
    """A batch with open slots that the labeler may be given, and where their search of it goes on.

    `after`: behind this slot. `due`: when there is nothing, it is searched from its start again, behind slot `again`.
    """

    batch_id: int
    kind: BatchKind
    notes_first: bool
    gold_share: float
    after: int
    again: int
    due: bool


@dataclass(frozen=True)
class Desk:
    """How many slots a labeler holds, whether open ones are addressed to them, and the batches they may be given.

    `expired`: there are leases, of whomever, that ran out.
    """

    holds: int
    addressed: bool
    expired: bool
    places: list[Place]


def _desk() -> Select[Any]:
    mine = (QueuePlace.batch_id == Batch.id) & (QueuePlace.labeler_id == _LABELER)
    assigned = BatchLabeler.batch_id == Batch.id
    places = (
        select(
            Batch.id,
            Batch.kind,
            Batch.priority,
            and_(Batch.kind == BatchKind.COMPARE, _notes_first()).label("notes_first"),
            # Gold pairs are compared: among summaries to rate they would stand out.
            case(
                (Batch.kind == BatchKind.COMPARE, func.coalesce(Batch.protocol["gold_share"].as_float(), 0.0)),
                else_=0.0,
            ).label("gold_share"),
            func.coalesce(QueuePlace.slot_id, 0).label("after"),
            func.coalesce(QueuePlace.again_id, 0).label("again"),
            or_(QueuePlace.searched_at.is_(None), QueuePlace.searched_at < func.now() - SEARCH_AGAIN).label("due"),
        )
        .outerjoin(QueuePlace, mine)
        .where(
            Batch.project_id == bindparam("project", type_=BigInteger),
            Batch.purpose == BatchPurpose.ORDINARY,
            Batch.paused_at.is_(None),
            or_(Batch.for_kind.is_(None), Batch.for_kind == bindparam("kind", type_=Text)),
            or_(~_found(BatchLabeler, assigned), _found(BatchLabeler, assigned, BatchLabeler.labeler_id == _LABELER)),
            _first(Slot.id, _is(SlotState.OPEN), Slot.batch_id == Batch.id, Slot.for_labeler_id.is_(None)).is_not(None),
        )
        .subquery()
    )
    holds = select(func.count()).select_from(Slot).where(*_HOLDS)
    addressed = _first(Slot.id, _is(SlotState.OPEN), Slot.for_labeler_id == _LABELER).is_not(None)
    expires = Slot.lease_expires_at
    expired = _first(expires, _is(SlotState.LEASED), expires < func.now()).is_not(None)
    desk = select(
        holds.scalar_subquery().label("holds"), addressed.label("addressed"), expired.label("expired")
    ).subquery()
    return (
        select(
            desk.c.holds,
            desk.c.addressed,
            desk.c.expired,
            places.c.id,
            places.c.kind,
            places.c.notes_first,
            places.c.gold_share,
            places.c.after,
            places.c.again,
            places.c.due,
        )
        .outerjoin(places, true())
        .order_by(places.c.priority.desc(), places.c.id)
    )


_DESK = _desk()


def desk(session: Session, project_id: int, labeler_id: int, kind: LabelerKind) -> Desk:
    """How things stand for a labeler who asks for more. Places come in the order in which they are to be searched."""
    rows = directly(session, _DESK, labeler=labeler_id, project=project_id, kind=kind)
    holds, addressed, expired = rows[0][:3]
    places = [Place(row[3], BatchKind(row[4]), *row[5:]) for row in rows if row[3] is not None]
    return Desk(holds, addressed, expired, places)


def _untouched(kind: BatchKind) -> list[ColumnElement[bool]]:
    """Conditions on a slot: `labeler` has not answered its subject, does not hold it, and has not passed it on."""
    subject = "comparison_id" if kind is BatchKind.COMPARE else "summary_id"
    answer = Preference if kind is BatchKind.COMPARE else Rating
    mine = aliased(Slot)

    def of_subject(source: Any) -> ColumnElement[bool]:
        return and_(getattr(source, subject) == getattr(Slot, subject), source.labeler_id == _LABELER)

    return [
        ~_found(answer, of_subject(answer)),
        ~_found(mine, of_subject(mine), mine.state != literal_column(f"'{SlotState.VOID.value}'")),
        ~_found(Skip, of_subject(Skip)),
    ]


def _copied() -> ColumnElement[bool]:
    """Whether `labeler` has met the pair that a slot is about as gold or practice, where its answer is known."""
    own, copy = aliased(Comparison), aliased(Comparison)
    # Written out, so that a partial index is used whatever the plan.
    kinds: ColumnElement[str] = literal_column("('gold', 'qualification')")
    copies = join(own, copy, and_(same_pair(own, copy), copy.kind.op("in")(kinds)))
    return _found(copies, own.id == Slot.comparison_id, or_(*met(copy.id)))


def _taken(found: CTE) -> CTE:
    """The statement's part that shows the slot it found and leases it. The sides are drawn here, once per showing."""
    noted = _found(Note, Note.comparison_id == found.c.comparison_id, Note.labeler_id == _LABELER)
    shown = (
        insert(Showing)
        .from_select(
            ["slot_id", "labeler_id", "swapped", "page_version", "notes_first", "shown_at", "revealed_at"],
            select(
                found.c.id,
                _LABELER,
                func.random() < 0.5,
                _PAGE,
                found.c.notes_first,
                # Not now(): several claims of one transaction are held in the order in which they were made.
                func.clock_timestamp(),
                # Who wrote their notes in an earlier showing of the pair has seen the document.
                case((and_(found.c.notes_first, noted), func.clock_timestamp())),
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
            labeler_id=_LABELER,
            showing_id=shown.c.id,
            lease_expires_at=func.now() + _LASTS,
        )
        .returning(Slot.id, Slot.showing_id)
        .cte("taken")
    )


def _ordinary(kind: BatchKind) -> Select[int, int | None, bool]:
    """Open slots of `batch` between `after` and `until` that the labeler may be given, in their order."""
    met_before = [~_copied()] if kind is BatchKind.COMPARE else []
    return (
        select(Slot.id, Slot.comparison_id, bindparam("notes_first", type_=Boolean).label("notes_first"))
        .where(
            *_OPEN_TO_ALL,
            Slot.id > bindparam("after", type_=BigInteger),
            Slot.id <= bindparam("until", type_=BigInteger),
            *_untouched(kind),
            *met_before,
        )
        .order_by(Slot.id)
        .limit(_ONE)
    )


def _take(kind: BatchKind, *, again: bool) -> Select[Any]:
    """One statement chooses a slot, takes it (`for update skip locked`) and shows it: no two labelers get the same.

    `again`: in a search from the batch's start, whose place is another one than that behind all that is new.
    """
    taken = _taken(_ordinary(kind).with_for_update(of=Slot, skip_locked=True).cte("found"))
    place: dict[str, ColumnElement[int]] = {"slot_id": taken.c.id}
    if again:
        place = {"slot_id": _LAST_OPEN, "again_id": taken.c.id}
    kept = (
        upsert(QueuePlace)
        .from_select(["labeler_id", "batch_id", *place], select(_LABELER, _BATCH, *place.values()))
        .on_conflict_do_update(
            index_elements=["labeler_id", "batch_id"],
            set_={name: literal_column(f"excluded.{name}") for name in place},
        )
        .cte("kept")
    )
    return select(taken.c.showing_id, taken.c.id).add_cte(kept)


def _lent() -> Select[Any]:
    """Take a slot addressed to the labeler. A gold pair is shown as the ordinary one in its place would be."""
    as_usual = bindparam("notes_first", type_=Boolean)
    found = (
        select(
            Slot.id,
            Slot.comparison_id,
            case(
                (Batch.purpose == BatchPurpose.GOLD, func.coalesce(as_usual, _notes_first())),
                else_=and_(Batch.kind == BatchKind.COMPARE, _notes_first()),
            ).label("notes_first"),
        )
        .join(Batch, Batch.id == Slot.batch_id)
        .where(Slot.id == bindparam("slot", type_=BigInteger), _is(SlotState.OPEN), Slot.for_labeler_id == _LABELER)
        .with_for_update(of=Slot, skip_locked=True)
        .cte("found")
    )
    return select(_taken(found).c.showing_id)


_PEEK = {kind: _ordinary(kind) for kind in BatchKind}
_TAKE = {(kind, again): _take(kind, again=again) for kind in BatchKind for again in (False, True)}
_LEND = _lent()
_STRETCH_OF = (
    select(Slot.id)
    .where(*_OPEN_TO_ALL, Slot.id > bindparam("after", type_=BigInteger))
    .order_by(Slot.id)
    .limit(bindparam("most", type_=BigInteger))
    .subquery()
)
_STRETCH = select(func.count(), func.max(_STRETCH_OF.c.id))
_NONE_FOUND = upsert(QueuePlace).values(
    labeler_id=_LABELER,
    batch_id=_BATCH,
    slot_id=_LAST_OPEN,
    again_id=bindparam("again", type_=BigInteger),
    searched_at=case((bindparam("ended", type_=Boolean), func.now())),
)
_SEARCHED = _NONE_FOUND.on_conflict_do_update(
    index_elements=["labeler_id", "batch_id"],
    set_={
        "slot_id": _NONE_FOUND.excluded.slot_id,
        "again_id": _NONE_FOUND.excluded.again_id,
        "searched_at": func.coalesce(_NONE_FOUND.excluded.searched_at, QueuePlace.searched_at),
    },
)


@dataclass(frozen=True)
class Terms:
    """To whom a slot is leased, for how long, and which page asked for it."""

    labeler_id: int
    lasts: timedelta
    page_version: str

    def values(self, **more: Any) -> dict[str, Any]:
        """As a statement takes them."""
        return {"labeler": self.labeler_id, "lasts": self.lasts, "page": self.page_version, **more}


def claim(session: Session, terms: Terms, places: list[Place]) -> UUID | None:
    """Lease the next open slot to the labeler: the new showing's id, or None when there is nothing for them.

    Batches by priority; in a batch, slots by their ids, going on after the last one that this labeler was given there,
    so that the cost grows neither with the queue nor with what they have answered. A slot that came back behind that
    place is found when the rest is exhausted: then the batch is searched from its start, MOST_SEARCHED slots at a time,
    and when that has come to its end, not again before SEARCH_AGAIN. Never a subject that the labeler has answered,
    holds, or passed on, nor a pair of which they have met a copy. `places` are those of `desk`, and are kept up to
    date, so that several claims of one transaction need one look.
    """
    for place in places:
        taken = _take_between(session, terms, place, place.after, _END)
        if taken is None and place.due:
            until = _until(session, place)
            if place.after:
                taken = _take_between(session, terms, place, place.again, until, again=True)
            if taken is None:
                ended = until == _END
                values = {"again": 0 if ended else until, "ended": ended}
                directly(session, _SEARCHED, labeler=terms.labeler_id, batch=place.batch_id, **values)
        if taken is not None:
            return taken
        place.after, place.due = _END, False
    return None


def _take_between(
    session: Session, terms: Terms, place: Place, after: int, until: int, *, again: bool = False
) -> UUID | None:
    values = terms.values(batch=place.batch_id, notes_first=place.notes_first, after=after, until=until)
    taken = directly(session, _TAKE[place.kind, again], **values)
    if not taken:
        return None
    showing_id: UUID = taken[0][0]
    slot_id: int = taken[0][1]
    if again:
        place.again = slot_id
    else:
        place.after = slot_id
    return showing_id


def _until(session: Session, place: Place) -> int:
    """Up to which slot a search from the batch's start goes this time. One for new slots that began there was one."""
    if not place.after:
        return _END
    number, last = directly(session, _STRETCH, batch=place.batch_id, after=place.again, most=MOST_SEARCHED)[0]
    return last if number == MOST_SEARCHED else _END


def next_place(session: Session, labeler_id: int, places: list[Place]) -> Place | None:
    """The batch that `claim` would give a slot of now, unless others are quicker; nothing is taken."""
    for place in places:

        def there(after: int, until: int, place: Place = place) -> bool:
            values = {"labeler": labeler_id, "batch": place.batch_id, "notes_first": place.notes_first}
            return bool(directly(session, _PEEK[place.kind], **values, after=after, until=until))

        if there(place.after, _END) or (place.due and place.after and there(place.again, _until(session, place))):
            return place
    return None


def lease(session: Session, terms: Terms, slot_id: int, notes_first: bool | None) -> UUID | None:
    """Lease this open slot, which is addressed to the labeler; None when it is not open any more.

    `notes_first`: whether the pair that they would be given otherwise asks for notes; a gold pair must not be told
    apart by it.
    """
    found: UUID | None = first(directly(session, _LEND, **terms.values(slot=slot_id, notes_first=notes_first)))
    return found


def renew(session: Session, labeler_id: int, lasts: timedelta) -> None:
    """Leases of the labeler that ran out, and that nobody has released yet, are theirs again."""
    directly(session, _RENEW, labeler=labeler_id, lasts=lasts)


# Never waits for a row: the transaction may have kept an answer, and holds its slot. What somebody else works on is
# being extended, released or voided.
_RENEW = (
    update(Slot)
    .where(_nobody_works_on(select(Slot.id).where(*_HOLDS, Slot.lease_expires_at < func.now())))
    .values(lease_expires_at=func.now() + _LASTS)
)


def extend(session: Session, labeler_id: int, showings: list[UUID], lasts: timedelta) -> datetime | None:
    """Keep these leases of the labeler longer; those that are gone are left. The new end, or None when all are gone."""
    until: datetime | None = first(directly(session, _EXTEND, labeler=labeler_id, showings=showings, lasts=lasts))
    return until


_EXTEND = (
    update(Slot)
    .where(
        *_HOLDS,
        Slot.showing_id == any_(bindparam("showings", type_=ARRAY(Uuid))),
    )
    .values(lease_expires_at=func.now() + _LASTS)
    .returning(Slot.lease_expires_at)
)


# What becomes of a slot


@dataclass(frozen=True)
class Shown:
    """A showing of a labeler with its slot, which is locked until the transaction ends. `holder`: who has the slot.

    `for_kind`: whose answers its batch asks for. `practice`: it is a qualification pair. `for_round`: a round may wait
    for its batch.
    """

    showing_id: UUID
    swapped: bool
    notes_first: bool
    revealed: bool
    slot_id: int
    batch_id: int
    comparison_id: int | None
    summary_id: int | None
    for_labeler_id: int | None
    state: SlotState
    holder: int | None
    for_kind: LabelerKind | None
    practice: bool
    for_round: bool


_OF_SHOWING: Select[*tuple[Any, ...]] = (
    select(
        Showing.id,
        Showing.swapped,
        Showing.notes_first,
        Showing.revealed_at.is_not(None),
        Slot.id,
        Slot.batch_id,
        Slot.comparison_id,
        Slot.summary_id,
        Slot.for_labeler_id,
        Slot.state,
        Slot.labeler_id,
        Batch.for_kind,
        Batch.purpose == BatchPurpose.QUALIFICATION,
        Batch.round_id.is_not(None),
    )
    .join(Slot, Slot.id == Showing.slot_id)
    .join(Batch, Batch.id == Slot.batch_id)
    # `is true` is no condition of an index: they are found by their ids, not among all that the labeler has answered.
    .where(Showing.id == bindparam("showing", type_=Uuid), (Showing.labeler_id == _LABELER).is_(true()))
)
_WIDTH = 14


def of_showing(*beside: tuple[Any, ColumnElement[bool]]) -> tuple[Select[Any], Select[Any]]:
    """Two statements with what `Shown` is made of, and the columns of what is joined `beside` it by a condition.

    Of `showing` and `labeler`. The first finds and locks a slot while it is theirs, as almost always: then nothing that
    they say changes another one of its subject. The second is for a slot that is not.
    """
    found = _OF_SHOWING
    for source, condition in beside:
        found = found.add_columns(*source.c).outerjoin(source, condition)
    theirs = and_(Slot.labeler_id == _LABELER, or_(_is(SlotState.LEASED), _is(SlotState.DONE))).is_(true())
    return found.where(theirs).with_for_update(of=Slot), found


_SHOWN_ONLY = of_showing()


def lock_shown(session: Session, showing_id: UUID, labeler_id: int) -> Shown | None:
    """The labeler's own showing and its slot, locked while it is theirs. None for an unknown id or somebody else's."""
    found = shown_beside(session, _SHOWN_ONLY, showing=showing_id, labeler=labeler_id)
    return None if found is None else found[0]


def shown_beside(
    session: Session, statements: tuple[Select[Any], Select[Any]], **values: Any
) -> tuple[Shown, tuple[Any, ...]] | None:
    """What `lock_shown` gives, by statements of `of_showing`, and the columns of what is joined beside it."""
    theirs, others = statements
    rows = directly(session, theirs, **values) or directly(session, others, **values)
    if not rows:
        return None
    row, beside = rows[0][:_WIDTH], rows[0][_WIDTH:]
    for_kind = None if row[11] is None else LabelerKind(row[11])
    return Shown(*row[:9], *(SlotState(row[9]), row[10], for_kind, *row[12:])), beside


def _same_subject(shown: Shown) -> ColumnElement[bool]:
    if shown.comparison_id is not None:
        return Slot.comparison_id == shown.comparison_id
    return Slot.summary_id == shown.summary_id


@dataclass(frozen=True)
class Free:
    """A slot that an answer may fill, locked."""

    slot_id: int
    batch_id: int


def lock_slot_to_fill(
    session: Session, shown: Shown, labeler_id: int, kind: LabelerKind, *, calibrates: bool
) -> Free | None:
    """The slot that a first answer by this showing fills, locked; None when others fill them all (it is surplus).

    The slot that was shown, while it is free or this labeler's; otherwise one of the same subject that this labeler
    holds, or that is free for them. Having answered they are given none of these again, so a slot that they could fill
    and did not might wait for ever. Never one that asks for another kind of labeler; and researchers' accounts
    (`calibrates`) fill those made for them alone.

    Slots that others work on are passed over, for to wait for a second slot while the first is locked is a deadlock
    when two answer late. What is surplus for that reason alone, `app.services.judging.count_waiting` counts later.
    """
    if shown.state is SlotState.LEASED and shown.holder == labeler_id and shown.for_kind in (None, kind):
        return Free(shown.slot_id, shown.batch_id)
    mine = Slot.for_labeler_id == labeler_id
    if not calibrates:
        mine |= Slot.for_labeler_id.is_(None)
    found = session.execute(
        select(Slot.id, Slot.batch_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(
            _same_subject(shown),
            or_(and_(_is(SlotState.LEASED), Slot.labeler_id == labeler_id), and_(_is(SlotState.OPEN), mine)),
            or_(Batch.for_kind.is_(None), Batch.for_kind == kind),
        )
        .order_by(Slot.id != shown.slot_id, Slot.state != SlotState.LEASED, Slot.number)
        .limit(1)
        .with_for_update(of=Slot, skip_locked=True)
    ).one_or_none()
    return None if found is None else Free(*found)


def finish_slot(session: Session, slot_id: int, labeler_id: int, showing_id: UUID) -> None:
    """The slot has its opinion."""
    directly(session, FINISH, slot_id=slot_id, labeler_id=labeler_id, showing_id=showing_id)


FINISH = (
    update(Slot)
    .where(Slot.id == bindparam("slot_id", type_=BigInteger))
    .values(
        state=SlotState.DONE,
        labeler_id=bindparam("labeler_id", type_=BigInteger),
        showing_id=bindparam("showing_id", type_=Uuid),
        lease_expires_at=null(),
        done_at=func.now(),
    )
)
"""As a statement, for an answer that fills its slot with it: with the names that an answer has for its columns."""


def let_go(session: Session, shown: Shown, labeler_id: int, but: int | None = None) -> list[int]:
    """The labeler answered the subject, or passed it on: they let go of all its slots but one. Gives those now open.

    Slots that they hold go back to the queue; those addressed to them are asked of nobody.
    """
    addressed = Slot.for_labeler_id == labeler_id
    rows = session.execute(
        update(Slot)
        .where(
            _same_subject(shown),
            Slot.id.is_distinct_from(but),
            or_(
                and_(_is(SlotState.LEASED), Slot.labeler_id == labeler_id),
                and_(_is(SlotState.OPEN), addressed),
            ),
        )
        .values({**_FREE, "state": case((addressed, SlotState.VOID.value), else_=SlotState.OPEN.value)})
        .returning(Slot.id, Slot.state)
        .execution_options(**_AS_IT_IS)
    )
    return [row[0] for row in rows if row[1] is SlotState.OPEN]


def give_back_all(session: Session, labeler_id: int) -> None:
    """The labeler is gone: everything that they hold goes back to the queue."""
    session.execute(
        update(Slot)
        .where(_is(SlotState.LEASED), Slot.labeler_id == labeler_id)
        .values(_FREE)
        .execution_options(**_AS_IT_IS)
    )


def release_expired(session: Session) -> list[int]:
    """Give slots back whose lease ran out by the database's clock, 100 at most: those that are open now.

    Rows that others work on are left to them.
    """
    return sorted(row[0] for row in directly(session, _RELEASE))


_RELEASE = (
    update(Slot)
    .where(
        _nobody_works_on(
            select(Slot.id)
            .where(_is(SlotState.LEASED), Slot.lease_expires_at < func.now())
            .order_by(Slot.lease_expires_at)
            .limit(literal_column("100"))
        )
    )
    .values(_FREE)
    .returning(Slot.id)
)


def lock_open(session: Session, slot_id: int) -> Slot | None:
    """The slot, locked, if it is open and nobody works on it."""
    return session.scalar(
        select(Slot)
        .where(Slot.id == slot_id, _is(SlotState.OPEN))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )


def sides(session: Session, shown: Shown) -> tuple[int, int]:
    """The summaries of the comparison that was shown, in displayed order."""
    assert shown.comparison_id is not None
    row = session.get_one(Comparison, shown.comparison_id)
    ids = (row.first_summary_id, row.second_summary_id)
    return (ids[1], ids[0]) if shown.swapped else ids


def reveal(session: Session, showing_id: UUID) -> None:
    """The notes are saved: the document may be shown from now on."""
    session.execute(
        update(Showing)
        .where(Showing.id == showing_id, Showing.revealed_at.is_(None))
        .values(revealed_at=func.clock_timestamp())
        .execution_options(**_AS_IT_IS)
    )


def add_skip(session: Session, shown: Shown, labeler_id: int, reason: SkipReason, comment: str | None) -> None:
    """Note that a labeler passed a showing on; asking twice changes nothing."""
    session.execute(
        upsert(Skip)
        .values(
            slot_id=shown.slot_id,
            comparison_id=shown.comparison_id,
            summary_id=shown.summary_id,
            showing_id=shown.showing_id,
            labeler_id=labeler_id,
            reason=reason,
            comment=comment,
        )
        .on_conflict_do_nothing(index_elements=["showing_id"])
    )
