"""Exactly as many opinions as asked, with many hands at once on a real database."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text

from app.domain.errors import Conflict
from app.domain.words import SkipReason, SlotState
from app.services import judging
from app.services.judging import Saved
from app.services.people import Viewer
from app.store import queueing
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import Preference, Slot
from tests.support import factories as make
from tests.support.waiting import until_somebody_waits

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16


def _in(sessions: Sessions, action: Callable[Concatenate[Session, P], T], *args: P.args, **named: P.kwargs) -> T:
    """What one request does: a unit of work of its own."""
    with unit_of_work(sessions, lambda job: None) as session:
        return action(session, *args, **named)


def _at_once(count: int, action: Callable[[int], T]) -> list[T]:
    """Run the action in `count` threads that are let go together."""
    barrier = Barrier(count)

    def go(number: int) -> T:
        barrier.wait(timeout=30)
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(go, range(count)))


def _people(session: Session, count: int) -> list[Viewer]:
    return [make.labeler(session) for _ in range(count)]


def test_many_labelers_at_once_give_exactly_the_opinions_asked_for(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 40, opinions=2)
    labelers = _in(own_sessions, _people, THREADS)

    def judge(number: int) -> int:
        given = 0
        while held := _in(own_sessions, make.hold, labelers[number]):
            for showing in held:
                assert not _in(own_sessions, make.say, labelers[number], showing).surplus
                given += 1
        return given

    assert sum(_at_once(THREADS, judge)) == 80
    with own_sessions() as session:
        for comparison in pairs.comparisons:
            assert make.slot_states(session, comparison) == [SlotState.DONE, SlotState.DONE]
            answers = make.answers(session, comparison)
            assert len(answers) == len({answer.labeler_id for answer in answers}) == 2
            assert {answer.slot_id for answer in answers} == {slot.id for slot in make.slots(session, comparison)}


def test_the_last_slot_has_one_winner(own_sessions: Sessions) -> None:
    labelers = _in(own_sessions, _people, THREADS)
    for _ in range(3):
        pairs = _in(own_sessions, make.pairs)
        held = _at_once(THREADS, lambda number: _in(own_sessions, make.hold, labelers[number]))
        [(winner, showing)] = [(who, one) for who, ones in zip(labelers, held, strict=True) for one in ones]
        _in(own_sessions, make.say, winner, showing)
        assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.DONE]


def test_many_tabs_of_one_labeler_hold_the_same_list(own_sessions: Sessions) -> None:
    worker = _in(own_sessions, make.labeler)
    _in(own_sessions, make.pairs, 20, opinions=3)
    lists = _at_once(8, lambda _: _in(own_sessions, make.hold, worker, 3))
    assert lists == [lists[0]] * 8
    assert len(lists[0]) == 3


def test_one_request_sent_many_times_at_once_is_one_answer(own_sessions: Sessions) -> None:
    worker = _in(own_sessions, make.labeler)
    pairs = _in(own_sessions, make.pairs)
    [showing] = _in(own_sessions, make.hold, worker)
    key = uuid4()
    saved = _at_once(8, lambda _: _in(own_sessions, make.say, worker, showing, 2, key))
    assert len(set(saved)) == 1
    with own_sessions() as session:
        assert len(make.answers(session, pairs.comparisons[0])) == 1


def test_a_key_that_two_labelers_use_at_once_is_one_of_thems(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    one, two = _in(own_sessions, _people, 2)
    [first], [second] = _in(own_sessions, make.hold, one), _in(own_sessions, make.hold, two)
    key = uuid4()
    with own_sessions() as session, ThreadPoolExecutor(1) as pool:
        make.say(session, one, first, 2, key)
        other = pool.submit(_in, own_sessions, make.say, two, second, 2, key)
        with own_sessions() as watching:
            until_somebody_waits(watching)
        session.commit()
        with pytest.raises(Conflict, match="used for another pair"):
            other.result(timeout=30)
    assert sorted(_in(own_sessions, make.slot_states, pairs.comparisons[0])) == [SlotState.DONE, SlotState.LEASED]


def test_who_answers_and_asks_for_more_waits_for_no_slot_that_others_work_on(own_sessions: Sessions) -> None:
    """The answer's slot is locked already: to wait for another one is a deadlock with whoever has both to change."""
    _in(own_sessions, make.pairs, 4)
    worker = _in(own_sessions, make.labeler)
    first, second, third = _in(own_sessions, make.hold, worker, 3)
    _in(own_sessions, make.run_out)
    with own_sessions() as busy:
        busy.execute(select(Slot).where(Slot.showing_id == second).with_for_update())
        with own_sessions() as session:
            session.execute(text("set local lock_timeout = '2s'"))
            make.say(session, worker, first)
            held = make.hold(session, worker, 3)
            session.commit()
    assert third in held and first not in held


def test_edits_at_once_are_one_version_each(own_sessions: Sessions) -> None:
    worker = _in(own_sessions, make.labeler)
    pairs = _in(own_sessions, make.pairs)
    [showing] = _in(own_sessions, make.hold, worker)
    saved = _at_once(8, lambda number: _in(own_sessions, make.say, worker, showing, number + 1))
    assert sorted(one.version for one in saved) == list(range(1, 9))
    with own_sessions() as session:
        assert [answer.version for answer in make.answers(session, pairs.comparisons[0])] == list(range(1, 9))
        assert make.slot_states(session, pairs.comparisons[0]) == [SlotState.DONE]


