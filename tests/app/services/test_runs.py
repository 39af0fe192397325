"""The row is the job: a message may come twice, late or never, and a holder that went silent can write nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, NotFound, StaleClaim
from app.domain.words import QUEUE_OF, Queue, RunState, Stage, Trouble
from app.jobs import Job, run_job
from app.services import rounds
from app.services import runs as protocol
from app.services.runs import Claim
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import MetricPoint, Run
from tests.conftest import Work
from tests.support import factories as make

LEASE = timedelta(seconds=60)


def _take(session: Session, run: Run | int, host: str = "host") -> Claim | None:
    return protocol.claim(session, run if isinstance(run, int) else run.id, host, 1, LEASE)


def _taken(session: Session, run: Run | int, host: str = "host") -> Claim:
    claim = _take(session, run, host)
    assert claim is not None
    return claim


def _silence(session: Session, run_id: int) -> None:
    """The holder's lease runs out by the database's clock."""
    session.execute(update(Run).where(Run.id == run_id).values(lease_expires_at=func.now() - timedelta(seconds=1)))
    session.expire_all()


def _row(session: Session, run_id: int) -> Run:
    return session.get_one(Run, run_id, populate_existing=True)


def test_what_is_asked_is_written_now_and_rung_after_the_commit(work: Work, sent: list[Job]) -> None:
    with work() as session:
        run = protocol.ask(session, make.admin(session), Stage.EXPORT, {"what": "all"})
        assert sent == []
    assert sent == [run_job(Stage.EXPORT, run.id)]
    with work() as session:
        claim = _taken(session, run)
        assert (claim.stage, claim.payload, claim.round_id, claim.fence) == (Stage.EXPORT, {"what": "all"}, None, 1)


@pytest.mark.parametrize("stage", sorted(QUEUE_OF))
def test_every_stage_that_workers_execute_has_its_queue(work: Work, stage: Stage) -> None:
    with work() as session:
        assert protocol.ask(session, None, stage, {}).queue == QUEUE_OF[stage]


def test_a_message_that_comes_twice_is_executed_once(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        claim = _taken(session, run)
        assert _take(session, run) is None
        rounds.succeed(session, claim, "Done.", {})
        assert _take(session, run) is None


def test_one_of_many_workers_gets_the_run(own_sessions: Sessions) -> None:
    with unit_of_work(own_sessions, lambda job: None) as session:
        run_id = make.own_run(session).id
    for attempt in range(3):
        barrier = Barrier(8)

        def take(number: int, barrier: Barrier = barrier) -> Claim | None:
            barrier.wait(timeout=30)
            with unit_of_work(own_sessions, lambda job: None) as session:
                return protocol.claim(session, run_id, f"host{number}", number, LEASE)

        with ThreadPoolExecutor(8) as pool:
            winners = [claim for claim in pool.map(take, range(8)) if claim is not None]
        assert [claim.fence for claim in winners] == [attempt + 1]
        with unit_of_work(own_sessions, lambda job: None) as session:
            _silence(session, run_id)


def test_a_silent_holder_is_replaced_and_can_write_nothing(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        stale = _taken(session, run, "one")
        assert _take(session, run, "two") is None
        _silence(session, run.id)
        fresh = _taken(session, run, "two")
        assert fresh.fence == stale.fence + 1
        with pytest.raises(StaleClaim):
            protocol.beat(session, stale, LEASE, (1, 2, "still here"))
        with pytest.raises(StaleClaim):
            protocol.measure(session, stale, [("loss", 1, 9.9)])
        with pytest.raises(StaleClaim):
            protocol.note_conditions(session, stale, {"device": "cpu"})
        with pytest.raises(StaleClaim):
            protocol.hold(session, stale)
        with pytest.raises(StaleClaim):
            rounds.succeed(session, stale, "Done.", {})
        row = _row(session, run.id)
        assert (row.state, row.worker, row.words, row.conditions) == (RunState.RUNNING, "two:1", "", None)
        assert session.scalar(select(func.count()).select_from(MetricPoint)) == 0
        rounds.succeed(session, fresh, "Done.", {"rows": 3})
        assert _row(session, run.id).state == RunState.SUCCEEDED


def test_a_holder_that_went_silent_and_was_not_replaced_goes_on(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        claim = _taken(session, run)
        _silence(session, run.id)
        assert protocol.beat(session, claim, LEASE) is False
        assert _take(session, run, "other") is None


def test_a_beat_keeps_the_lease_and_tells_how_far_it_is(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        claim = _taken(session, run)
        protocol.beat(session, claim, timedelta(hours=1), (3, 10, "Reading."))
        row = _row(session, run.id)
        assert (row.done, row.total, row.words) == (3, 10, "Reading.")
        assert session.scalar(select(Run.lease_expires_at - func.now())) == timedelta(hours=1)
        protocol.beat(session, claim, LEASE)
        assert _row(session, run.id).words == "Reading."


def test_a_host_trains_one_model_at_a_time(work: Work) -> None:
    with work() as session:
        first, second = (make.own_run(session, Stage.SAMPLE) for _ in range(2))
        export = make.own_run(session, Stage.EXPORT)
        claim = _taken(session, first)
        assert _take(session, second) is None
        assert _row(session, second.id).state == RunState.QUEUED
        assert _take(session, export) is not None
        assert _take(session, second, "other host") is not None
        rounds.succeed(session, claim, "Done.", {})
        third = make.own_run(session, Stage.SAMPLE)
        assert _take(session, third) is not None


def test_a_host_whose_last_run_died_may_train_again(work: Work) -> None:
    with work() as session:
        first, second = (make.own_run(session, Stage.SAMPLE) for _ in range(2))
        _taken(session, first)
        _silence(session, first.id)
        assert _take(session, second) is not None


# Measures


def test_points_are_kept_in_order_and_written_again_when_a_run_starts_again(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        claim = _taken(session, run)
        protocol.measure(session, claim, [("loss", 2, 0.5), ("loss", 1, 1.0), ("kl", 1, 0.1)])
        protocol.measure(session, claim, [])
        _silence(session, run.id)
        again = _taken(session, run)
        protocol.measure(session, again, [("loss", 2, 0.25), ("loss", 2, 0.125), ("loss", 3, float("nan"))])
        curves = protocol.points(session, [run.id])
        assert curves[run.id]["kl"] == [(1, 0.1)]
        assert curves[run.id]["loss"][:2] == [(1, 1.0), (2, 0.125)]
        assert [step for step, _ in curves[run.id]["loss"]] == [1, 2, 3]


def test_conditions_are_kept(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        protocol.note_conditions(session, _taken(session, run), {"device": "cpu", "threads": 2})
        assert _row(session, run.id).conditions == {"device": "cpu", "threads": 2}


# Doorbells


def _rung_long_ago(session: Session) -> None:
    session.execute(update(Run).values(rung_at=func.now() - protocol.RING_AGAIN - timedelta(seconds=1)))
    session.expire_all()


def test_a_lost_message_is_rung_again_and_not_too_often(work: Work, sent: list[Job]) -> None:
    with work() as session:
        run = protocol.ask(session, None, Stage.EXPORT, {})
    sent.clear()
    with work() as session:
        assert protocol.ring(session) == 0
        _rung_long_ago(session)
        assert protocol.ring(session) == 1
        assert protocol.ring(session) == 0
    assert sent == [run_job(Stage.EXPORT, run.id)]


def test_a_run_that_was_never_rung_is_rung(work: Work, sent: list[Job]) -> None:
    with work() as session:
        run = make.own_run(session)
        assert protocol.ring(session) == 1
    assert sent == [run_job(Stage.EXPORT, run.id)]


def test_a_silent_run_is_rung_and_a_busy_one_is_not(work: Work, sent: list[Job]) -> None:
    with work() as session:
        silent, busy = make.own_run(session), make.own_run(session)
        for run in (silent, busy):
            _taken(session, run)
        _rung_long_ago(session)
        assert protocol.ring(session) == 0
        _silence(session, silent.id)
        assert protocol.ring(session) == 1
    assert sent == [run_job(Stage.EXPORT, silent.id)]


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.WAITING])
def test_runs_that_wait_for_others_are_not_rung(work: Work, state: RunState) -> None:
    with work() as session:
        make.own_run(session, state=state)
        assert protocol.ring(session) == 0


def test_the_label_stage_is_for_people_and_never_rung(work: Work) -> None:
    with work() as session:
        make.own_run(session, Stage.LABEL, RunState.QUEUED)
        assert protocol.ring(session) == 0


def test_runs_that_are_over_are_not_rung(work: Work) -> None:
    with work() as session:
        for end in ("succeed", "fail", "cancelled"):
            claim = _taken(session, make.own_run(session))
            if end == "succeed":
                rounds.succeed(session, claim, "Done.", {})
            elif end == "fail":
                rounds.fail(session, claim, Trouble.LASTING, "Broken.", "trace")
            else:
                protocol.cancel(session, make.admin(session), claim.run_id)
                rounds.stopped(session, claim)
        _rung_long_ago(session)
        assert protocol.ring(session) == 0


# Cancelling a run outside of rounds


def test_a_queued_run_is_cancelled_at_once(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        protocol.cancel(session, make.admin(session), run.id)
        assert _row(session, run.id).state == RunState.CANCELLED
        assert _take(session, run) is None


def test_a_running_run_is_asked_to_stop(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        claim = _taken(session, run)
        protocol.cancel(session, make.admin(session), run.id)
        assert protocol.beat(session, claim, LEASE) is True
        rounds.stopped(session, claim)
        assert _row(session, run.id).state == RunState.CANCELLED


def test_whoever_takes_over_a_run_that_was_cancelled_hears_of_it(work: Work) -> None:
    with work() as session:
        run = make.own_run(session)
        _taken(session, run)
        protocol.cancel(session, make.admin(session), run.id)
        _silence(session, run.id)
        assert protocol.beat(session, _taken(session, run, "other"), LEASE) is True


def test_a_run_of_a_round_is_cancelled_with_its_round(work: Work) -> None:
    with work() as session:
        make.reference_document(session)
        rounds.launch(session, make.admin(session), rounds.recipes(session)[0].id, with_simulated=False)
        run_id = session.scalar(select(Run.id).where(Run.position == 1))
        with pytest.raises(Conflict):
            protocol.cancel(session, make.admin(session), run_id or 0)


def test_runs_that_are_not_there_are_not_found(work: Work) -> None:
    with work() as session:
        with pytest.raises(NotFound):
            protocol.cancel(session, make.admin(session), 10**9)
        with pytest.raises(NotFound):
            protocol.the_run(session, 10**9)
        assert _take(session, 10**9) is None


# What the rows themselves refuse


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"state": RunState.RUNNING}, "running_has_a_lease"),
        ({"lease_expires_at": func.now()}, "running_has_a_lease"),
        ({"state": RunState.SUCCEEDED}, "ended_has_a_time"),
        ({"ended_at": func.now()}, "ended_has_a_time"),
        ({"state": RunState.FAILED, "ended_at": func.now()}, "failed_has_words"),
    ],
)
def test_a_run_cannot_be_in_two_states(work: Work, change: dict[str, object], constraint: str) -> None:
    with work() as session:
        run = make.own_run(session)
        with pytest.raises(IntegrityError, match=constraint), session.begin_nested():
            session.execute(update(Run).where(Run.id == run.id).values(change))


def test_work_that_loads_models_goes_to_the_gpu_queue_only() -> None:
    assert {stage for stage, queue in QUEUE_OF.items() if queue is Queue.CPU} == {Stage.IMPORT, Stage.EXPORT}
