"""One unit of work is one transaction, and doorbells ring after it and never without it."""

import pytest
from psycopg import ProgrammingError
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from app.domain.words import Stage
from app.jobs import Job, reconcile_job, run_job
from app.store.session import DatabaseUnreachable, Sessions, connect, directly, enqueue, unit_of_work
from app.store.tables import Batch, Labeler
from tests.conftest import Work
from tests.support import factories as make

FIRST, SECOND = run_job(Stage.EXPORT, 1), run_job(Stage.IMPORT, 2)


def test_jobs_leave_in_order_after_the_commit(work: Work, sent: list[Job]) -> None:
    with work() as session:
        enqueue(session, FIRST)
        enqueue(session, SECOND)
        session.execute(select(1))
        assert sent == []
    assert sent == [FIRST, SECOND]


def test_jobs_leave_only_once_everybody_can_see_the_rows(own_sessions: Sessions) -> None:
    seen: list[int | None] = []

    def look(_: Job) -> None:
        with own_sessions() as other:
            seen.append(other.scalar(select(func.count()).select_from(Labeler)))

    with unit_of_work(own_sessions, look) as session:
        make.labeler(session)
        enqueue(session, FIRST)
    assert seen == [1]


def test_a_released_savepoint_sends_nothing_yet(work: Work, sent: list[Job]) -> None:
    with pytest.raises(ZeroDivisionError), work() as session:
        with session.begin_nested():
            make.labeler(session)
            enqueue(session, FIRST)
        assert sent == []
        raise ZeroDivisionError
    assert sent == []


def test_a_savepoint_that_is_rolled_back_loses_no_job_from_outside_it(work: Work, sent: list[Job]) -> None:
    with work() as session:
        enqueue(session, FIRST)
        with pytest.raises(IntegrityError), session.begin_nested():
            make.labeler(session, "Ada")
            make.labeler(session, "Ada")
        enqueue(session, SECOND)
    assert sent == [FIRST, SECOND]


def test_a_block_that_raises_writes_and_sends_nothing(work: Work, sent: list[Job]) -> None:
    with pytest.raises(ZeroDivisionError), work() as session:
        make.labeler(session, "Ada")
        enqueue(session, FIRST)
        raise ZeroDivisionError
    with work() as session:
        assert session.scalar(select(func.count()).select_from(Labeler)) == 0
    assert sent == []


def test_a_commit_that_fails_writes_and_sends_nothing(work: Work, sent: list[Job]) -> None:
    with pytest.raises(IntegrityError), work() as session:
        enqueue(session, FIRST)
        # Not flushed here: the commit itself is what fails.
        session.add(Batch(project_id=10**9, name="nowhere"))
    assert sent == []


def test_a_connection_that_dies_before_the_commit_sends_nothing(own_sessions: Sessions) -> None:
    sent: list[Job] = []
    with pytest.raises(DatabaseUnreachable), unit_of_work(own_sessions, sent.append) as session:
        make.labeler(session, "Ada")
        enqueue(session, reconcile_job())
        pid = session.scalar(select(func.pg_backend_pid()))
        with own_sessions() as other:
            other.execute(select(func.pg_terminate_backend(pid)))
    assert sent == []
    with own_sessions() as session:
        assert session.scalar(select(func.count()).select_from(Labeler)) == 0


def test_a_connection_whose_server_hung_up_meanwhile_is_replaced(database_url: str) -> None:
    factory, other = connect(database_url, pool=1), connect(database_url, pool=1)
    with factory() as session:
        pid = session.scalar(select(func.pg_backend_pid()))
    with other() as session:
        # Waits until the process is gone, and with it its end of the connection.
        assert session.scalar(select(func.pg_terminate_backend(pid, 10_000)))
    with factory() as session:
        assert session.scalar(select(func.pg_backend_pid())) != pid
    for each in (factory, other):
        each.kw["bind"].dispose()


def test_a_lock_that_somebody_held_for_too_long_is_a_trouble_that_passes(own_sessions: Sessions) -> None:
    lock = text("select pg_advisory_xact_lock(1, 1)")
    with own_sessions() as busy:
        busy.execute(lock)
        with pytest.raises(DatabaseUnreachable), unit_of_work(own_sessions, print) as session:
            session.execute(text("set local lock_timeout = '1ms'"))
            session.execute(lock)


_HELD = text("select pg_advisory_xact_lock(1, 2)")
_END_OF = text("select pg_terminate_backend(:pid)")
_GIVEN = text("select :given ::text, 'as it is %'")


def test_a_statement_that_is_sent_directly_fails_like_any_other(own_sessions: Sessions) -> None:
    with own_sessions() as busy:
        directly(busy, _HELD)
        with pytest.raises(DatabaseUnreachable), unit_of_work(own_sessions, print) as session:
            session.execute(text("set local lock_timeout = '1ms'"))
            directly(session, _HELD)
        with pytest.raises(DatabaseUnreachable), unit_of_work(own_sessions, print) as session:
            directly(busy, _END_OF, pid=session.scalar(select(func.pg_backend_pid())))
            directly(session, _GIVEN, given="never seen")
    with unit_of_work(own_sessions, print) as session:
        assert directly(session, _GIVEN, given="50 %") == [("50 %", "as it is %")]


def test_a_value_that_was_forgotten_is_no_null(own_sessions: Sessions) -> None:
    with pytest.raises(ProgrammingError, match="given"), unit_of_work(own_sessions, print) as session:
        directly(session, _GIVEN, gievn="50 %")


def test_times_are_read_in_utc_and_locks_do_not_wait_for_ever(database_url: str) -> None:
    factory = connect(database_url, pool=1)
    with factory() as session:
        assert session.scalar(text("show timezone")) == "UTC"
        assert session.scalar(text("show lock_timeout")) == "20s"
        assert session.scalar(text("show transaction_isolation")) == "read committed"
    factory.kw["bind"].dispose()
