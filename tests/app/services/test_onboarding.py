"""Newcomers practise, are told at once, and are let in by the gate or by an admin."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.protocols import Gate
from app.domain.words import BatchPurpose, LabelerKind, Role, SkipReason
from app.services import comparisons, judging, onboarding, verdicts
from app.services.onboarding import NO_PAIRS, NOT_PASSED, First
from app.services.people import Viewer
from app.store import batches, people
from app.store.session import Session
from app.store.tables import AuditEvent, Comparison, Qualification, Showing, Slot
from tests.conftest import Work
from tests.support import factories as make

PRACTICE = BatchPurpose.QUALIFICATION


def shut(session: Session, agreement: float = 0.75, seconds: float = 60.0) -> Viewer:
    """Ask everybody to qualify. Gives the admin who does."""
    boss = make.admin(session)
    onboarding.set_gate(session, boss, Gate(required=True, agreement=agreement, seconds=seconds))
    return boss


def first(session: Session, worker: Viewer) -> First | None:
    """What the labeler has to do first."""
    return judging.leases(session, worker, 1, make.LEASE, make.PAGE).before


def subject(session: Session, showing_id: UUID) -> tuple[Comparison, bool]:
    """The comparison of a showing, and whether its sides were swapped."""
    row = session.execute(
        select(Comparison, Showing.swapped)
        .join(Slot, Slot.comparison_id == Comparison.id)
        .join(Showing, Showing.slot_id == Slot.id)
        .where(Showing.id == showing_id)
    ).one()
    return row[0], row[1]


def answer(session: Session, worker: Viewer, showing_id: UUID, value: int, seconds: float = 30.0) -> judging.Saved:
    """Answer a showing; `value` in the comparison's own frame."""
    _, swapped = subject(session, showing_id)
    return judging.answer(
        session,
        worker,
        showing_id=showing_id,
        key=uuid4(),
        value=10 - value if swapped else value,
        explanation=None,
        seconds=seconds,
    )


def practise(session: Session, worker: Viewer, values: list[int], seconds: float = 30.0) -> None:
    """Answer the next practice pairs, one after the other."""
    for value in values:
        [showing] = make.hold(session, worker)
        answer(session, worker, showing, value, seconds)


def decisions(session: Session, worker: Viewer) -> list[Qualification]:
    """What was decided on the labeler, in that order."""
    found = session.scalars(
        select(Qualification).where(Qualification.labeler_id == worker.id).order_by(Qualification.id)
    )
    return list(found)


def test_without_a_gate_nobody_practises(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 2)
        ordinary, worker = make.pairs(session, 1), make.labeler(session)
        [showing] = make.hold(session, worker, 5)
        assert subject(session, showing)[0].id == ordinary.comparisons[0]


def test_newcomers_are_given_every_practice_pair_in_order_and_nothing_else(work: Work) -> None:
    with work() as session:
        practice = make.standing(session, PRACTICE, 3)
        make.pairs(session, 5)
        shut(session)
        worker = make.labeler(session)
        held = make.hold(session, worker, 12)
        assert [subject(session, showing)[0].id for showing in held] == practice
        assert make.hold(session, worker, 12) == held


def test_whoever_passes_goes_on_to_ordinary_pairs(work: Work) -> None:
    with work() as session:
        practice = make.standing(session, PRACTICE, 4)
        ordinary = make.pairs(session, 2)
        shut(session)
        worker = make.labeler(session)
        practise(session, worker, [1, 2, 9, 3])
        [decision] = decisions(session, worker)
        assert (decision.passed, decision.answers, decision.agreement, decision.seconds) == (True, 4, 0.75, 30.0)
        assert (decision.decided_by, "3 of 4" in decision.reason) == (None, True)
        assert first(session, worker) is None
        held = [subject(session, showing)[0].id for showing in make.hold(session, worker, 9)]
        assert held == ordinary.comparisons
        assert not set(held) & set(practice)
        assert len(decisions(session, worker)) == 1


def test_whoever_does_not_is_told_kindly_and_given_nothing(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 4)
        make.pairs(session, 2)
        shut(session)
        worker = make.labeler(session)
        practise(session, worker, [1, 2, 9, 9])
        assert first(session, worker) == NOT_PASSED
        assert make.hold(session, worker, 5) == []
        assert [each.passed for each in decisions(session, worker)] == [False]
        assert first(session, worker) == NOT_PASSED
        assert len(decisions(session, worker)) == 1


