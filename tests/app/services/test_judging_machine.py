"""Any order of claims, answers, repeats, edits, expiries, skips and voids, against a model in plain Python."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, select
from sqlalchemy.orm import sessionmaker

from app.domain.words import SkipReason, SlotState
from app.services import judging
from app.services.people import Viewer
from app.store import batches
from app.store.session import Session
from app.store.tables import Preference, Slot
from tests.support import factories as make

LABELERS, COMPARISONS, OPINIONS = 3, 3, 2
EXAMPLES, STEPS = 10, 25


@dataclass
class ModelSlot:
    """What the model knows of a slot."""

    id: int
    comparison: int
    state: SlotState = SlotState.OPEN
    labeler: int | None = None
    showing: UUID | None = None
    expired: bool = False

    def free(self) -> None:
        """Give it back."""
        self.state, self.labeler, self.showing, self.expired = SlotState.OPEN, None, None, False


@dataclass
class ModelShowing:
    """A slot that was shown to somebody."""

    id: UUID
    labeler: int
    slot: ModelSlot


@dataclass
class Model:
    """The rules of the queue, written down a second time without a database."""

    slots: list[ModelSlot]
    showings: list[ModelShowing] = field(default_factory=list)
    given: dict[tuple[int, int], list[judging.Saved]] = field(default_factory=dict)
    keys: dict[UUID, tuple[ModelShowing, judging.Saved]] = field(default_factory=dict)
    skipped: set[tuple[int, int]] = field(default_factory=set)

    def of(self, comparison: int) -> list[ModelSlot]:
        """The comparison's slots."""
        return [slot for slot in self.slots if slot.comparison == comparison]

    def held(self, labeler: int) -> list[ModelSlot]:
        """What the labeler holds, oldest first."""
        order = [showing.id for showing in self.showings]
        mine = [slot for slot in self.slots if slot.state is SlotState.LEASED and slot.labeler == labeler]
        return sorted(mine, key=lambda slot: order.index(slot.showing) if slot.showing in order else len(order))

    def next_for(self, labeler: int) -> ModelSlot | None:
        """The slot that is given out next."""
        for slot in self.slots:
            mine = (labeler, slot.comparison)
            if (
                slot.state is SlotState.OPEN
                and mine not in self.given
                and mine not in self.skipped
                and all(other.labeler != labeler or other.state is SlotState.VOID for other in self.of(slot.comparison))
            ):
                return slot
        return None

    def answer(self, showing: ModelShowing) -> judging.Saved:
        """What becomes of an answer."""
        labeler, ours = showing.labeler, self.of(showing.slot.comparison)
        versions = self.given.setdefault((labeler, showing.slot.comparison), [])
        counted = bool(versions) and not versions[-1].surplus
        if not counted:
            first = [showing.slot] if showing.slot.state is SlotState.OPEN else []
            held = [slot for slot in ours if slot.state is SlotState.LEASED and slot.labeler == labeler]
            still_open = [slot for slot in ours if slot.state is SlotState.OPEN]
            for slot in [*first, *held, *still_open]:
                for other in held:
                    other.free()
                slot.state, slot.labeler, slot.showing, slot.expired = SlotState.DONE, labeler, showing.id, False
                counted = True
                break
        versions.append(judging.Saved(len(versions) + 1, not counted))
        return versions[-1]


