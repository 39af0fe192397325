"""What counts for training, statistics and export: the newest version of each answer that filled a slot."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from app.domain.words import BatchPurpose, LabelerKind, SkipReason, SlotState, Split
from app.services.judging import skip
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, batches, queueing, standing
from app.store.answers import Judged
from app.store.session import Session
from app.store.tables import Comparison, Preference, Showing, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make

STANDING = (BatchPurpose.GOLD, BatchPurpose.QUALIFICATION)


def _judged(session: Session, **asked: Any) -> list[Judged]:
    return list(answers.judged(session, the_project(session).id, **asked))


def _answer(session: Session, viewer: Viewer, value: int = 2) -> UUID:
    """Answer the next pair as shown in its own order; the showing."""
    [showing] = make.hold(session, viewer)
    session.execute(update(Showing).where(Showing.id == showing).values(swapped=False))
    session.expire_all()
    make.say(session, viewer, showing, value)
    return showing


def test_an_answer_is_given_with_what_it_is_about(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session, "Ada")
        pairs = make.pairs(session, name="a batch", split=Split.VALIDATION)
        _answer(session, worker, 3)
        [row] = _judged(session)
        comparison = session.get_one(Comparison, pairs.comparisons[0])
        assert (row.worker, row.worker_kind, row.batch, row.split) == ("Ada", "human", "a batch", Split.VALIDATION)
        assert (row.value, row.swapped, row.page_version, row.notes) == (3, False, make.PAGE, (None, None))
        assert row.document_id == comparison.document_id
        assert row.summary_ids == (comparison.first_summary_id, comparison.second_summary_id)
        assert row.texts == tuple(session.get_one(Summary, one).text for one in row.summary_ids)
        assert row.policies == ("ref", "other")


def test_only_the_newest_version_is_given(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        showing = _answer(session, worker, 2)
        make.say(session, worker, showing, 8)
        make.say(session, worker, showing, 7)
        assert [row.value for row in _judged(session)] == [7]


def test_surplus_answers_are_left_out_with_all_their_versions(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session, "late"), make.labeler(session, "quick")
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        _answer(session, quick)
        make.say(session, late, old)
        make.say(session, late, old, 9)
        assert [row.worker for row in _judged(session)] == ["quick"]


def test_a_surplus_answer_that_filled_a_slot_by_an_edit_counts_once(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session, "late"), make.labeler(session, "quick")
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        make.say(session, late, old)
        skip(session, quick, showing_id=new, reason=SkipReason.OTHER, comment=None)
        make.say(session, late, old, 9)
        assert [row.worker for row in _judged(session)] == ["late"]


def test_a_surplus_answer_that_fills_a_slot_passed_on_counts_once(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session, "late"), make.labeler(session, "quick")
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        make.say(session, late, old, 9)
        skip(session, quick, showing_id=new, reason=SkipReason.OTHER, comment=None)
        for asked in (False, True):
            assert [(row.worker, row.surplus) for row in _judged(session, surplus=asked)] == [("late", False)]


def test_surplus_answers_are_given_by_name(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session, "late"), make.labeler(session, "quick")
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        session.execute(update(Showing).values(swapped=False))
        session.expire_all()
        _answer(session, quick, 3)
        make.say(session, late, old, 8)
        make.say(session, late, old, 9)
        found = [(row.worker, row.value, row.surplus) for row in _judged(session, surplus=True)]
        assert found == [("quick", 3, False), ("late", 9, True)]


def test_answers_in_void_slots_are_never_given_and_late_ones_to_them_are_surplus(work: Work) -> None:
    with work() as session:
        early, late = make.labeler(session, "early"), make.labeler(session, "late")
        pairs = make.pairs(session, 2)
        _answer(session, early)
        [held] = make.hold(session, late)
        batches.void_unfinished(session, [pairs.batch_id])
        make.say(session, late, held)
        assert [row.worker for row in _judged(session)] == ["early"]
        assert [row.worker for row in _judged(session, surplus=True)] == ["early", "late"]
        session.execute(update(Slot).values(state=SlotState.VOID, lease_expires_at=None, done_at=None))
        assert _judged(session) == []
        assert [row.worker for row in _judged(session, surplus=True)] == ["late"]


def test_answers_on_gold_and_qualification_pairs_are_given_by_name(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        ordinary = make.pairs(session)
        make.judge_all(session, worker)
        pairs = {purpose: make.standing(session, purpose)[0] for purpose in STANDING}
        terms = queueing.Terms(worker.id, make.LEASE, make.PAGE)
        for comparison_id in pairs.values():
            slot_id = standing.address(session, comparison_id, worker.id)
            showing = None if slot_id is None else queueing.lease(session, terms, slot_id, None)
            assert showing is not None
            make.say(session, worker, showing)
        [row] = _judged(session)
        assert row.document_id == session.get_one(Comparison, ordinary.comparisons[0]).document_id
        for purpose, comparison_id in pairs.items():
            [row] = _judged(session, purposes=[purpose])
            assert row.summary_ids[0] == session.get_one(Comparison, comparison_id).first_summary_id
        assert len(_judged(session, purposes=list(BatchPurpose))) == 3


def test_simulated_labelers_are_left_out_unless_asked_for(work: Work) -> None:
    with work() as session:
        human = make.labeler(session, "human")
        robot = make.labeler(session, "robot", kind=LabelerKind.SIMULATED)
        make.pairs(session, opinions=2)
        _answer(session, human)
        _answer(session, robot)
        assert [row.worker for row in _judged(session)] == ["human"]
        assert [row.worker for row in _judged(session, kinds=[LabelerKind.SIMULATED])] == ["robot"]
        assert [row.worker for row in _judged(session, kinds=list(LabelerKind))] == ["human", "robot"]
        assert _judged(session, kinds=[]) == []


def test_splits_and_batches_can_be_asked_for(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        batches = {split: make.pairs(session, split=split).batch_id for split in Split}
        make.judge_all(session, worker)
        assert {row.split for row in _judged(session)} == set(Split)
        for split in Split:
            assert [row.split for row in _judged(session, splits=[split])] == [split]
            assert [row.split for row in _judged(session, batch_ids=[batches[split]])] == [split]
        assert _judged(session, batch_ids=[]) == []


def test_a_snapshot_stays_as_it_was_whatever_comes_later(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, 4, opinions=2)
        showings = [_answer(session, worker, value) for value in (1, 2, 3)]
        upto = answers.last_preference(session)
        before = _judged(session, up_to=upto)
        assert [row.value for row in before] == [1, 2, 3]
        make.say(session, worker, showings[0], 9)
        _answer(session, other, 4)
        _answer(session, worker, 6)
        assert _judged(session, up_to=upto) == before
        assert sorted(row.value for row in _judged(session)) == [2, 3, 4, 6, 9]
        assert _judged(session, up_to=0) == []


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_rows_come_in_the_order_in_which_slots_were_put_up(work: Work, chunk: int) -> None:
    with work() as session:
        one, two = make.labeler(session), make.labeler(session)
        make.pairs(session, 3, opinions=2)
        held = [make.hold(session, one, 3), make.hold(session, two, 3)]
        for showing in reversed(held[1]):
            make.say(session, two, showing)
        for showing in reversed(held[0]):
            make.say(session, one, showing)
        order = [make.slot_of(session, showing).id for showing in [*held[0], *held[1]]]
        rows = _judged(session, chunk=chunk)
        found = [session.get_one(Preference, row.preference_id).slot_id for row in rows]
        assert found == sorted(order)


def test_there_is_a_last_preference_before_there_is_any(work: Work) -> None:
    with work() as session:
        assert answers.last_preference(session) == 0
