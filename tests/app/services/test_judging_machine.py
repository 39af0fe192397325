"""Any order of claims, answers, notes, repeats, edits, expiries, skips, flags, voids and asking again, against a model.

People judge, a researcher's account and a simulated labeler. The model is plain Python: the rules of the queue, written
down a second time. The test takes a few hundred steps; HONE_MACHINE_STEPS=200000 asks for at least that many, other
ones each time.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.orm import sessionmaker

from app.domain.errors import Conflict, NotFound
from app.domain.protocols import Protocol
from app.domain.words import ComparisonKind, FlagReason, LabelerKind, Role, SkipReason, SlotState
from app.services import batches as services
from app.services import comparisons, judging
from app.services.judging import Saved, Scores
from app.services.people import Viewer
from app.store import batches, people, queueing
from app.store.queueing import Lease
from app.store.session import Session
from app.store.tables import Batch, Comparison, Flag
from tests.support import factories as make

BY_HAND = int(os.environ.get("HONE_MACHINE_STEPS", "0"))
# An example takes all its steps, or ends a little sooner.
EXAMPLES, STEPS = (BY_HAND // 80 + 1, 100) if BY_HAND else (7, 70)
PEOPLE = 3
RESEARCHER, SIMULATED = PEOPLE, PEOPLE + 1
LABELERS = PEOPLE + 2
HUMAN_OR_NOT = [LabelerKind.HUMAN] * (PEOPLE + 1) + [LabelerKind.SIMULATED]
# Few, so that a search from the start of a batch takes several claims.
MOST_SEARCHED = 2
END = 2**63
PLAIN, NOTED, RATED = range(3)
OPINIONS = (2, 1, 2)
OPEN, LEASED, DONE, VOID = SlotState.OPEN, SlotState.LEASED, SlotState.DONE, SlotState.VOID
ANY = st.integers(0, 2**16)

# Ids of those whose queue somebody else has locked.
BUSY: set[int] = set()

# A comparison or a summary to rate: its batch, and its row's id.
Subject = tuple[int, int]


@dataclass
class ModelSlot:
    """What the model knows of a slot; `mine`: the labeler to whom it is addressed."""

    id: int
    subject: Subject
    number: int
    mine: int | None = None
    state: SlotState = OPEN
    labeler: int | None = None
    showing: UUID | None = None
    expired: bool = False

    def become(self, state: SlotState, labeler: int | None = None, showing: UUID | None = None) -> None:
        """Go into another state."""
        self.state, self.labeler, self.showing, self.expired = state, labeler, showing, False


@dataclass
class ModelShowing:
    """A slot that was shown to somebody; `revealed`: with the document."""

    id: UUID
    labeler: int
    slot: ModelSlot
    revealed: bool


@dataclass
class Version:
    """What somebody said, and as which version; `turn` is its place among all versions."""

    saved: Saved
    showing: ModelShowing
    value: int
    turn: int


@dataclass
class ModelPlace:
    """Where somebody's search of a batch goes on, and where one from its start does, which may be `due`."""

    after: int
    again: int
    due: bool