def test_late_answers_at_once_fill_a_slot_once_and_the_rest_is_kept(own_sessions: Sessions) -> None:
    labelers = _in(own_sessions, _people, 8)
    pairs = _in(own_sessions, make.pairs)
    showings: list[UUID] = []
    for labeler in labelers:
        showings += _in(own_sessions, make.hold, labeler)
        _in(own_sessions, make.run_out)
    assert len(showings) == 8
    saved = _at_once(8, lambda number: _in(own_sessions, make.say, labelers[number], showings[number]))
    assert Counter(one.surplus for one in saved) == {False: 1, True: 7}
    with own_sessions() as session:
        assert len(make.answers(session, pairs.comparisons[0])) == 8
        assert make.slot_states(session, pairs.comparisons[0]) == [SlotState.DONE]


def test_nothing_is_double_when_leases_run_out_all_the_time(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 12, opinions=2)
    labelers = _in(own_sessions, _people, 8)

    def judge(number: int) -> list[UUID]:
        keys = []
        while held := _in(own_sessions, make.hold, labelers[number], 2):
            for showing in held:
                if number % 2:
                    _in(own_sessions, make.run_out, showing)
                keys.append(uuid4())
                _in(own_sessions, make.say, labelers[number], showing, 3, keys[-1])
        return keys

    acknowledged = [key for keys in _at_once(8, judge) for key in keys]
    with own_sessions() as session:
        # A later version is a surplus answer that filled a slot which came back: it says the same, by a key of its own.
        first = select(Preference.key).where(Preference.version == 1)
        assert sorted(session.scalars(first)) == sorted(acknowledged)
        each = (Preference.labeler_id, Preference.comparison_id)
        assert {*session.scalars(select(func.count(Preference.value.distinct())).group_by(*each))} == {1}
        for comparison in pairs.comparisons:
            assert make.slot_states(session, comparison) == [SlotState.DONE, SlotState.DONE]
            counted = [answer for answer in make.answers(session, comparison) if not answer.surplus]
            assert len(counted) == len({answer.labeler_id for answer in counted}) == 2


def test_a_late_answer_waits_for_nobody_who_is_just_given_a_slot_and_is_counted_when_they_are_not(
    own_sessions: Sessions,
) -> None:
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    late, quick, third = _in(own_sessions, _people, 3)
    [old] = _in(own_sessions, make.hold, late)
    _in(own_sessions, make.run_out)
    _in(own_sessions, make.hold, quick)
    with own_sessions() as killed:
        assert len(make.hold(killed, third)) == 1
        assert _in(own_sessions, make.say, late, old) == Saved(1, True)
    _in(own_sessions, judging.count_waiting)
    assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.LEASED, SlotState.DONE]


def test_two_who_answer_late_while_a_third_works_on_what_both_were_shown_wait_for_nobody(
    own_sessions: Sessions,
) -> None:
    """Each once locked the slot that it was shown, which was not theirs any more, and then waited for the other's."""
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    one, two, third, fourth = _in(own_sessions, _people, 4)
    [first], [second] = _in(own_sessions, make.hold, one), _in(own_sessions, make.hold, two)
    with own_sessions() as busy, own_sessions() as other, ThreadPoolExecutor(2) as pool:
        # While both wait for their slots, the leases run out and two others are given them.
        make.run_out(busy)
        assert len(make.hold(busy, third)) == len(make.hold(busy, fourth)) == 1
        saved = [pool.submit(_in, own_sessions, make.say, who, shown) for who, shown in ((one, first), (two, second))]
        until_somebody_waits(other, how_many=2)
        busy.commit()
        assert [each.result(timeout=30) for each in saved] == [Saved(1, True)] * 2
    assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.LEASED] * 2


def test_two_who_answer_late_what_the_other_one_holds_do_not_wait_for_each_other(own_sessions: Sessions) -> None:
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    one, two = _in(own_sessions, _people, 2)
    [first], [second] = _in(own_sessions, make.hold, one), _in(own_sessions, make.hold, two)
    with own_sessions() as session:
        make.come_back(session)
        make.search_again(session)
        # The other way round: each now holds what the other one was shown.
        [again], _ = make.hold(session, two), make.hold(session, one)
        assert make.slot_of(session, again).id == make.slot_of(session, first).id
        session.commit()
    answers = [(one, first), (two, second)]
    meet = Barrier(2)

    def say(number: int) -> bool:
        who, showing = answers[number]
        with unit_of_work(own_sessions, lambda job: None) as session:
            queueing.lock_queue_of(session, who.id)
            meet.wait(timeout=30)
            return make.say(session, who, showing).surplus

    assert _at_once(2, say) == [False, False]
    assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.DONE, SlotState.DONE]


@pytest.mark.parametrize("somebody_asks", [False, True])
def test_an_answer_whose_labeler_was_busy_when_a_slot_came_back_is_counted_afterwards(
    own_sessions: Sessions, somebody_asks: bool
) -> None:
    pairs = _in(own_sessions, make.pairs, 1, opinions=2)
    late, quick, third = _in(own_sessions, _people, 3)
    [old] = _in(own_sessions, make.hold, late)
    _in(own_sessions, make.run_out)
    [held], [passed_on] = _in(own_sessions, make.hold, quick), _in(own_sessions, make.hold, third)
    assert _in(own_sessions, make.say, late, old).surplus
    with own_sessions() as busy:
        queueing.lock_queue_of(busy, late.id)  # they are given other pairs, say
        _in(own_sessions, judging.skip, third, showing_id=passed_on, reason=SkipReason.OTHER, comment=None)
    _in(own_sessions, make.say, quick, held)
    assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.DONE, SlotState.OPEN]
    if somebody_asks:
        assert _in(own_sessions, make.hold, quick) == []
    else:
        _in(own_sessions, judging.count_waiting)
    assert _in(own_sessions, make.slot_states, pairs.comparisons[0]) == [SlotState.DONE, SlotState.DONE]
