"""A round that stands still and goes on, tries again what passes by itself, or is run again from a stage."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.domain.errors import Conflict, NotFound
from app.domain.words import CheckpointKind, PolicyKind, RoundState, RunState, Stage, Trouble
from app.jobs import RUN_NAMES, Job
from app.services import lineage, rounds
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import batches, corpus
from app.store.session import Session
from app.store.tables import AuditEvent, Round, Run
from tests.conftest import Work
from tests.support import factories as make
from tests.support import pretended

LEASE = timedelta(seconds=60)
FULL = "The disk is full. What was judged and every earlier checkpoint is safe. Make room on it."


@pytest.fixture
def boss(work: Work) -> Viewer:
    with work() as session:
        return pretended.boss(session)


@pytest.fixture
def number(work: Work, boss: Viewer) -> int:
    """A round that has just begun."""
    with work() as session:
        return pretended.launch(session, boss)


def _states(session: Session, number: int) -> list[str]:
    return [run.state.value for run in rounds.view(session, number).runs]


def _row(session: Session, run_id: int) -> Run:
    return session.get_one(Run, run_id, populate_existing=True)


def _silence(session: Session) -> None:
    """Every lease runs out by the database's clock."""
    before = func.now() - timedelta(seconds=1)
    session.execute(update(Run).where(Run.state == RunState.RUNNING).values(lease_expires_at=before))
    session.expire_all()


def _due(session: Session, run_id: int) -> None:
    """The pause before the next attempt is over."""
    session.execute(update(Run).where(Run.id == run_id).values(due_at=func.now() - timedelta(seconds=1)))
    session.expire_all()


def _long_ago(session: Session) -> None:
    session.execute(update(Run).values(rung_at=func.now() - timedelta(minutes=1)))
    session.expire_all()


def _again(session: Session, run_id: int) -> Claim:
    claim = protocol.claim(session, run_id, "host", 1, LEASE)
    assert claim is not None
    return claim


# Standing still


def test_a_paused_round_begins_nothing_and_goes_on_where_it_stood(
    work: Work, boss: Viewer, number: int, sent: list[Job]
) -> None:
    with work() as session:
        rounds.pause(session, boss, number)
        view = rounds.view(session, number)
        assert (view.state, view.pause_words) == (RoundState.ACTIVE, "Paused by admin.")
        assert {run.state for run in view.runs} == {RunState.PENDING}
        # The doorbell that was rung before is heard late, and the reconciler leaves the round alone.
        assert protocol.claim(session, view.runs[0].id, "host", 1, LEASE) is None
        _long_ago(session)
        assert protocol.ring(session) == 0
    sent.clear()
    with work() as session:
        rounds.resume(session, boss, number)
        assert _states(session, number)[0] == "queued"
        assert rounds.view(session, number).paused_at is None
    assert sent == [Job(RUN_NAMES[Stage.SFT], sent[0].queue, view.runs[0].id)]
    with work() as session:
        said = session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
        assert said[-2:] == ["paused round", "resumed round"]


