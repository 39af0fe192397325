"""A batch asks of more people or fewer, and summaries are put up for rating: exactly as often as asked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.protocols import Protocol
from app.domain.words import BatchKind, BatchPurpose, ComparisonKind, LabelerKind, SlotState
from app.services import batches, judging
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches as store
from app.store import corpus
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import AuditEvent, Comparison, Preference, Slot
from tests.conftest import Work
from tests.support import factories as make
from tests.support.waiting import until_somebody_waits

OPEN, LEASED, DONE, VOID = SlotState.OPEN, SlotState.LEASED, SlotState.DONE, SlotState.VOID

T = TypeVar("T")


def _change(session: Session, batch_id: int, opinions: int) -> tuple[int, int]:
    return batches.set_opinions(session, make.admin(session), batch_id, opinions)


def _make(session: Session, comparison_id: int, kind: ComparisonKind) -> None:
    session.get_one(Comparison, comparison_id).kind = kind
    session.flush()


# Asking more people, or fewer


def test_raising_adds_open_opinions_and_lowering_takes_back_open_ones_only(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 4, opinions=2)
        one, two = make.labeler(session), make.labeler(session)
        for showing in make.hold(session, one, 2):
            make.say(session, one, showing)
        make.hold(session, two, 1)  # holds the second opinion on the first pair
        assert _change(session, pairs.batch_id, 4) == (8, 0)
        assert [make.slot_states(session, each) for each in pairs.comparisons] == [
            [DONE, LEASED, OPEN, OPEN],
            [DONE, OPEN, OPEN, OPEN],
            [OPEN] * 4,
            [OPEN] * 4,
        ]
        assert _change(session, pairs.batch_id, 1) == (0, 2 + 3 + 3 + 3)
        assert [make.slot_states(session, each) for each in pairs.comparisons] == [
            [DONE, LEASED, VOID, VOID],
            [DONE, VOID, VOID, VOID],
            [OPEN, VOID, VOID, VOID],
            [OPEN, VOID, VOID, VOID],
        ]
        assert _change(session, pairs.batch_id, 2) == (3, 0), "the held opinion is the first pair's second"
        assert [slot.number for slot in make.slots(session, pairs.comparisons[1])] == [1, 2, 3, 4, 5]
        assert store.counted(session, the_project(session).id, pairs.batch_id) == store.BatchCounts(
            batches_row(session, pairs.batch_id), subjects=4, open=5, leased=1, done=2, lent=0
        )


def batches_row(session: Session, batch_id: int) -> Any:
    return store.batch(session, the_project(session).id, batch_id)


def test_asking_for_what_is_asked_for_changes_nothing(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 2, opinions=2)
        store.void_unfinished(session, [pairs.batch_id])
        assert _change(session, pairs.batch_id, 2) == (0, 0)
        assert make.slot_states(session, pairs.comparisons[0]) == [VOID, VOID]


def test_what_is_done_is_never_taken_back(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 1, opinions=3)
        for _ in range(2):
            make.judge_all(session, make.labeler(session))
        assert _change(session, pairs.batch_id, 1) == (0, 1)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE, DONE, VOID]
        assert _change(session, pairs.batch_id, 3) == (1, 0)


def test_the_shared_pool_asks_no_fewer_than_its_own_number(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 2, opinions=4, protocol=Protocol(shared_share=0.5, shared_opinions=3))
        _make(session, pairs.comparisons[1], ComparisonKind.SHARED)
        assert _change(session, pairs.batch_id, 1) == (0, 3 + 1)
        assert [make.slot_states(session, each).count(OPEN) for each in pairs.comparisons] == [1, 3]
        assert _change(session, pairs.batch_id, 2) == (1, 0)


def test_an_opinion_lent_to_a_researcher_is_not_one_of_those_asked_for(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 1, opinions=1)
        judge = make.labeler(session)
        found = session.get_one(Comparison, pairs.comparisons[0])
        lent = Slot(batch_id=pairs.batch_id, comparison_id=found.id, number=2, for_labeler_id=judge.id)
        session.add(lent)
        session.flush()
        assert _change(session, pairs.batch_id, 2) == (1, 0)
        assert _change(session, pairs.batch_id, 1) == (0, 1)
        assert make.slot_states(session, pairs.comparisons[0]) == [OPEN, OPEN, VOID]
        assert [slot.for_labeler_id for slot in make.slots(session, pairs.comparisons[0])] == [None, judge.id, None]
        assert store.unfinished_slots(session, [pairs.batch_id]) == 1


def test_a_new_opinion_is_filled_by_an_answer_that_came_too_late_for_an_earlier_one(work: Work) -> None:
    with work() as session:
        one, two = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, 3)
        [late] = make.hold(session, one)
        make.run_out(session)
        make.judge_all(session, two)
        assert make.say(session, one, late).surplus
        assert _change(session, pairs.batch_id, 2) == (3, 0)
        assert [make.slot_states(session, each) for each in pairs.comparisons] == [
            [DONE, DONE],
            [DONE, OPEN],
            [DONE, OPEN],
        ]


def test_gold_pairs_cannot_be_asked_more_often(work: Work) -> None:
    with work() as session:
        gold = make.standing(session, BatchPurpose.GOLD)
        batch_id = session.get_one(Comparison, gold[0]).batch_id
        with pytest.raises(Conflict, match="once"):
            _change(session, batch_id, 2)
        with pytest.raises(Conflict, match="once"):
            batches.set_protocol(session, make.admin(session), batch_id, notes_first=True, gold_share=0)
        for wrong in (0, 101):
            with pytest.raises(Invalid, match="cannot be asked for"):
                _change(session, batch_id, wrong)
        with pytest.raises(NotFound):
            _change(session, 10**9, 2)


def test_a_change_of_the_number_is_written_down(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 2)
        boss = make.admin(session)
        batches.set_opinions(session, boss, pairs.batch_id, 3)
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.actor_id, event.action, event.subject_id) == (boss.id, "set opinions", pairs.batch_id)
        assert event.details == {"opinions": 3, "before": 1, "added": 4, "voided": 0}


def test_a_large_batch_is_changed_in_pieces(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIECE", 7)
    with work() as session:
        pairs = make.pairs(session, 30)
        assert _change(session, pairs.batch_id, 3) == (60, 0)
        assert _change(session, pairs.batch_id, 2) == (0, 30)
        states = select(Slot.comparison_id, func.count()).where(Slot.batch_id == pairs.batch_id, Slot.state == OPEN)
        assert {row[1] for row in session.execute(states.group_by(Slot.comparison_id))} == {2}


# Many hands


def _in(sessions: Sessions, action: Callable[..., T], *args: Any, **named: Any) -> T:
    with unit_of_work(sessions, lambda job: None) as session:
        return action(session, *args, **named)


def test_the_number_holds_while_labelers_claim_and_admins_change_their_minds(own_sessions: Sessions) -> None:
    hands, admins, pairs_count = 9, 3, 40
    pairs = _in(own_sessions, make.pairs, pairs_count, opinions=2)
    labelers: list[Viewer] = [_in(own_sessions, make.labeler) for _ in range(hands)]
    boss = _in(own_sessions, make.admin)
    barrier = Barrier(hands + admins)

    def judge(number: int) -> None:
        barrier.wait(timeout=30)
        for _ in range(6):
            for showing in _in(own_sessions, make.hold, labelers[number], 2):
                _in(own_sessions, make.say, labelers[number], showing)

    def change(number: int) -> None:
        barrier.wait(timeout=30)
        for opinions in ([3, 1, 2], [1, 4, 2], [2, 3, 1])[number]:
            _in(own_sessions, batches.set_opinions, boss, pairs.batch_id, opinions)

    with ThreadPoolExecutor(hands + admins) as pool:
        tasks = [pool.submit(judge, number) for number in range(hands)]
        tasks += [pool.submit(change, number) for number in range(admins)]
        for task in tasks:
            task.result(timeout=120)
    _in(own_sessions, batches.set_opinions, boss, pairs.batch_id, 3)
    with own_sessions() as session:
        for comparison_id in pairs.comparisons:
            slots = make.slots(session, comparison_id)
            live = [slot for slot in slots if slot.state != VOID]
            done = [slot.labeler_id for slot in live if slot.state == DONE]
            assert len(live) == max(3, len(done)), comparison_id
            assert len(done) == len(set(done)), "one labeler fills one opinion"
            assert [slot.number for slot in slots] == list(range(1, len(slots) + 1))
        counted = select(func.count()).where(Preference.surplus, Slot.id == Preference.slot_id, Slot.state == DONE)
        assert session.scalar(counted) == 0
    for labeler in labelers:
        _in(own_sessions, make.judge_all, labeler)
    with own_sessions() as session:
        for comparison_id in pairs.comparisons:
            filled = [slot.labeler_id for slot in make.slots(session, comparison_id) if slot.state == DONE]
            assert len(filled) == len(set(filled)) >= 3
            assert not {OPEN, LEASED} & set(make.slot_states(session, comparison_id))


def test_what_is_claimed_while_it_is_taken_back_stays_and_another_goes(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    one, two = _in(own_sessions, make.labeler), _in(own_sessions, make.labeler)
    boss = _in(own_sessions, make.admin)
    with own_sessions() as first, own_sessions() as second, ThreadPoolExecutor(1) as pool:
        make.hold(first, one)
        make.hold(second, two)  # the second opinion, because the first is being claimed
        first.rollback()
        lowering = pool.submit(_in, own_sessions, batches.set_opinions, boss, pairs.batch_id, 1)
        until_somebody_waits(first)
        second.commit()
        assert lowering.result(timeout=30) == (0, 1)
    with own_sessions() as session:
        assert make.slot_states(session, pairs.comparisons[0]) == [VOID, LEASED]


def test_two_admins_who_ask_for_the_same_add_it_once(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 20)
    boss = _in(own_sessions, make.admin)
    barrier = Barrier(6)

    def change(_: int) -> tuple[int, int]:
        barrier.wait(timeout=30)
        return _in(own_sessions, batches.set_opinions, boss, pairs.batch_id, 3)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(change, range(6))) == [(0, 0)] * 5 + [(40, 0)]
    with own_sessions() as session:
        assert {tuple(make.slot_states(session, each)) for each in pairs.comparisons} == {(OPEN,) * 3}


# Rating


def test_summaries_are_put_up_for_rating_once(work: Work) -> None:
    with work() as session:
        boss, worker, other = make.admin(session), make.labeler(session), make.labeler(session)
        for number in range(5):
            document = make.document(session)
            make.summary(session, document.id, f" One about {number}.", "sup1")
            make.summary(session, document.id, f" Another about {number}.", "sup1")
        make.summary(session, make.document(session).id, "  ", "sup1")
        policy = corpus.policies_by_name(session, the_project(session).id, ["sup1"])["sup1"]
        first, number = batches.put_up_ratings(session, boss, policy.id, 3, 2, with_simulated=False)
        assert number == 3
        view = batches.one(session, first)
        assert (view.name, view.kind, view.subjects, view.open) == ("ratings of sup1", BatchKind.RATE, 3, 6)
        assert view.for_kind is LabelerKind.HUMAN
        documents = select(func.count(Slot.summary_id.distinct()), func.min(Slot.number), func.max(Slot.number))
        assert session.execute(documents.where(Slot.batch_id == first)).one() == (3, 1, 2)
        assert (make.judge_all(session, worker), make.judge_all(session, worker)) == (3, 0)
        assert batches.one(session, first).given == 3
        second, number = batches.put_up_ratings(session, boss, policy.id, 100, 1, with_simulated=True)
        assert number == 5, "one for each document, those put up before left out"
        assert batches.one(session, second).name == "ratings of sup1, 2"
        assert batches.one(session, second).for_kind is None
        assert batches.put_up_ratings(session, boss, policy.id, 100, 1, with_simulated=False)[1] == 2
        with pytest.raises(Conflict, match="no summary that was not put up"):
            batches.put_up_ratings(session, boss, policy.id, 1, 1, with_simulated=False)
        assert make.judge_all(session, other) == 3 + 5 + 2


def test_opinions_on_ratings_are_raised_and_lowered_too(work: Work) -> None:
    with work() as session:
        rated = make.to_rate(session, 3)
        worker = make.labeler(session)
        make.rate(session, worker, make.hold(session, worker)[0])
        assert _change(session, rated.batch_id, 3) == (6, 0)
        assert _change(session, rated.batch_id, 1) == (0, 6)
        assert batches.one(session, rated.batch_id).open == 2


def test_what_cannot_be_rated_is_refused(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        make.summary(session, make.document(session).id, policy="sup1")
        policy = corpus.policies_by_name(session, the_project(session).id, ["sup1"])["sup1"]
        too_many = (10_000, 6, "opinions")
        for documents, opinions, field in ((0, 1, "documents"), (10_001, 1, "documents"), (1, 0, "opinions"), too_many):
            with pytest.raises(Invalid) as refusal:
                batches.put_up_ratings(session, boss, policy.id, documents, opinions, with_simulated=False)
            assert refusal.value.field == field
        with pytest.raises(Invalid, match="no such policy"):
            batches.put_up_ratings(session, boss, 10**9, 1, 1, with_simulated=False)
        rated = make.to_rate(session)
        with pytest.raises(Conflict, match="beside their document"):
            batches.set_protocol(session, boss, rated.batch_id, notes_first=True, gold_share=0)


# How a batch is judged


def test_notes_first_holds_from_the_next_pair_on(work: Work) -> None:
    with work() as session:
        boss, worker = make.admin(session), make.labeler(session)
        pairs = make.pairs(session, 3)
        [before] = make.hold(session, worker)
        batches.set_protocol(session, boss, pairs.batch_id, notes_first=True, gold_share=0.1)
        held = judging.leases(session, worker, 2, make.LEASE, make.PAGE).leases
        assert [(lease.showing_id == before, lease.notes_first, lease.post is None) for lease in held] == [
            (True, False, False),
            (False, True, True),
        ]
        assert batches.one(session, pairs.batch_id).protocol == Protocol(notes_first=True, gold_share=0.1)


# Lists


def test_batches_come_in_pages(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAGE", 3)
    with work() as session:
        ids = [make.pairs(session, number % 2).batch_id for number in range(8)][::-1]

        def page(before: int | None) -> tuple[list[int], int | None, int | None]:
            found = batches.listed(session, before)
            return [each.id for each in found.batches], found.newer, found.older

        assert page(None) == (ids[:3], None, ids[2])
        assert page(ids[2]) == (ids[3:6], 0, ids[5])
        assert page(ids[5]) == (ids[6:], ids[2], None)
        assert page(ids[2])[0] == ids[3:6]
        assert page(1)[0] == []