class Queue(RuleBasedStateMachine):
    """The same steps on both sides, compared after each."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection = self.engine.connect()
        self.everything = self.connection.begin()
        self.sessions = sessionmaker(self.connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        with self._work() as session:
            self.people: list[Viewer] = [make.labeler(session) for _ in range(LABELERS)]
            self.pairs = make.pairs(session, COMPARISONS, opinions=OPINIONS)
            rows = session.scalars(select(Slot).order_by(Slot.id))
            self.model = Model([ModelSlot(row.id, row.comparison_id or 0) for row in rows])
            session.commit()

    def _work(self) -> Session:
        return self.sessions()

    @rule(who=st.integers(0, LABELERS - 1), ahead=st.integers(1, 3))
    def claim(self, who: int, ahead: int) -> None:
        for slot in self.model.slots:
            if slot.expired:
                slot.free()
        expected = self.model.held(who)
        while len(expected) < ahead and (taken := self.model.next_for(who)) is not None:
            taken.state, taken.labeler = SlotState.LEASED, who
            expected.append(taken)
        with self._work() as session:
            held = make.hold(session, self.people[who], ahead)
            session.commit()
            assert [make.slot_of(session, showing).id for showing in held] == [slot.id for slot in expected]
        for slot, showing in zip(expected, held, strict=True):
            if slot.showing is None:
                slot.showing = showing
                self.model.showings.append(ModelShowing(showing, who, slot))
            assert slot.showing == showing

    @precondition(lambda self: self.model.showings)
    @rule(data=st.data(), value=st.integers(1, 9))
    def answer(self, data: st.DataObject, value: int) -> None:
        showing = data.draw(st.sampled_from(self.model.showings))
        key = uuid4()
        with self._work() as session:
            saved = make.say(session, self.people[showing.labeler], showing.id, value, key)
            session.commit()
        assert saved == self.model.answer(showing)
        self.model.keys[key] = (showing, saved)

    @precondition(lambda self: self.model.keys)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.model.keys)))
        showing, saved = self.model.keys[key]
        with self._work() as session:
            assert make.say(session, self.people[showing.labeler], showing.id, 4, key) == saved
            session.commit()

    @precondition(lambda self: self.model.showings)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        showing = data.draw(st.sampled_from(self.model.showings))
        with self._work() as session:
            judging.skip(
                session, self.people[showing.labeler], showing_id=showing.id, reason=SkipReason.OTHER, comment=None
            )
            session.commit()
        self.model.skipped.add((showing.labeler, showing.slot.comparison))
        for slot in self.model.of(showing.slot.comparison):
            if slot.state is SlotState.LEASED and slot.labeler == showing.labeler:
                slot.free()

    @precondition(lambda self: any(slot.state is SlotState.LEASED for slot in self.model.slots))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([one for one in self.model.slots if one.state is SlotState.LEASED]))
        with self._work() as session:
            make.run_out(session, slot.showing)
            session.commit()
        slot.expired = True

    @precondition(lambda self: self.model.showings)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        showing = data.draw(st.sampled_from(self.model.showings))
        with self._work() as session:
            until = judging.extend(session, self.people[showing.labeler], [showing.id], make.LEASE)
            session.commit()
        held = showing.slot.state is SlotState.LEASED and showing.slot.showing == showing.id
        assert (until is not None) == held
        if held:
            showing.slot.expired = False

    @precondition(lambda self: len(self.model.keys) > 4)  # not sooner: it ends the batch
    @rule()
    def void(self) -> None:
        with self._work() as session:
            batches.void_unfinished(session, [self.pairs.batch_id])
            session.commit()
        for slot in self.model.slots:
            if slot.state is not SlotState.DONE:
                slot.free()
                slot.state = SlotState.VOID

    @invariant()
    def the_database_says_the_same(self) -> None:
        with self._work() as session:
            rows = list(session.scalars(select(Slot).order_by(Slot.id)))
            answers = list(session.scalars(select(Preference).order_by(Preference.version)))
        ids = {person.id: number for number, person in enumerate(self.people)}
        found = [(row.id, row.state, ids.get(row.labeler_id or 0), row.showing_id) for row in rows]
        assert found == [(one.id, one.state, one.labeler, one.showing) for one in self.model.slots]
        # What was acknowledged is there once, and each done slot has the one opinion that counts.
        assert sorted(answer.key for answer in answers) == sorted(self.model.keys)
        newest = {(answer.comparison_id, answer.labeler_id): answer for answer in answers}
        counted = [(answer.slot_id, answer.labeler_id) for answer in newest.values() if not answer.surplus]
        assert sorted(counted) == [(row.id, row.labeler_id) for row in rows if row.state is SlotState.DONE]

    def teardown(self) -> None:
        try:
            self._nothing_is_stuck()
        finally:
            self.everything.rollback()
            self.connection.close()

    def _nothing_is_stuck(self) -> None:
        """Fresh labelers can always finish what is left."""
        with self._work() as session:
            make.run_out(session)
            for _ in range(OPINIONS):
                make.judge_all(session, make.labeler(session))
            states = {state for comparison in self.pairs.comparisons for state in make.slot_states(session, comparison)}
            assert states <= {SlotState.DONE, SlotState.VOID}
            session.commit()


def test_any_order_of_steps_keeps_the_queue_as_the_model_says(shared_engine: Engine) -> None:
    machine = type("Queue", (Queue,), {"engine": shared_engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            # Shrinking on a database takes minutes; the steps that failed are printed as they were drawn.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