def test_too_slow_does_not_pass(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 2)
        shut(session)
        worker = make.labeler(session)
        practise(session, worker, [1, 1], seconds=61)
        assert first(session, worker) == NOT_PASSED
        assert "where 60 are allowed" in decisions(session, worker)[0].reason


def test_the_answer_of_the_researchers_comes_at_once_as_the_sides_were_shown(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 8, value=2)
        shut(session)
        worker = make.labeler(session)
        said = ((1, True), (9, False), (5, None), (4, True), (6, False), (3, True), (5, None), (7, False))
        for number, (value, same) in enumerate(said):
            [showing] = make.hold(session, worker)
            session.get_one(Showing, showing).swapped = number % 3 == 0
            session.flush()
            assert onboarding.feedback(session, worker, showing) is None, "not before the answer"
            pair, swapped = subject(session, showing)
            told = answer(session, worker, showing, value).feedback
            assert told is not None
            origin = session.scalars(
                select(Comparison).where(
                    Comparison.document_id == pair.document_id, Comparison.batch_id != pair.batch_id
                )
            ).one()
            assert (told.value, told.reason) == (8 if swapped else 2, f"Because of {origin.id}.")
            assert told.agrees is same


def test_no_other_pair_tells_the_researchers_answer(work: Work) -> None:
    with work() as session:
        ordinary = make.pairs(session, 1)
        boss, worker = make.admin(session), make.labeler(session)
        make.verdict(session, ordinary.comparisons[0], boss)
        verdicts.release(session, boss, ordinary.comparisons[0])
        [showing] = make.hold(session, worker)
        assert make.say(session, worker, showing).feedback is None
        assert onboarding.feedback(session, worker, showing) is None


def test_feedback_is_the_labelers_own(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 1)
        shut(session)
        one, two = make.labeler(session), make.labeler(session)
        [showing] = make.hold(session, one)
        answer(session, one, showing, 1)
        assert onboarding.feedback(session, two, showing) is None
        assert onboarding.feedback(session, one, showing) is not None


def test_first_answers_count_because_a_change_was_made_knowing_the_researchers(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 2)
        shut(session)
        worker = make.labeler(session)
        [showing] = make.hold(session, worker)
        answer(session, worker, showing, 9)
        assert answer(session, worker, showing, 2).version == 2
        practise(session, worker, [2])
        assert first(session, worker) == NOT_PASSED
        assert decisions(session, worker)[0].agreement == 0.5


def test_pairs_that_were_passed_on_bring_the_end_but_no_luck(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 5)
        shut(session)
        worker = make.labeler(session)
        practise(session, worker, [1, 1])
        for _ in range(3):
            [showing] = make.hold(session, worker)
            judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert first(session, worker) == NOT_PASSED
        [decision] = decisions(session, worker)
        assert (decision.answers, "2 of 5" in decision.reason) == (2, True)


def test_an_admin_lets_somebody_pass_by_hand_with_a_reason(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 2)
        make.pairs(session, 1)
        boss = shut(session)
        worker = make.labeler(session)
        practise(session, worker, [9, 9])
        for empty in ("", "  \0"):
            with pytest.raises(Invalid, match="Say why"):
                onboarding.let_pass(session, boss, worker.id, empty)
        assert onboarding.let_pass(session, boss, worker.id, " We talked. ") == worker.name
        assert first(session, worker) is None
        assert len(make.hold(session, worker)) == 1
        [_, decision] = decisions(session, worker)
        assert (decision.passed, decision.decided_by, decision.reason) == (True, boss.id, "We talked.")
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.action, event.subject_id) == ("let pass", worker.id)


def test_trying_again_is_on_new_pairs_alone(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 3)
        make.pairs(session, 1)
        boss = shut(session)
        worker = make.labeler(session)
        practise(session, worker, [9, 9, 9])
        with pytest.raises(Conflict, match="met every qualification pair"):
            onboarding.let_try_again(session, boss, worker.id, "Once more.")
        new = make.standing(session, PRACTICE, 2)
        assert make.hold(session, worker) == [], "new pairs alone do not open the gate"
        onboarding.let_try_again(session, boss, worker.id, "Once more.")
        held = make.hold(session, worker, 9)
        assert [subject(session, showing)[0].id for showing in held] == new
        for showing in held:
            answer(session, worker, showing, 1)
        last = decisions(session, worker)[-1]
        assert (last.passed, last.answers, last.agreement, last.decided_by) == (True, 2, 1.0, None)
        assert len(make.hold(session, worker)) == 1