@dataclass
class Model:
    """The rules of the queue, without a database.

    `calibrated`: put before researchers, too. `busy`: whose queue somebody else has locked.
    """

    slots: list[ModelSlot]
    calibrated: list[Subject] = field(default_factory=list)
    for_kind: list[LabelerKind | None] = field(default_factory=lambda: [None] * len(OPINIONS))
    busy: set[int] = field(default_factory=set)
    opinions: list[int] = field(default_factory=lambda: list(OPINIONS))
    showings: list[ModelShowing] = field(default_factory=list)
    given: dict[tuple[int, Subject], list[Version]] = field(default_factory=dict)
    keys: dict[UUID, tuple[ModelShowing, Saved]] = field(default_factory=dict)
    last: dict[int, Version] = field(default_factory=dict)
    noted: Counter[tuple[int, Subject]] = field(default_factory=Counter)
    skipped: set[tuple[int, Subject]] = field(default_factory=set)
    places: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    searched: set[tuple[int, int]] = field(default_factory=set)
    turns: int = 0

    def of(self, subject: Subject) -> list[ModelSlot]:
        """The subject's slots by number."""
        return [slot for slot in self.slots if slot.subject == subject]

    def held(self, who: int) -> list[ModelSlot]:
        """What somebody holds, oldest first."""
        order = {showing.id: place for place, showing in enumerate(self.showings)}
        mine = [slot for slot in self.slots if slot.state is LEASED and slot.labeler == who and slot.showing]
        return sorted(mine, key=lambda slot: order[slot.showing] if slot.showing else 0)

    def new_to(self, who: int, subject: Subject) -> bool:
        """Whether somebody has not answered a subject, nor holds it, nor passed it on."""
        touched = (who, subject) in self.given or (who, subject) in self.skipped
        return not touched and all(slot.labeler != who or slot.state is VOID for slot in self.of(subject))

    def asks(self, who: int, slot: ModelSlot) -> bool:
        """Whether somebody is of the kind that a slot asks for, and it is not for others."""
        mine = slot.mine == who if who == RESEARCHER else slot.mine is None
        return mine and self.for_kind[slot.subject[0]] in (None, HUMAN_OR_NOT[who])

    def lends(self, who: int, ahead: int) -> list[Subject]:
        """Of what a slot is made for somebody who asks for so many: once of each pair that is still asked, or was."""
        room = ahead - len(self.held(who)) - sum(self._waits(who, slot) for slot in self.slots)
        new = [
            subject
            for subject in self.calibrated
            if self.new_to(who, subject) and all(slot.mine != who for slot in self.of(subject))
            if any(slot.state is not VOID and slot.mine is None for slot in self.of(subject))
        ]
        return new[: max(0, room)] if who == RESEARCHER else []

    def release(self, who: int) -> None:
        """Leases that ran out go back, but those of who asks."""
        expired = [slot for slot in self.slots if slot.expired]
        for slot in expired:
            slot.expired = False
            if slot.labeler != who:
                slot.become(OPEN)
        self.count_surplus(expired)

    def count_surplus(self, slots: list[ModelSlot]) -> None:
        """Surplus answers fill what came back: the oldest first, unless somebody is at that labeler's queue."""
        for slot in slots:
            waiting = [
                versions[-1]
                for (who, subject), versions in self.given.items()
                if subject == slot.subject and versions[-1].saved.surplus and self.asks(who, slot)
            ]
            found = min(waiting, key=lambda version: version.turn, default=None)
            if slot.state is OPEN and found is not None and found.showing.labeler not in self.busy:
                self._add(found.showing, found.value, surplus=False)
                slot.become(DONE, found.showing.labeler, found.showing.id)

    def _add(self, showing: ModelShowing, value: int, *, surplus: bool) -> Version:
        versions = self.given.setdefault((showing.labeler, showing.slot.subject), [])
        self.turns += 1
        versions.append(Version(Saved(len(versions) + 1, surplus), showing, value, self.turns))
        return versions[-1]

    def claim(self, who: int, ahead: int) -> list[ModelSlot]:
        """What somebody holds after asking for so many; the new ones, at the end, have no showing yet."""
        held = self.held(who)
        asked = {
            batch: ModelPlace(*self.places.get((who, batch), (0, 0)), (who, batch) not in self.searched)
            for batch, kind in enumerate(self.for_kind)
            if self._free(batch) and kind in (None, HUMAN_OR_NOT[who])
        }
        due = [place for place in asked.values() if place.due]
        while len(held) < ahead:
            slot = next((slot for slot in self.slots if self._waits(who, slot)), None)
            if slot is None and who != RESEARCHER:
                slot = self._ordinary(who, asked)
            if slot is None:
                break
            slot.become(LEASED, who)
            held.append(slot)
        if any(not place.due for place in due):
            self.count_surplus(self.slots)
        return held

    def _free(self, batch: int) -> list[ModelSlot]:
        return [slot for slot in self.slots if slot.subject[0] == batch and slot.state is OPEN and slot.mine is None]

    def _waits(self, who: int, slot: ModelSlot) -> bool:
        return slot.state is OPEN and slot.mine == who and self.new_to(who, slot.subject)

    def _ordinary(self, who: int, asked: dict[int, ModelPlace]) -> ModelSlot | None:
        """The next slot from where the search stopped; from the start again, a few at a time, once in a while."""
        for batch, place in asked.items():
            free = self._free(batch)
            fitting = [slot for slot in free if self.new_to(who, slot.subject)]
            found = next((slot for slot in fitting if slot.id > place.after), None)
            if found is not None:
                place.after = found.id
                self.places[who, batch] = (found.id, self.places.get((who, batch), (0, 0))[1])
                return found
            if place.due:
                rest = [slot.id for slot in free if slot.id > place.again]
                until = rest[MOST_SEARCHED - 1] if place.after and len(rest) >= MOST_SEARCHED else END
                if place.after:
                    found = next((slot for slot in fitting if place.again < slot.id <= until), None)
                if found is not None:
                    place.again = found.id
                else:
                    place.again = 0 if until == END else until
                    self.searched |= {(who, batch)} if until == END else set()
                self.places[who, batch] = (max((slot.id for slot in free), default=0), place.again)
                if found is not None:
                    return found
            place.after, place.due = END, False
        return None

    def let_go(self, who: int, subject: Subject, but: ModelSlot | None = None) -> None:
        """Somebody is done with a subject: other slots of it that are theirs are given back, or asked of nobody."""
        back = []
        for slot in self.of(subject):
            if slot is but:
                continue
            if slot.mine == who and slot.state in (OPEN, LEASED):
                slot.become(VOID)
            elif slot.state is LEASED and slot.labeler == who:
                slot.become(OPEN)
                back.append(slot)
        self.count_surplus(back)

    def answer(self, showing: ModelShowing, value: int) -> Saved:
        """What becomes of an answer."""
        who, shown, ours = showing.labeler, showing.slot, self.of(showing.slot.subject)
        before = self.given.get((who, shown.subject), [])
        surplus = not before or before[-1].saved.surplus
        if surplus:
            holds = shown.state is LEASED and shown.labeler == who
            kind = self.for_kind[shown.subject[0]] in (None, HUMAN_OR_NOT[who])
            held = [slot for slot in ours if slot.state is LEASED and slot.labeler == who and kind]
            free = [slot for slot in ours if slot.state is OPEN and self.asks(who, slot)]
            first = [shown] if shown in free or shown in held else []
            found = next(chain(first, held, free), None)
            if found is None or not holds:
                self.let_go(who, shown.subject, found)
            if found is not None:
                found.become(DONE, who, showing.id)
                surplus = False
        self.last[who] = self._add(showing, value, surplus=surplus)
        return self.last[who].saved


