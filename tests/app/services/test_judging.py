"""A labeler's desk, one request after the other: what they hold, what they answer, what they pass on."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.words import LabelerKind, Role, SkipReason, SlotState
from app.services import judging, people
from app.services.people import Viewer
from app.store import batches, queueing
from app.store import people as accounts
from app.store.session import Session
from app.store.tables import Batch, Comparison, Document, Preference, Showing, Skip, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make

OPEN, LEASED, DONE, VOID = SlotState.OPEN, SlotState.LEASED, SlotState.DONE, SlotState.VOID


def test_an_answer_fills_its_slot(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        saved = make.say(session, worker, showing)
    with work() as session:
        [answer] = make.answers(session, pairs.comparisons[0])
        [slot] = make.slots(session, pairs.comparisons[0])
        assert saved == judging.Saved(1, False)
        assert (answer.version, answer.surplus, answer.showing_id, answer.slot_id) == (1, False, showing, slot.id)
        assert (slot.state, slot.labeler_id, slot.showing_id) == (DONE, worker.id, showing)
        assert make.hold(session, worker) == []


def test_two_tabs_hold_the_same_list(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 5)
        first = make.hold(session, worker, 3)
        second = make.hold(session, worker, 3)
        assert first == second
        assert len(first) == 3


def test_a_shorter_wish_takes_nothing_back(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 5)
        held = make.hold(session, worker, 3)
        assert make.hold(session, worker, 1) == held


def test_what_is_answered_makes_room_at_the_end_of_the_list(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 5)
        held = make.hold(session, worker, 2)
    with work() as session:
        make.say(session, worker, held[0])
        after = make.hold(session, worker, 2)
    assert after[0] == held[1]
    assert after[1] not in held


@pytest.mark.parametrize("ahead", [0, -1, judging.MOST_AHEAD + 1])
def test_nobody_holds_more_than_the_page_needs(work: Work, ahead: int) -> None:
    with work() as session, pytest.raises(Invalid):
        make.hold(session, make.labeler(session), ahead)


def test_a_labeler_is_never_given_the_second_slot_of_a_comparison(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, 1, opinions=2)
        [showing] = make.hold(session, worker, 3)
        make.say(session, worker, showing)
        assert make.hold(session, worker, 3) == []
        [second] = make.hold(session, other, 3)
        make.say(session, other, second)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE, DONE]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.RESEARCHER])
def test_who_may_see_policies_judges_nothing(work: Work, role: Role) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 2)
        [showing] = make.hold(session, worker)
        seer = make.labeler(session, role=role)
        with pytest.raises(NotAllowed):
            make.hold(session, seer)
        with pytest.raises(NotAllowed):
            make.say(session, seer, showing)
        with pytest.raises(NotAllowed):
            judging.skip(session, seer, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        with pytest.raises(NotAllowed):
            judging.extend(session, seer, [showing], make.LEASE)


def test_somebody_elses_showing_is_not_there(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        with pytest.raises(NotFound):
            make.say(session, other, showing)
        with pytest.raises(NotFound):
            judging.skip(session, other, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        with pytest.raises(NotFound):
            make.say(session, worker, uuid4())
        assert judging.extend(session, other, [showing], make.LEASE) is None


@pytest.mark.parametrize("value", [0, 10, -1])
def test_values_off_the_scale_are_refused(work: Work, value: int) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        with pytest.raises(Invalid):
            make.say(session, worker, showing, value)


# Who is given what


def test_slots_for_people_and_for_simulated_labelers_stay_apart(work: Work) -> None:
    with work() as session:
        human = make.labeler(session)
        robot = make.labeler(session, kind=LabelerKind.SIMULATED)
        for_humans = make.pairs(session, for_kind=LabelerKind.HUMAN)
        for_robots = make.pairs(session, for_kind=LabelerKind.SIMULATED)
        [to_human] = make.hold(session, human, 3)
        [to_robot] = make.hold(session, robot, 3)
        assert make.slot_of(session, to_human).comparison_id == for_humans.comparisons[0]
        assert make.slot_of(session, to_robot).comparison_id == for_robots.comparisons[0]


def test_a_paused_batch_gives_nothing_out_and_still_takes_answers(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, 2)
        [showing] = make.hold(session, worker)
        batches.set_batch_paused(session, pairs.batch_id, True)
        assert make.hold(session, other) == []
        assert make.say(session, worker, showing) == judging.Saved(1, False)
        batches.set_batch_paused(session, pairs.batch_id, False)
        assert len(make.hold(session, other)) == 1


def test_an_assigned_batch_is_for_the_people_named(work: Work) -> None:
    with work() as session:
        named, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session)
        accounts.assign_batch(session, pairs.batch_id, [named.id])
        assert make.hold(session, other) == []
        accounts.assign_batch(session, pairs.batch_id, [])
        assert len(make.hold(session, other)) == 1


def test_a_slot_for_one_labeler_is_given_to_nobody_else(work: Work) -> None:
    with work() as session:
        named, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session)
        session.execute(update(Slot).values(for_labeler_id=named.id))
        assert make.hold(session, other) == []
        [showing] = make.hold(session, named)
        assert make.slot_of(session, showing).comparison_id == pairs.comparisons[0]


def test_more_urgent_batches_come_first_also_when_they_become_urgent(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        plain, urgent, later = make.pairs(session), make.pairs(session, priority=5), make.pairs(session)
        batches.set_batch_priority(session, later.batch_id, 9)
        held = make.hold(session, worker, 3)
        assert [make.slot_of(session, showing).batch_id for showing in held] == [
            later.batch_id,
            urgent.batch_id,
            plain.batch_id,
        ]


def test_what_came_back_is_given_after_the_rest(work: Work) -> None:
    with work() as session:
        slow, worker = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, 4)
        [lost] = make.hold(session, slow)
        make.hold(session, worker)
        make.run_out(session, lost)
        held = make.hold(session, worker, 4)
        order = [make.slot_of(session, showing).comparison_id for showing in held]
        assert order == [pairs.comparisons[place] for place in (1, 2, 3, 0)]


def test_what_came_back_to_who_has_found_nothing_is_found_a_minute_later(work: Work) -> None:
    with work() as session:
        slow, worker = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, 2)
        [lost] = make.hold(session, slow)
        [passed_on] = make.hold(session, worker)
        _skip(session, worker, passed_on)
        assert make.hold(session, worker) == []
        make.run_out(session, lost)
        assert make.hold(session, worker) == []
        make.search_again(session)
        [found] = make.hold(session, worker)
        assert make.slot_of(session, found).comparison_id == pairs.comparisons[0]


def test_what_is_new_is_found_at_once_by_who_has_found_nothing(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session, opinions=2)
        make.judge_all(session, worker)
        assert make.hold(session, worker) == []
        first = session.get_one(Comparison, pairs.comparisons[0])
        about = make.reference_document(session)
        row = {"document_id": about.id, "first_summary_id": make.summary(session, about.id), "reason": first.reason}
        row["second_summary_id"] = make.summary(session, about.id, policy="other")
        batches.add_comparisons(session, pairs.batch_id, [row])
        [showing] = make.hold(session, worker)
        assert make.slot_of(session, showing).comparison_id not in pairs.comparisons


def test_another_batch_is_gone_on_with_where_it_was_left(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        plain = make.pairs(session, 3)
        [first] = make.hold(session, worker)
        urgent = make.pairs(session, 1, priority=5)
        held = make.hold(session, worker, 4)
        order = [make.slot_of(session, showing).comparison_id for showing in held]
        assert held[0] == first
        assert order == [plain.comparisons[0], *urgent.comparisons, *plain.comparisons[1:]]


# Sides


def _shown(session: Session, comparison: Comparison, *, swapped: bool) -> tuple[str, str]:
    ids = (comparison.first_summary_id, comparison.second_summary_id)
    first, second = (session.get_one(Summary, one).text for one in (reversed(ids) if swapped else ids))
    return first, second


def test_texts_come_in_the_order_that_was_recorded(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 20)
        seen = set()
        while leases := judging.leases(session, worker, 3, make.LEASE, make.PAGE).leases:
            for lease in leases:
                showing = session.get_one(Showing, lease.showing_id)
                comparison = session.get_one(Comparison, make.slot_of(session, lease.showing_id).comparison_id)
                document = session.get_one(Document, comparison.document_id)
                assert lease.texts == _shown(session, comparison, swapped=showing.swapped)
                assert (lease.title, lease.post, lease.community) == (document.title, document.post, document.community)
                assert showing.page_version == make.PAGE
                seen.add(showing.swapped)
                make.say(session, worker, lease.showing_id)
        assert seen == {True, False}


@pytest.mark.parametrize(("swapped", "stored"), [(False, 2), (True, 8)])
def test_an_answer_is_stored_in_the_comparisons_own_frame(work: Work, swapped: bool, stored: int) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        session.execute(update(Showing).where(Showing.id == showing).values(swapped=swapped))
        session.expire_all()
        make.say(session, worker, showing, 2)
        [answer] = make.answers(session, pairs.comparisons[0])
        assert answer.value == stored


def test_every_showing_draws_its_sides_anew(work: Work) -> None:
    with work() as session:
        make.pairs(session)
        drawn = set()
        for _ in range(20):
            [showing] = make.hold(session, make.labeler(session))
            drawn.add(session.get_one(Showing, showing).swapped)
            make.come_back(session)
        assert drawn == {True, False}


def test_ids_that_labelers_see_are_random(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 3)
        assert {showing.version for showing in make.hold(session, worker, 3)} == {4}


# Repeats, edits and late answers


def test_a_repeat_of_the_same_request_gives_the_first_result(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        first = make.say(session, worker, showing, 2, key)
    with work() as session:
        assert make.say(session, worker, showing, 9, key) == first
        [answer] = make.answers(session, pairs.comparisons[0])
        assert answer.value in (2, 8)


def test_a_repeat_after_an_edit_still_gives_the_first_result(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing, 2, key)
        make.say(session, worker, showing, 3)
        assert make.say(session, worker, showing, 2, key) == judging.Saved(1, False)
        assert len(make.answers(session, pairs.comparisons[0])) == 2


def test_a_key_that_was_used_for_another_pair_is_refused(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 2)
        one, two = make.hold(session, worker, 2)
        make.say(session, worker, one, 2, key)
        with pytest.raises(Conflict):
            make.say(session, worker, two, 2, key)


def test_an_edit_is_a_new_version_and_the_slot_stays_done(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session)
        [showing] = make.hold(session, worker)
        session.execute(update(Showing).values(swapped=False))
        session.expire_all()
        make.say(session, worker, showing, 2)
    with work() as session:
        assert make.say(session, worker, showing, 9) == judging.Saved(2, False)
    with work() as session:
        assert [(row.version, row.value) for row in make.answers(session, pairs.comparisons[0])] == [(1, 2), (2, 9)]
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]
        assert make.hold(session, other) == []


def test_a_late_answer_counts_while_nobody_has_taken_the_slot(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        make.run_out(session)
    with work() as session:
        assert queueing.release_expired(session) == [make.slot_of(session, showing).id]
    with work() as session:
        assert make.say(session, worker, showing) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]


def test_a_late_answer_counts_when_the_lease_ran_out_and_nobody_looked(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        make.run_out(session)
        assert make.say(session, worker, showing) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]


def test_a_late_answer_to_a_slot_that_another_filled_is_kept_as_surplus(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        make.say(session, quick, new, 3)
    with work() as session:
        assert make.say(session, late, old, 7) == judging.Saved(1, True)
    with work() as session:
        assert [row.surplus for row in make.answers(session, pairs.comparisons[0])] == [False, True]
        [slot] = make.slots(session, pairs.comparisons[0])
        assert (slot.state, slot.labeler_id) == (DONE, quick.id)


def test_a_late_answer_takes_no_lease_away_from_another(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        assert make.say(session, late, old).surplus
        assert not make.say(session, quick, new).surplus
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]


def test_an_edit_of_a_surplus_answer_stays_surplus_while_the_slot_is_taken(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        make.say(session, quick, new)
        make.say(session, late, old)
        assert make.say(session, late, old, 9) == judging.Saved(2, True)


def test_the_first_showing_answers_the_slot_that_the_same_labeler_holds_anew(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [old] = make.hold(session, worker)
        make.come_back(session)
        [new] = make.hold(session, worker)
        assert new != old
        assert make.say(session, worker, old) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]
        assert make.hold(session, worker) == []
        assert make.say(session, worker, new, 9) == judging.Saved(2, False)


def test_the_first_showing_fills_the_other_slot_that_the_same_labeler_holds(work: Work) -> None:
    # With two labelers and two slots, a surplus answer here would leave the second slot to nobody for ever.
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [old] = make.hold(session, late)
        make.run_out(session)
        [quicks] = make.hold(session, quick)
        [new] = make.hold(session, late)
        assert make.slot_of(session, old).id == make.slot_of(session, quicks).id != make.slot_of(session, new).id
        assert make.say(session, late, old) == judging.Saved(1, False)
        assert make.hold(session, late) == []
        assert make.say(session, quick, quicks) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE, DONE]
        assert make.say(session, late, new, 9) == judging.Saved(2, False)


def test_a_late_answer_fills_a_slot_of_the_comparison_that_is_still_open(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [old] = make.hold(session, late)
        make.run_out(session)
        [quicks] = make.hold(session, quick)
        assert make.say(session, late, old) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [LEASED, DONE]
        assert make.say(session, quick, quicks) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE, DONE]


def test_a_late_answer_fills_no_slot_that_is_kept_for_somebody_else(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        other = make.labeler(session)
        session.execute(update(Slot).where(Slot.number == 2).values(for_labeler_id=other.id))
        [old] = make.hold(session, late)
        make.run_out(session)
        make.hold(session, quick)
        assert make.say(session, late, old) == judging.Saved(1, True)
        assert make.slot_states(session, pairs.comparisons[0]) == [LEASED, OPEN]


def test_an_answer_to_a_void_slot_is_kept_as_surplus(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        assert batches.void_unfinished(session, [pairs.batch_id]) == 1
        assert make.hold(session, worker) == []
        assert make.say(session, worker, showing) == judging.Saved(1, True)
        assert make.slot_states(session, pairs.comparisons[0]) == [VOID]


def _for(session: Session, pairs: make.Pairs, kind: LabelerKind) -> None:
    """A round adopts the batch, for this kind of labeler."""
    session.execute(update(Batch).where(Batch.id == pairs.batch_id).values(for_kind=kind))


def test_an_answer_fills_no_slot_that_asks_for_another_kind_of_labeler(work: Work) -> None:
    with work() as session:
        robot, late = (make.labeler(session, kind=LabelerKind.SIMULATED) for _ in range(2))
        person = make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [comparison] = pairs.comparisons
        [old] = make.hold(session, late)
        make.come_back(session)
        [held] = make.hold(session, robot)
        _for(session, pairs, LabelerKind.HUMAN)
        assert make.say(session, robot, held) == judging.Saved(1, True)
        assert make.say(session, late, old) == judging.Saved(1, True)
        assert make.slot_states(session, comparison) == [OPEN, OPEN]
        judging.count_waiting(session)
        [shown] = make.hold(session, person)
        _skip(session, person, shown)
        assert make.slot_states(session, comparison) == [OPEN, OPEN]
        _for(session, pairs, LabelerKind.SIMULATED)
        judging.count_waiting(session)
        assert make.slot_states(session, comparison) == [DONE, DONE]


def _skip(session: Session, viewer: Viewer, showing: UUID) -> None:
    judging.skip(session, viewer, showing_id=showing, reason=SkipReason.OTHER, comment=None)


@dataclass
class _Crossed:
    """`late` answered after `quick` had been given the slot: their answer waits as surplus."""

    late: Viewer
    old: UUID
    key: UUID
    quick: Viewer
    new: UUID
    comparison: int


def _crossed(session: Session, opinions: int = 1) -> _Crossed:
    late, quick, key = make.labeler(session), make.labeler(session), uuid4()
    pairs = make.pairs(session, opinions=opinions)
    [old] = make.hold(session, late)
    make.run_out(session)
    [new] = make.hold(session, quick)
    for _ in range(opinions - 1):
        make.hold(session, make.labeler(session))
    assert make.say(session, late, old, 9, key) == judging.Saved(1, True)
    return _Crossed(late, old, key, quick, new, pairs.comparisons[0])


def test_a_surplus_answer_fills_the_slot_that_is_passed_on(work: Work) -> None:
    with work() as session:
        found = _crossed(session)
        _skip(session, found.quick, found.new)
    with work() as session:
        first, second = make.answers(session, found.comparison)
        [slot] = make.slots(session, found.comparison)
        assert (slot.state, slot.labeler_id, slot.showing_id) == (DONE, found.late.id, found.old)
        assert (second.version, second.surplus, second.labeler_id) == (2, False, found.late.id)
        same = ("value", "explanation", "seconds", "steps", "showing_id", "created_at")
        assert [getattr(second, name) for name in same] == [getattr(first, name) for name in same]
        assert second.key != first.key
        assert judging.progress(session, found.late) == judging.Progress(1, 1)
        # A repeat of the request still gives the first result; a change is the next version and counts.
        assert make.say(session, found.late, found.old, 9, found.key) == judging.Saved(1, True)
        assert make.say(session, found.late, found.old, 3) == judging.Saved(3, False)
        assert make.say(session, found.quick, found.new) == judging.Saved(1, True)


def test_a_surplus_answer_fills_the_slot_whose_lease_ran_out(work: Work) -> None:
    with work() as session:
        found = _crossed(session)
        make.run_out(session)
        assert make.hold(session, make.labeler(session)) == []
        assert make.slot_states(session, found.comparison) == [DONE]


def test_the_newest_version_of_a_surplus_answer_fills_the_slot(work: Work) -> None:
    with work() as session:
        found = _crossed(session)
        assert make.say(session, found.late, found.old, 3) == judging.Saved(2, True)
        _skip(session, found.quick, found.new)
        versions = make.answers(session, found.comparison)
        assert [row.version for row in versions] == [1, 2, 3]
        assert versions[2].value == versions[1].value != versions[0].value


def test_the_oldest_surplus_answer_fills_the_slot_and_only_one_does(work: Work) -> None:
    with work() as session:
        one, two, quick = (make.labeler(session) for _ in range(3))
        pairs = make.pairs(session)
        showings = []
        for who in (one, two):
            showings += make.hold(session, who)
            make.run_out(session)
        [new] = make.hold(session, quick)
        for who, showing in zip((two, one), reversed(showings), strict=True):
            make.say(session, who, showing)
        _skip(session, quick, new)
        [slot] = make.slots(session, pairs.comparisons[0])
        assert (slot.state, slot.labeler_id) == (DONE, two.id)
        assert len(make.answers(session, pairs.comparisons[0])) == 3


def test_an_answer_that_counts_fills_no_second_slot(work: Work) -> None:
    with work() as session:
        found = _crossed(session, opinions=2)
        _skip(session, found.quick, found.new)
        assert make.slot_states(session, found.comparison) == [DONE, LEASED]
        make.run_out(session)
        assert len(make.hold(session, make.labeler(session))) == 1
        assert len(make.answers(session, found.comparison)) == 2


def test_a_surplus_answer_fills_no_slot_that_is_kept_for_somebody_else(work: Work) -> None:
    with work() as session:
        found, other = _crossed(session), make.labeler(session)
        kept = Slot(batch_id=make.slot_of(session, found.new).batch_id, comparison_id=found.comparison, number=2)
        kept.for_labeler_id = other.id
        session.add(kept)
        session.flush()
        judging.count_surplus(session, [kept.id])
        assert make.slot_states(session, found.comparison) == [LEASED, OPEN]


def test_a_labeler_whose_answer_is_surplus_is_not_asked_again(work: Work) -> None:
    with work() as session:
        found = _crossed(session)
        people.deactivate(session, make.admin(session), found.quick.id)
        assert make.slot_states(session, found.comparison) == [OPEN]
        assert make.hold(session, found.late, 3) == []
        assert make.slot_states(session, found.comparison) == [DONE], "their answer is counted instead"
        assert make.say(session, found.late, found.old, 3) == judging.Saved(3, False)


def test_an_answer_that_waits_is_counted_whoever_looks(work: Work) -> None:
    with work() as session:
        found, rated = _crossed(session), make.to_rate(session)
        [old] = make.hold(session, found.late)
        make.run_out(session, old)
        third = make.labeler(session)
        [held] = make.hold(session, third)
        make.rate(session, found.late, old)
        for leaves in (found.quick, third):
            people.deactivate(session, make.admin(session), leaves.id)
        assert (make.slot_states(session, found.comparison), make.slot_of(session, held).state) == ([OPEN], OPEN)
        judging.count_waiting(session)
        assert (make.slot_states(session, found.comparison), make.slot_of(session, held).state) == ([DONE], DONE)
        assert len(rated.comparisons) == 1
        judging.count_waiting(session)
        assert len(make.answers(session, found.comparison)) == 2


def test_an_answer_to_a_slot_that_is_free_again_gives_back_the_other_one_of_the_pair(work: Work) -> None:
    with work() as session:
        late, quick, third = make.labeler(session), make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        [other] = make.hold(session, late)
        judging.skip(session, quick, showing_id=new, reason=SkipReason.OTHER, comment=None)
        assert make.slot_states(session, pairs.comparisons[0]) == [OPEN, LEASED]
        assert make.say(session, late, old) == judging.Saved(1, False)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE, OPEN]
        assert make.hold(session, late) == []
        assert len(make.hold(session, third)) == 1
        assert make.say(session, late, other, 9) == judging.Saved(2, False)


# Texts and times from a browser


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("  because  ", "because"), ("   ", None), ("", None), ("a\0b", "ab"), ("half \ud83d a sign", "half ? a sign")],
)
def test_an_odd_explanation_never_costs_the_answer(work: Work, typed: str, kept: str | None) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        judging.answer(session, worker, showing_id=showing, key=uuid4(), value=2, explanation=typed, seconds=1)
        [answer] = make.answers(session, pairs.comparisons[0])
        assert answer.explanation == kept


@pytest.mark.parametrize("seconds", [-3.0, float("nan"), float("inf"), 1e300])
def test_an_impossible_time_never_costs_the_answer(work: Work, seconds: float) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        judging.answer(session, worker, showing_id=showing, key=uuid4(), value=2, explanation=None, seconds=seconds)
        [answer] = make.answers(session, pairs.comparisons[0])
        assert answer.seconds is None


def test_a_time_on_the_pair_is_kept(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        judging.answer(session, worker, showing_id=showing, key=uuid4(), value=2, explanation=None, seconds=12.5)
        assert [row.seconds for row in make.answers(session, pairs.comparisons[0])] == [12.5]


# Leases


def test_leases_run_out_by_the_databases_clock(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        lasts = session.scalar(
            select(Slot.lease_expires_at - func.now()).where(Slot.id == make.slot_of(session, showing).id)
        )
        assert lasts == make.LEASE
        assert make.hold(session, other) == []
        make.run_out(session, showing)
        assert len(make.hold(session, other)) == 1


def test_what_ran_out_during_a_break_is_there_in_the_same_order_unless_somebody_asked_for_pairs(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, 4)
        held = make.hold(session, worker, 3)
        make.run_out(session)
        assert make.hold(session, worker, 3) == held
        make.run_out(session, held[0])
        [taken] = make.hold(session, other)
        assert make.slot_of(session, taken).id == make.slot_of(session, held[0]).id
        assert make.hold(session, worker, 2) == held[1:]


def test_a_heartbeat_keeps_what_is_still_held(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, 2)
        one, two = make.hold(session, worker, 2)
        make.run_out(session, one)
        [taken] = make.hold(session, other)
        assert make.slot_of(session, taken).id == make.slot_of(session, one).id
        make.run_out(session, two)
        until = judging.extend(session, worker, [one, two], timedelta(hours=1))
        assert until == session.scalar(select(func.now() + timedelta(hours=1)))
        assert make.slot_of(session, two).lease_expires_at == until
        assert make.slot_of(session, taken).labeler_id == other.id


def test_a_heartbeat_for_leases_that_are_gone_says_so(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing)
        assert judging.extend(session, worker, [showing], make.LEASE) is None
        assert judging.extend(session, worker, [], make.LEASE) is None


# Skips


def test_a_skipped_pair_goes_to_others_and_not_back_to_this_labeler(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [showing] = make.hold(session, worker)
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.UNREADABLE, comment="  torn  ")
        assert make.hold(session, worker, 3) == []
        assert len(make.hold(session, other, 3)) == 1
        [skip] = session.scalars(select(Skip))
        assert (skip.labeler_id, skip.comparison_id, skip.reason, skip.comment) == (
            worker.id,
            pairs.comparisons[0],
            SkipReason.UNREADABLE,
            "torn",
        )


def test_skipping_twice_is_one_skip(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        for _ in range(2):
            judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert session.scalar(select(func.count()).select_from(Skip)) == 1


def test_a_skip_by_an_old_showing_leaves_the_slot_to_who_has_it_now(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session)
        [old] = make.hold(session, worker)
        make.run_out(session)
        [new] = make.hold(session, other)
        judging.skip(session, worker, showing_id=old, reason=SkipReason.OTHER, comment=None)
        slot = make.slot_of(session, new)
        assert (slot.state, slot.labeler_id, slot.showing_id) == (LEASED, other.id, new)


def test_a_skip_by_an_old_showing_gives_back_what_the_labeler_holds_of_the_same_pair(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        [old] = make.hold(session, worker)
        make.run_out(session)
        make.hold(session, worker)
        judging.skip(session, worker, showing_id=old, reason=SkipReason.OTHER, comment=None)
        assert make.hold(session, worker) == []


def test_a_skip_by_an_old_showing_gives_back_the_other_slot_of_the_same_pair(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [old] = make.hold(session, worker)
        make.run_out(session)
        make.hold(session, other)
        make.hold(session, worker)
        assert make.slot_states(session, pairs.comparisons[0]) == [LEASED, LEASED]
        judging.skip(session, worker, showing_id=old, reason=SkipReason.OTHER, comment=None)
        assert make.slot_states(session, pairs.comparisons[0]) == [LEASED, OPEN]
        assert make.hold(session, worker) == []


def test_a_skip_after_the_answer_changes_nothing(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing)
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert make.slot_states(session, pairs.comparisons[0]) == [DONE]
        assert len(make.answers(session, pairs.comparisons[0])) == 1


def test_an_odd_comment_never_costs_the_skip(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        [showing] = make.hold(session, worker)
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment="a\0b\ud83d")
        assert session.scalar(select(Skip.comment)) == "ab?"


# Progress


def test_progress_counts_comparisons_not_versions(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, 3)
        one, _ = make.hold(session, worker, 2)
        make.say(session, worker, one, 2)
        make.say(session, worker, one, 3)
        assert judging.progress(session, worker) == judging.Progress(1, 1)
        assert judging.progress(session, other) == judging.Progress(0, 0)


def test_nothing_here_is_changed_or_lost_by_asking(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 2)
        make.hold(session, worker, 2)
        before = make.hold(session, worker, 2)
        judging.progress(session, worker)
        assert make.hold(session, worker, 2) == before
        assert session.scalar(select(func.count()).select_from(Preference)) == 0