def test_a_stage_that_runs_is_asked_to_stop_and_the_next_claim_goes_on(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        pretended.report(session, claim, 40, 100, "Step 40 of 100.")
        rounds.pause(session, boss, number)
        assert rounds.view(session, number).runs[0].stopping
        assert protocol.beat(session, claim, LEASE) is True
        rounds.stopped(session, claim)
        run = rounds.view(session, number).runs[0]
        assert (run.state, run.done, run.total, run.stopping) == (RunState.PENDING, 40, 100, False)
        rounds.resume(session, boss, number)
        again = pretended.take(session, number)
        assert (again.run_id, again.fence) == (claim.run_id, claim.fence + 1)
        assert protocol.beat(session, again, LEASE) is False


def test_a_round_that_goes_on_while_its_stage_still_stops_is_not_stuck(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        rounds.pause(session, boss, number)
        rounds.resume(session, boss, number)
        # It had seen the pause already, or had not: both go on.
        assert protocol.beat(session, claim, LEASE) is False
        rounds.stopped(session, claim)
        assert _states(session, number)[0] == "queued"


def test_a_worker_that_dies_while_it_should_stop_leaves_a_paused_run(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        pretended.take(session, number)
        rounds.pause(session, boss, number)
        _silence(session)
        assert rounds.give_up(session) == 1
        assert _states(session, number) == ["pending"] * 7
        assert protocol.ring(session) == 0
        rounds.resume(session, boss, number)
        assert pretended.take(session, number).fence == 2


def test_what_succeeds_during_a_pause_counts_and_nothing_follows_it_yet(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        rounds.pause(session, boss, number)
        pretended.succeed(session, claim)
        assert _states(session, number)[:2] == ["succeeded", "pending"]
        rounds.resume(session, boss, number)
        assert _states(session, number)[:2] == ["succeeded", "queued"]


def test_labelers_may_finish_during_a_pause(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        pretended.carry_out(session, number, Stage.SFT)
        claim = pretended.take(session, number)
        make.pairs(session, 2, round_id=claim.round_id)
        pretended.succeed(session, claim)
        rounds.pause(session, boss, number)
        assert make.judge_all(session, make.labeler(session)) == 2
        assert _states(session, number)[2:4] == ["succeeded", "pending"]
        rounds.resume(session, boss, number)
        assert _states(session, number)[3] == "queued"


def test_a_paused_round_can_be_cancelled_or_fail_and_is_paused_no_more(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        rounds.pause(session, boss, number)
        rounds.cancel(session, boss, number)
        assert _states(session, number) == ["cancelled"] * 7
        assert rounds.view(session, number).pause_words is None
        second = pretended.launch(session, boss)
        claim = pretended.take(session, second)
        rounds.pause(session, boss, second)
        rounds.fail(session, claim, Trouble.LASTING, "Broken.", "trace")
        assert (rounds.view(session, second).state, rounds.view(session, second).paused_at) == (RoundState.FAILED, None)


def test_pausing_twice_or_what_is_over_is_refused(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        with pytest.raises(Conflict, match="not paused"):
            rounds.resume(session, boss, number)
        rounds.pause(session, None, number, "The policy drifts too far: 31 nats.")
        assert rounds.view(session, number).pause_words == "The policy drifts too far: 31 nats."
        with pytest.raises(Conflict, match="paused already"):
            rounds.pause(session, boss, number)
        rounds.cancel(session, boss, number)
        for change in (rounds.pause, rounds.resume):
            with pytest.raises(Conflict, match="over already"):
                change(session, boss, number)


# What passes by itself


def test_what_passes_by_itself_is_tried_again_later_each_time(work: Work, number: int, sent: list[Job]) -> None:
    with work() as session:
        run_id = rounds.view(session, number).runs[0].id
        for attempt, pause in enumerate(rounds.BACK_OFF, start=1):
            assert rounds.fail(session, _again(session, run_id), Trouble.PASSING, FULL, "trace") is True
            row = _row(session, run_id)
            assert (row.state, row.attempt, row.trouble, row.problem) == ("queued", attempt + 1, "passing", FULL)
            assert row.due_at is not None
            assert row.due_at - session.scalars(select(func.now())).one() == pause
            # Nobody takes it before it is due, and nobody is rung for it.
            assert protocol.claim(session, run_id, "host", 1, LEASE) is None
            _long_ago(session)
            assert protocol.ring(session) == 0
            _due(session, run_id)
            assert protocol.ring(session) == 1
        assert rounds.fail(session, _again(session, run_id), Trouble.PASSING, FULL, "trace") is False
        row = _row(session, run_id)
        assert (row.state, row.trouble) == (RunState.FAILED, Trouble.PASSING)
        assert row.words == "Failed 5 times; it was not tried again."
        assert rounds.view(session, number).state == RoundState.FAILED


def test_what_would_fail_the_same_way_is_not_tried_again(work: Work, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        assert rounds.fail(session, claim, Trouble.LASTING, "The recipe cannot be run.", "trace") is False
        row = _row(session, claim.run_id)
        assert (row.state, row.trouble, row.attempt) == (RunState.FAILED, Trouble.LASTING, 1)
        assert row.words == "Failed. It was not tried again, because the same would happen."


def test_a_second_attempt_that_succeeds_says_nothing_of_the_first(work: Work, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        rounds.fail(session, claim, Trouble.PASSING, FULL, "trace")
        _due(session, claim.run_id)
        pretended.succeed(session, _again(session, claim.run_id))
        row = _row(session, claim.run_id)
        assert (row.state, row.problem, row.trouble, row.attempt) == (RunState.SUCCEEDED, None, None, 2)
        assert _states(session, number)[:2] == ["succeeded", "queued"]


def test_a_round_that_waits_for_its_next_attempt_can_be_paused_and_cancelled(
    work: Work, boss: Viewer, number: int
) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        rounds.fail(session, claim, Trouble.PASSING, FULL, "trace")
        rounds.pause(session, boss, number)
        assert _states(session, number)[0] == "pending"
        # Going on is also how an admin who made room need not wait.
        rounds.resume(session, boss, number)
        claim = pretended.take(session, number)
        rounds.pause(session, boss, number)
        assert rounds.fail(session, claim, Trouble.PASSING, FULL, "trace") is True
        assert _states(session, number)[0] == "pending"
        rounds.resume(session, boss, number)
        rounds.fail(session, pretended.take(session, number), Trouble.PASSING, FULL, "trace")
        rounds.cancel(session, boss, number)
        assert _states(session, number) == ["cancelled"] * 7


def test_a_cancel_is_heard_even_by_a_run_that_fails_for_what_passes(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        claim = pretended.take(session, number)
        rounds.cancel(session, boss, number)
        assert rounds.fail(session, claim, Trouble.PASSING, FULL, "trace") is False
        assert _states(session, number)[0] == "cancelled"


# Workers that die


def test_deaths_count_only_where_nothing_got_further(work: Work, number: int) -> None:
    with work() as session:
        run_id = rounds.view(session, number).runs[0].id
        # Killed ten times on its way, and further each time: nothing is wrong with it.
        for step in range(1, 11):
            protocol.beat(session, _again(session, run_id), LEASE, (step, 100, f"Step {step}."))
            _silence(session)
            assert rounds.give_up(session) == 0
        for _ in range(protocol.MOST_DEATHS - 1):
            protocol.beat(session, _again(session, run_id), LEASE, (10, 100, "Step 10."))
            _silence(session)
        assert protocol.claim(session, run_id, "host", 1, LEASE) is None
        assert rounds.give_up(session) == 1
        row = _row(session, run_id)
        assert (row.state, row.trouble) == (RunState.FAILED, Trouble.LASTING)
        assert row.problem is not None and row.problem.startswith("The worker died 5 times while it was here: Step 10.")


def test_pauses_are_no_deaths(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        for _ in range(protocol.MOST_DEATHS + 2):
            claim = pretended.take(session, number)
            rounds.pause(session, boss, number)
            rounds.stopped(session, claim)
            rounds.resume(session, boss, number)
        assert _row(session, claim.run_id).deaths == 0
        pretended.succeed(session, pretended.take(session, number))


# Running again


def _to_the_end(session: Session, number: int) -> None:
    """All stages of the round, with two pairs judged."""
    pretended.carry_out(session, number, Stage.SFT)
    claim = pretended.take(session, number)
    make.pairs(session, 2, round_id=claim.round_id)
    pretended.succeed(session, claim)
    make.judge_all(session, make.labeler(session))
    pretended.carry_out(session, number, Stage.REWARD, Stage.PPO, Stage.EVALUATE, Stage.SAMPLE)


def test_a_finished_round_runs_again_from_a_stage_and_the_earlier_try_stays(
    work: Work, boss: Viewer, number: int, sent: list[Job]
) -> None:
    with work() as session:
        _to_the_end(session, number)
        before = rounds.view(session, number)
        assert (before.state, before.earlier) == (RoundState.SUCCEEDED, [])
    sent.clear()
    with work() as session:
        rounds.run_again(session, boss, number, position=5)
        after = rounds.view(session, number)
        assert (after.state, after.ended_at) == (RoundState.ACTIVE, None)
        assert [run.stage for run in after.runs] == [run.stage for run in before.runs]
        assert [run.id for run in after.runs[:4]] == [run.id for run in before.runs[:4]]
        assert [run.id for run in after.earlier] == [run.id for run in before.runs[4:]]
        assert [run.state.value for run in after.runs[4:]] == ["queued", "pending", "pending"]
        assert after.earlier[0].result == pretended.result(Stage.PPO)
    assert [job.run_id for job in sent] == [after.runs[4].id]
    with work() as session:
        pretended.carry_out(session, number, Stage.PPO, Stage.EVALUATE, Stage.SAMPLE)
        assert rounds.view(session, number).state == RoundState.SUCCEEDED
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.action, event.details["stage"]) == ("ran round again", "ppo")


def test_a_failed_round_runs_again_with_what_was_judged_for_it(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        pretended.carry_out(session, number, Stage.SFT)
        claim = pretended.take(session, number)
        pairs = make.pairs(session, 2, round_id=claim.round_id)
        pretended.succeed(session, claim)
        make.judge_all(session, make.labeler(session))
        rounds.fail(session, pretended.take(session, number), Trouble.LASTING, "Out of memory.", "trace")
        round_id = session.scalars(select(Round.id)).one()
        assert batches.batches_of_round(session, round_id) == []
        rounds.run_again(session, boss, number, position=4)
        assert batches.batches_of_round(session, round_id) == [pairs.batch_id]
        assert _states(session, number)[2:5] == ["succeeded", "queued", "pending"]
        assert rounds.view(session, number).earlier[0].problem == "Out of memory."


def test_a_round_runs_again_from_its_judging(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        _to_the_end(session, number)
        rounds.run_again(session, boss, number, position=3)
        # Everything is judged, so that it goes on at once.
        assert _states(session, number)[2:4] == ["succeeded", "queued"]


def test_a_checkpoint_of_each_try_is_kept_and_the_newest_is_gone_on_from(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        _to_the_end(session, number)
        held = rounds.view(session, number).runs
        base = make.base_checkpoint(session)
        first = make.trained_checkpoint(session, _row(session, held[4].id), base)
        old = lineage.policy_for(session, first, "round1-ppo")
        rounds.run_again(session, boss, number, position=5)
        claim = pretended.take(session, number)
        second = make.trained_checkpoint(session, protocol.hold(session, claim), base)
        new = lineage.policy_for(session, second, "round1-ppo")
        assert (old.name, new.name) == ("round1-ppo", "round1-ppo-2")
        assert lineage.policy_for(session, second, "round1-ppo").id == new.id
        newest = lineage.newest(session, Stage.PPO, CheckpointKind.POLICY, claim.round_id)
        assert (newest.id, first.run_id) == (second.id, held[4].id)
        other = corpus.add_policy(session, the_project(session).id, "round1-ppo-x", PolicyKind.IMPORTED, None, {})
        assert other.name == "round1-ppo-x"


def test_what_cannot_run_again_is_refused_in_words(work: Work, boss: Viewer, number: int) -> None:
    with work() as session:
        with pytest.raises(Conflict, match="Round 1 is still going on"):
            rounds.run_again(session, boss, number, position=1)
        claim = pretended.take(session, number)
        rounds.cancel(session, boss, number)
        with pytest.raises(Conflict, match="still stopping"):
            rounds.run_again(session, boss, number, position=1)
        rounds.stopped(session, claim)
        with pytest.raises(Conflict, match="stage before this one is not done"):
            rounds.run_again(session, boss, number, position=2)
        with pytest.raises(NotFound):
            rounds.run_again(session, boss, number, position=99)
        second = pretended.launch(session, boss)
        rounds.cancel(session, boss, second)
        with pytest.raises(Conflict, match="not the newest"):
            rounds.run_again(session, boss, number, position=1)
        rounds.run_again(session, boss, second, position=1)
        assert _states(session, second)[0] == "queued"