def test_a_retired_practice_pair_is_given_to_nobody_and_counts_for_nobody(work: Work) -> None:
    with work() as session:
        practice = make.standing(session, PRACTICE, 3)
        boss = shut(session)
        worker, other = make.labeler(session), make.labeler(session)
        practise(session, worker, [9, 1])
        [held] = make.hold(session, worker)
        verdicts.retire(session, boss, practice[0])
        verdicts.retire(session, boss, practice[2])
        assert make.hold(session, worker) == []
        assert [each.passed for each in decisions(session, worker)] == [True], "one of one left"
        assert answer(session, worker, held, 1).surplus
        assert len(make.hold(session, other, 9)) == 1


def test_a_practice_answer_that_was_made_void_does_not_decide(work: Work) -> None:
    with work() as session:
        one, _, three = make.standing(session, PRACTICE, 3)
        boss, worker = shut(session), make.labeler(session)
        [wrong] = make.hold(session, worker)
        answer(session, worker, wrong, 9)
        comparisons.void(session, boss, one, make.slot_of(session, wrong).id, "A wrong click.")
        assert onboarding.record(session, worker.id).left == 2
        practise(session, worker, [2])
        [held] = make.hold(session, worker)
        comparisons.void(session, boss, three, make.slot_of(session, held).id, "Enough.")
        assert onboarding.record(session, worker.id).left == 0
        assert first(session, worker) is None
        assert [(each.passed, each.answers) for each in decisions(session, worker)] == [(True, 1)]


def test_with_no_practice_pairs_a_newcomer_waits(work: Work) -> None:
    with work() as session:
        [practice] = make.standing(session, PRACTICE, 1)
        boss = shut(session)
        verdicts.retire(session, boss, practice)
        worker = make.labeler(session)
        assert first(session, worker) == NO_PAIRS
        verdicts.put_back(session, boss, practice)
        assert first(session, worker) is None
        assert len(make.hold(session, worker)) == 1


def test_while_practice_is_paused_a_newcomer_is_given_nothing_else(work: Work) -> None:
    with work() as session:
        [practice] = make.standing(session, PRACTICE, 1)
        make.pairs(session, 2)
        shut(session)
        worker, batch_id = make.labeler(session), session.get_one(Comparison, practice).batch_id
        batches.set_batch_paused(session, batch_id, True)
        assert (first(session, worker), make.hold(session, worker, 3)) == (None, [])
        batches.set_batch_paused(session, batch_id, False)
        assert len(make.hold(session, worker, 3)) == 1


def test_the_gate_cannot_be_shut_without_practice_pairs(work: Work) -> None:
    with work() as session, pytest.raises(Invalid, match="nobody could pass"):
        shut(session)


def test_researchers_accounts_and_simulated_labelers_are_not_gated(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 1)
        put_up = make.pairs(session, 3, opinions=2)
        shut(session)
        simulated = make.labeler(session, kind=LabelerKind.SIMULATED)
        assert len(make.hold(session, simulated, 3)) == 3
        row = people.add_labeler(session, "Rosa's", Role.LABELER, LabelerKind.HUMAN, calibrates=True)
        make.has_read(session, row.id)
        assert first(session, Viewer(row.id, row.name, Role.LABELER, LabelerKind.HUMAN, calibrates=True)) is None
        with pytest.raises(NotFound):
            onboarding.record(session, row.id)
        assert put_up.comparisons


def test_admins_see_how_everybody_stands(work: Work) -> None:
    with work() as session:
        make.standing(session, PRACTICE, 2)
        shut(session)
        passed, failed, begun, new = (make.labeler(session, name) for name in ("Ada", "bob", "Cy", "Dora"))
        make.labeler(session, "Sim", kind=LabelerKind.SIMULATED)
        practise(session, passed, [1, 1])
        practise(session, failed, [9, 9])
        practise(session, begun, [1])
        found = onboarding.overview(session)
        assert (found.gate.required, found.pairs) == (True, 2)
        stand = {each.labeler.name: each for each in found.newcomers}
        assert list(stand) == ["Ada", "bob", "Cy", "Dora"]
        assert [each.answered for each in stand.values()] == [2, 2, 1, 0]
        assert [each.decision and each.decision.passed for each in stand.values()] == [True, False, None, None]
        record = onboarding.record(session, begun.id)
        assert ([each.value for each in record.tried], record.left) == ([1], 1)
        assert onboarding.record(session, new.id).left == 2
        assert session.scalar(select(func.count()).select_from(Qualification)) == 2