class Queue(RuleBasedStateMachine):
    """The same steps on both sides, compared after each."""

    engine: Engine
    steps: int = 0

    def __init__(self) -> None:
        super().__init__()
        BUSY.clear()
        self.connection: Connection = self.engine.connect()
        self.everything = self.connection.begin()
        self.sessions = sessionmaker(self.connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        with self._work() as session:
            self.admin = make.admin(session)
            self.people: list[Viewer] = [make.labeler(session) for _ in range(PEOPLE)]
            rosa = people.add_labeler(session, "Rosa's", Role.LABELER, LabelerKind.HUMAN, calibrates=True)
            make.has_read(session, rosa.id)
            self.people.append(Viewer(rosa.id, rosa.name, Role.LABELER, LabelerKind.HUMAN, calibrates=True))
            self.people.append(make.labeler(session, kind=LabelerKind.SIMULATED))
            self.batches = [
                make.pairs(session, 2, opinions=OPINIONS[PLAIN]),
                make.pairs(session, 1, opinions=OPINIONS[NOTED], protocol=Protocol(notes_first=True)),
                make.to_rate(session, 1, opinions=OPINIONS[RATED]),
            ]
            calibrated = [self.batches[PLAIN].comparisons[0], self.batches[NOTED].comparisons[0]]
            kind = ComparisonKind.CALIBRATION
            session.execute(update(Comparison).where(Comparison.id.in_(calibrated)).values(kind=kind))
            session.commit()
        self.numbers = {person.id: number for number, person in enumerate(self.people)}
        self.subjects = [(batch, one) for batch, put_up in enumerate(self.batches) for one in put_up.comparisons]
        self.model = Model([], [(PLAIN, calibrated[0]), (NOTED, calibrated[1])])
        self._see_new_slots()

    def _work(self) -> Session:
        return self.sessions()

    def _see_new_slots(self) -> list[ModelSlot]:
        """Take slots into the model that somebody asked for: which ids they got is the database's choice."""
        number = {put_up.batch_id: batch for batch, put_up in enumerate(self.batches)}
        last = max((slot.id for slot in self.model.slots), default=0)
        rows = self.connection.execute(
            text(
                "select id, batch_id, coalesce(comparison_id, summary_id), number, for_labeler_id from slot "
                "where id > :last order by id"
            ),
            {"last": last},
        )
        new = [ModelSlot(row[0], (number[row[1]], row[2]), row[3], self.numbers.get(row[4] or 0)) for row in rows]
        self.model.slots += new
        return new

    def _shown(self, which: int) -> ModelShowing:
        # The newest showings more often than others: old ones are about what is long over.
        among = self.model.showings if which % 2 else self.model.showings[-6:]
        return among[which // 2 % len(among)]

    @rule(who=st.integers(0, LABELERS - 1), ahead=st.integers(1, 4))
    def claim(self, who: int, ahead: int) -> None:
        with self._work() as session:
            held = judging.leases(session, self.people[who], ahead, make.LEASE, make.PAGE).leases
            session.commit()
        self._held(who, ahead, held)

    def _held(self, who: int, ahead: int, held: list[Lease]) -> None:
        self.model.release(who)
        lent = self.model.lends(who, ahead)
        assert [(slot.subject, slot.mine) for slot in self._see_new_slots()] == [(each, who) for each in lent]
        expected = self.model.claim(who, ahead)
        assert len(held) == len(expected)
        for slot, lease in zip(expected, held, strict=True):
            if slot.showing is None:
                slot.showing = lease.showing_id
                revealed = slot.subject[0] != NOTED or self.model.noted[who, slot.subject] > 0
                self.model.showings.append(ModelShowing(lease.showing_id, who, slot, revealed))
            assert slot.showing == lease.showing_id
            showing = next(one for one in reversed(self.model.showings) if one.id == slot.showing)
            assert (lease.post is not None, lease.notes_first) == (showing.revealed, slot.subject[0] == NOTED)
            assert (lease.notes[0] is not None) == (self.model.noted[who, slot.subject] > 0)

    def _say(self, session: Session, showing: ModelShowing, value: int, key: UUID) -> Saved:
        viewer = self.people[showing.labeler]
        if showing.slot.subject[0] == RATED:
            return make.rate(session, viewer, showing.id, value, key)
        return make.say(session, viewer, showing.id, value, key)

    @precondition(lambda self: self.model.showings)
    @rule(which=ANY, value=st.integers(1, 7), ahead=st.integers(0, 4))
    def answer(self, which: int, value: int, ahead: int) -> None:
        """A first answer or, by whatever showing, a change of an earlier one; with it a claim, if any are wanted."""
        self._answer(self._shown(which), value, ahead)

    def _answer(self, showing: ModelShowing, value: int, ahead: int = 0) -> None:
        key, who = uuid4(), showing.labeler
        with self._work() as session:
            if not showing.revealed:
                with pytest.raises(Conflict):
                    self._say(session, showing, value, key)
                return
            saved = self._say(session, showing, value, key)
            held = judging.leases(session, self.people[who], ahead, make.LEASE, make.PAGE).leases if ahead else []
            session.commit()
        assert saved == self.model.answer(showing, value)
        self.model.keys[key] = (showing, saved)
        if ahead:
            self._held(who, ahead, held)

    @precondition(lambda self: self.model.showings)
    @rule(which=ANY)
    def write_notes(self, which: int) -> None:
        showing = self._shown(which)
        key, viewer = uuid4(), self.people[showing.labeler]
        with self._work() as session:
            if showing.slot.subject[0] != NOTED:
                with pytest.raises((Conflict, NotFound)):
                    make.note(session, viewer, showing.id, key)
                return
            assert make.note(session, viewer, showing.id, key).post is not None
            assert make.note(session, viewer, showing.id, key).post is not None
            session.commit()
        showing.revealed = True
        self.model.noted[showing.labeler, showing.slot.subject] += 1

    @precondition(lambda self: self.model.keys)
    @rule(which=ANY)
    def replay(self, which: int) -> None:
        key = list(self.model.keys)[which % len(self.model.keys)]
        showing, saved = self.model.keys[key]
        with self._work() as session:
            assert self._say(session, showing, 4, key) == saved
            session.commit()

    @rule(who=st.integers(0, LABELERS - 1), value=st.integers(1, 7))
    def undo(self, who: int, value: int) -> None:
        """Open the last answer again, as a page does that was loaded anew, and save it with a change."""
        last = self.model.last.get(who)
        with self._work() as session:
            again = judging.last_answer(session, self.people[who])
        if last is None:
            assert again is None
            return
        assert again is not None
        assert again.lease.showing_id == last.showing.id
        assert again.lease.post is not None
        assert again.said in (last.value, Scores(overall=last.value))
        self._answer(last.showing, value)

    @precondition(lambda self: self.model.showings)
    @rule(which=ANY)
    def skip(self, which: int) -> None:
        self._skip(self._shown(which))

    def _skip(self, showing: ModelShowing) -> None:
        with self._work() as session:
            viewer = self.people[showing.labeler]
            judging.skip(session, viewer, showing_id=showing.id, reason=SkipReason.OTHER, comment=None)
            session.commit()
        self.model.skipped.add((showing.labeler, showing.slot.subject))
        self.model.let_go(showing.labeler, showing.slot.subject)

    @precondition(lambda self: self.model.showings)
    @rule(which=ANY)
    def flag(self, which: int) -> None:
        """It changes nothing, which the comparison afterwards sees."""
        showing, key = self._shown(which), uuid4()
        with self._work() as session:
            for _ in range(2):
                viewer = self.people[showing.labeler]
                judging.flag(
                    session, viewer, showing_id=showing.id, key=key, reason=FlagReason.QUESTION, comment="Why?"
                )
            assert session.scalar(select(func.count()).where(Flag.key == key)) == 1
            session.commit()

    @precondition(lambda self: any(slot.state is LEASED for slot in self.model.slots))
    @rule(which=ANY)
    def expire(self, which: int) -> None:
        leased = [slot for slot in self.model.slots if slot.state is LEASED]
        self._expire(leased[which % len(leased)])

    def _expire(self, slot: ModelSlot) -> None:
        with self._work() as session:
            make.run_out(session, slot.showing)
            session.commit()
        slot.expired = True

    @rule()
    def let_time_pass(self) -> None:
        with self._work() as session:
            make.search_again(session)
            session.commit()
        self.model.searched.clear()

    @rule(batch=st.sampled_from((PLAIN, NOTED, RATED)), kind=st.sampled_from((None, *LabelerKind)))
    def ask_a_kind(self, batch: int, kind: LabelerKind | None) -> None:
        """A round adopts the batch, or lets it go: from now on it is for these labelers, whoever holds something."""
        with self._work() as session:
            one = Batch.id == self.batches[batch].batch_id
            session.execute(update(Batch).where(one).values(for_kind=kind))
            session.commit()
        self.model.for_kind[batch] = kind

    @rule(ahead=st.integers(1, 4))
    def lend(self, ahead: int) -> None:
        """The same by the researcher, who would get to it too seldom."""
        self.claim(RESEARCHER, ahead)

    @precondition(lambda self: any(slot.state is LEASED for slot in self.model.slots))
    @rule(which=ANY)
    def skip_while_who_answered_late_is_busy(self, which: int) -> None:
        """A slot comes back that a waiting answer would fill, while somebody is at its labeler's queue.

        That is pretended, because all here is one transaction.
        """
        held = [one for one in self.model.showings if one.slot.state is LEASED and one.slot.showing == one.id]
        late = held[which % len(held)]
        self._expire(late.slot)
        self.claim((late.labeler + 1) % PEOPLE, 4)
        self._answer(late, 3)
        self.model.busy.add(late.labeler)
        BUSY.add(self.people[late.labeler].id)
        for one in self.model.showings:
            if one.slot.subject == late.slot.subject and one.slot.state is LEASED and one.slot.showing == one.id:
                self._skip(one)
        self.model.busy.clear()
        BUSY.clear()

    @rule()
    def look_around(self) -> None:
        """What a worker does every now and then."""
        with self._work() as session:
            judging.count_waiting(session)
            session.commit()
        self.model.count_surplus(self.model.slots)

    @precondition(lambda self: self.model.showings)
    @rule(which=ANY)
    def beat(self, which: int) -> None:
        showing = self._shown(which)
        ours = [one for one in self.model.showings if one.labeler == showing.labeler][-3:]
        with self._work() as session:
            viewer = self.people[showing.labeler]
            until = judging.extend(session, viewer, [one.id for one in ours], make.LEASE)
            session.commit()
        held = [one for one in ours if one.slot.state is LEASED and one.slot.showing == one.id]
        assert (until is not None) == bool(held)
        for one in held:
            one.slot.expired = False

    @precondition(lambda self: len(self.model.keys) > 4)  # not sooner: it ends the batch
    @rule(batch=st.sampled_from((PLAIN, NOTED, RATED)))
    def void(self, batch: int) -> None:
        with self._work() as session:
            batches.void_unfinished(session, [self.batches[batch].batch_id])
            session.commit()
        for slot in self.model.slots:
            if slot.subject[0] == batch and slot.state in (OPEN, LEASED) and slot.mine is None:
                slot.become(VOID)

    @precondition(lambda self: len(self.model.keys) > 2)
    @rule(which=ANY)
    def void_one(self, which: int) -> None:
        """Make one opinion void, whether it is open, held or given; a given one stays with its labeler."""
        among = [slot for slot in self.model.slots if slot.subject[0] != RATED and slot.state is not VOID]
        if not among:
            return
        if which % 2:
            # Few are made for the researcher, who would be asked again if that were possible.
            among = [slot for slot in among if slot.mine is not None] or among
        slot = among[which // 2 % len(among)]
        with self._work() as session:
            comparisons.void(session, self.admin, slot.subject[1], slot.id, "A mistake.")
            session.commit()
        given = slot.state is DONE
        slot.become(VOID, slot.labeler if given else None, slot.showing if given else None)

    @rule(which=ANY)
    def take_back(self, which: int) -> None:
        """Undo that: a given opinion counts again, any other is asked for again, unless who it is for passed it on."""
        among = [slot for slot in self.model.slots if slot.subject[0] != RATED and slot.state is VOID]
        if not among:
            return
        slot = among[which % len(among)]
        with self._work() as session:
            if slot.labeler is None and (slot.mine, slot.subject) in self.model.skipped:
                with pytest.raises(Conflict):
                    comparisons.take_back(session, self.admin, slot.subject[1], slot.id, "No mistake.")
                return
            comparisons.take_back(session, self.admin, slot.subject[1], slot.id, "No mistake.")
            session.commit()
        if slot.labeler is not None:
            slot.become(DONE, slot.labeler, slot.showing)
        else:
            slot.become(OPEN)
            self.model.count_surplus([slot])

    @rule(which=ANY)
    def ask_once_more(self, which: int) -> None:
        """One opinion more on one comparison, where there are not too many yet to end the example in time."""
        compared = [one for one in self.subjects if one[0] != RATED and len(self.model.of(one)) < 6]
        if not compared:
            return
        subject = compared[which % len(compared)]
        with self._work() as session:
            comparisons.ask_again(session, self.admin, subject[1], "One more.")
            session.commit()
        self.model.count_surplus(self._see_new_slots())

    @rule(batch=st.sampled_from((PLAIN, NOTED, RATED)), opinions=st.integers(1, 3))
    def ask_again(self, batch: int, opinions: int) -> None:
        """Ask for more opinions, or fewer: new slots for what is void, or missing; open ones are made void.

        Asking for more leaves what was asked for on top.
        """
        with self._work() as session:
            services.set_opinions(session, self.admin, self.batches[batch].batch_id, opinions)
            session.commit()
        if opinions == self.model.opinions[batch]:
            return
        more = opinions > self.model.opinions[batch]
        self.model.opinions[batch] = opinions
        new = self._see_new_slots()
        for subject in (one for one in self.subjects if one[0] == batch):
            live = [slot for slot in self.model.of(subject) if slot.state is not VOID and slot.mine is None]
            added = sum(slot.subject == subject for slot in new)
            assert added == (max(0, opinions - (len(live) - added)) if more else 0)
            if more:
                continue
            spare = sorted((slot for slot in live if slot.state is OPEN), key=lambda slot: -slot.number)
            for slot in spare[: max(0, len(live) - opinions)]:
                slot.become(VOID)
        self.model.count_surplus(new)

    @invariant()
    def the_database_says_the_same(self) -> None:
        type(self).steps += 1
        model, who = self.model, self.numbers
        rows = self.connection.execute(
            text(
                "select id, state, labeler_id, showing_id, for_labeler_id, "
                "state = 'void' and labeler_id is not null as is_kept from slot order by id"
            )
        ).all()
        found = [(row[0], row[1], who.get(row[2] or 0), row[3], who.get(row[4] or 0)) for row in rows]
        assert found == [(one.id, one.state, one.labeler, one.showing, one.mine) for one in model.slots]
        # What was acknowledged is there once, and each done slot has the one opinion that counts, unless made void.
        said = self.connection.execute(
            text(
                "select 'p', comparison_id, labeler_id, version, surplus, slot_id, key from preference union all "
                "select 'r', summary_id, labeler_id, version, surplus, slot_id, key from rating order by version"
            )
        ).all()
        assert {row.key for row in said} >= model.keys.keys()
        assert len({row.key for row in said}) == len(said) == sum(len(each) for each in model.given.values())
        newest = {row[:3]: row for row in said}
        assert {key: row.version for key, row in newest.items()} == {
            ("r" if batch == RATED else "p", subject, self.people[labeler].id): len(versions)
            for (labeler, (batch, subject)), versions in model.given.items()
        }
        counted = [(row.slot_id, row.labeler_id) for row in newest.values() if not row.surplus]
        assert sorted(counted) == [(row.id, row.labeler_id) for row in rows if row.state == DONE or row.is_kept]
        places = self.connection.execute(text("select labeler_id, batch_id, slot_id, again_id from queue_place")).all()
        assert {(who[row[0]], row[1]): (row[2], row[3]) for row in places} == {
            (labeler, self.batches[batch].batch_id): place for (labeler, batch), place in model.places.items()
        }
        told = self.connection.execute(text("select labeler_id, sum(answers) from tally group by 1")).all()
        assert {who[row[0]]: row[1] for row in told} == Counter(labeler for labeler, _ in model.given)

    def teardown(self) -> None:
        try:
            self._nothing_is_stuck()
        finally:
            self.everything.rollback()
            self.connection.close()

    def _nothing_is_stuck(self) -> None:
        """What was answered counts where it can; those to whom slots are addressed, and fresh labelers, do the rest."""
        for batch in (PLAIN, NOTED, RATED):
            self.ask_a_kind(batch, None)
        self.look_around()
        self.the_database_says_the_same()
        for slot in (slot for slot in self.model.slots if slot.state is OPEN):
            said = [versions[-1] for (_, subject), versions in self.model.given.items() if subject == slot.subject]
            assert not any(one.saved.surplus and self.model.asks(one.showing.labeler, slot) for one in said)
        with self._work() as session:
            make.run_out(session)
            make.search_again(session)
            left = {slot.mine for slot in self.model.slots if slot.mine is not None and slot.state in (OPEN, LEASED)}
            for person in left:
                make.judge_all(session, self.people[person])
            needed = Counter(slot.subject for slot in self.model.slots if slot.state in (OPEN, LEASED))
            for _ in range(max(needed.values(), default=0)):
                make.judge_all(session, make.labeler(session))
            states = set(session.scalars(text("select distinct state from slot")))
            assert states <= {DONE, VOID}


def test_any_order_of_steps_keeps_the_queue_as_the_model_says(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = queueing.try_lock_queue_of
    monkeypatch.setattr(queueing, "MOST_SEARCHED", MOST_SEARCHED)
    monkeypatch.setattr(queueing, "try_lock_queue_of", lambda session, who: who not in BUSY and lock(session, who))

    class Machine(Queue):
        engine = shared_engine

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=not BY_HAND,
            # Shrinking on a database takes minutes; the steps that failed are printed as they were drawn.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Machine.steps >= BY_HAND
