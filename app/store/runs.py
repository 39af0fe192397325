"""Runs: the rows that are the jobs, with their metrics, and the exports that runs wrote.

Knows claim by compare-and-set, the fencing token and the lease on the database's clock (invariant 5). Knows nothing of
what a stage does or what follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.words import QUEUE_OF, UNFINISHED, Queue, RunState, Stage, Trouble
from app.store.session import Session
from app.store.slices import slices
from app.store.tables import Export, Labeler, MetricPoint, Round, Run, Worker


def add_run(
    session: Session,
    project_id: int,
    stage: Stage,
    state: RunState,
    payload: dict[str, Any],
    *,
    asked_by: int | None,
    round_id: int | None = None,
    position: int = 0,
) -> Run:
    """A new run."""
    row = Run(
        project_id=project_id,
        stage=stage,
        queue=QUEUE_OF.get(stage),
        state=state,
        payload=payload,
        asked_by=asked_by,
        round_id=round_id,
        position=position,
    )
    session.add(row)
    session.flush()
    return row


def run(session: Session, run_id: int) -> Run | None:
    """The run with this id."""
    return session.get(Run, run_id)


def lock_run(session: Session, run_id: int) -> Run | None:
    """The run as it is now, locked until the transaction ends."""
    return session.scalar(
        select(Run).where(Run.id == run_id).with_for_update().execution_options(populate_existing=True)
    )


def runs_of_round(session: Session, round_id: int, *, lock: bool = False) -> list[Run]:
    """The runs of a round that count, in their order: of each place the newest try."""
    query = select(Run).where(Run.round_id == round_id, Run.superseded_at.is_(None)).order_by(Run.position)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return list(session.scalars(query))


def earlier_runs_of_round(session: Session, round_id: int) -> list[Run]:
    """The tries of a round that were run again since, in the order in which they were made."""
    return list(
        session.scalars(select(Run).where(Run.round_id == round_id, Run.superseded_at.is_not(None)).order_by(Run.id))
    )


def supersede(session: Session, rows: Sequence[Run]) -> None:
    """These count no more, because others take their places. They stay, with what they wrote."""
    for row in rows:
        row.superseded_at = func.now()
    session.flush()


def runs_on_their_own(session: Session, project_id: int, stages: Sequence[Stage], limit: int = 20) -> list[Run]:
    """Runs of these stages outside of rounds, newest first."""
    return list(
        session.scalars(
            select(Run)
            .where(Run.project_id == project_id, Run.round_id.is_(None), Run.stage.in_(stages))
            .order_by(Run.id.desc())
            .limit(limit)
        )
    )


def _due() -> ColumnElement[bool]:
    """A run that waits for a worker, and not for what passes by itself."""
    return and_(Run.state == RunState.QUEUED, or_(Run.due_at.is_(None), Run.due_at <= func.now()))


def _silent() -> ColumnElement[bool]:
    return and_(Run.state == RunState.RUNNING, Run.lease_expires_at < func.now())


def _deaths() -> ColumnElement[int]:
    """How many holders went silent without getting further, the present one included, who is silent."""
    return case((Run.done > Run.furthest, 1), else_=Run.deaths + 1)


def claim(
    session: Session, run_id: int, worker: str, worker_id: UUID | None, lease: timedelta, most_deaths: int
) -> Run | None:
    """Take a run that is due, or whose holder went silent: compare and set. None when there is nothing to take."""
    return session.scalar(
        update(Run)
        .where(Run.id == run_id, or_(_due(), and_(_silent(), _deaths() < most_deaths)))
        .values(
            state=RunState.RUNNING,
            fence=Run.fence + 1,
            worker=worker,
            # A worker that could not yet say that it is there has no row.
            worker_id=select(Worker.id).where(Worker.id == worker_id).scalar_subquery(),
            due_at=None,
            deaths=case((Run.state == RunState.RUNNING, _deaths()), else_=Run.deaths),
            furthest=case((Run.state == RunState.RUNNING, func.greatest(Run.furthest, Run.done)), else_=Run.furthest),
            lease_expires_at=func.now() + lease,
            heartbeat_at=func.now(),
            started_at=func.coalesce(Run.started_at, func.now()),
        )
        .returning(Run)
        .execution_options(synchronize_session=False, populate_existing=True)
    )


def _lost(most_deaths: int) -> ColumnElement[bool]:
    asked = or_(Run.cancel_asked_at.is_not(None), Run.pause_asked_at.is_not(None))
    return and_(_silent(), or_(asked, _deaths() >= most_deaths))


def lost(session: Session, most_deaths: int) -> list[tuple[int, int]]:
    """Runs with a silent holder that nobody should take again just now, with their projects."""
    rows = session.execute(select(Run.id, Run.project_id).where(_lost(most_deaths)).order_by(Run.id))
    return [(row[0], row[1]) for row in rows]


def is_lost(session: Session, run_id: int, most_deaths: int) -> bool:
    """Whether the run still is one of `lost`."""
    return bool(session.scalar(select(exists().where(Run.id == run_id, _lost(most_deaths)))))


def lock_host(session: Session, host: str) -> None:
    """One claim at a time per host, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(4172002, func.hashtext(host))))


def busy(session: Session, host: str, but: int) -> bool:
    """Whether a process of this host holds another run that loads models."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Run.queue == Queue.GPU,
                    Run.state == RunState.RUNNING,
                    Run.lease_expires_at > func.now(),
                    Run.worker.startswith(f"{host}:", autoescape=True),
                    Run.id != but,
                )
            )
        )
    )


def beat(
    session: Session, run_id: int, fence: int, lease: timedelta, progress: tuple[int, int, str] | None
) -> bool | None:
    """Extend the lease and write the progress: whether it should stop, or None for a stale holder."""
    values: dict[str, Any] = {"heartbeat_at": func.now(), "lease_expires_at": func.now() + lease}
    if progress is not None:
        values |= {"done": progress[0], "total": progress[1], "words": progress[2]}
    row = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.fence == fence, Run.state == RunState.RUNNING)
        .values(**values)
        .returning(or_(Run.cancel_asked_at.is_not(None), Run.pause_asked_at.is_not(None)))
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else row[0]


def set_conditions(session: Session, run_id: int, conditions: dict[str, Any]) -> None:
    """What is in force on the worker that runs it."""
    session.execute(update(Run).where(Run.id == run_id).values(conditions=conditions))


def add_points(session: Session, run_id: int, points: Sequence[tuple[str, int, float]]) -> None:
    """Metric values by (name, step); a step that is there already is replaced (the run started again)."""
    newest = {(name, step): value for name, step, value in points}
    if not newest:
        return
    rows = [{"run_id": run_id, "name": name, "step": step, "value": value} for (name, step), value in newest.items()]
    for part in slices(rows):
        statement = insert(MetricPoint).values(list(part))
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["run_id", "name", "step"], set_={"value": statement.excluded.value, "at": func.now()}
            )
        )


def points(session: Session, run_ids: Sequence[int]) -> list[MetricPoint]:
    """All metric values of these runs, in the order of run, name and step."""
    return list(
        session.scalars(
            select(MetricPoint)
            .where(MetricPoint.run_id.in_(run_ids))
            .order_by(MetricPoint.run_id, MetricPoint.name, MetricPoint.step)
        )
    )


def set_waiting(session: Session, run: Run, total: int, words: str) -> None:
    """The run waits for people."""
    run.state = RunState.WAITING
    run.started_at = func.now()
    run.total, run.words = total, words
    session.flush()


def set_queued(session: Session, run: Run) -> None:
    """The run waits for a worker, and its doorbell is about to be rung."""
    run.state = RunState.QUEUED
    run.rung_at = func.now()
    session.flush()


def set_aside(session: Session, run: Run) -> None:
    """The run waits for its round to go on. Whatever held it holds it no more; how far it was stays to be seen."""
    run.state = RunState.PENDING
    run.lease_expires_at = run.pause_asked_at = run.due_at = None
    session.flush()


def postpone(session: Session, run: Run, after: timedelta, problem: str, traceback: str) -> None:
    """The run waits for what passes by itself, and is rung when it is due."""
    run.state = RunState.QUEUED
    run.lease_expires_at = None
    run.due_at = func.now() + after
    run.attempt += 1
    run.trouble, run.problem, run.traceback = Trouble.PASSING, problem, traceback
    session.flush()


def end(
    session: Session,
    run: Run,
    state: RunState,
    *,
    words: str,
    result: dict[str, Any] | None = None,
    trouble: Trouble | None = None,
    problem: str | None = None,
    traceback: str | None = None,
) -> None:
    """The run is over."""
    run.state = state
    run.words = words
    run.result = result
    run.trouble, run.problem, run.traceback = trouble, problem, traceback
    run.lease_expires_at = run.due_at = None
    run.ended_at = func.now()
    session.flush()


def ask_to_cancel(session: Session, run: Run) -> None:
    """Tell the holder to stop at its next look."""
    run.cancel_asked_at = func.now()
    session.flush()


def ask_to_pause(session: Session, run: Run, *, pause: bool) -> None:
    """Tell the holder to stop at its next look and to leave what another can go on from, or that it need not."""
    run.pause_asked_at = func.now() if pause else None
    session.flush()


def set_progress(session: Session, run: Run, done: int, words: str) -> None:
    """How far a run is that no worker holds."""
    run.done, run.words = done, words
    session.flush()


def to_ring(session: Session, again_after: timedelta) -> list[Run]:
    """Runs that need a doorbell: queued or silent ones that were not rung lately. Marks them as rung."""
    rows = list(
        session.scalars(
            select(Run)
            .where(
                Run.queue.is_not(None),
                or_(_due(), _silent()),
                or_(Run.rung_at.is_(None), Run.rung_at < func.now() - again_after),
            )
            .order_by(Run.id)
            .with_for_update(skip_locked=True)
        )
    )
    for row in rows:
        row.rung_at = func.now()
    session.flush()
    return rows


def waiting_runs(session: Session) -> list[Run]:
    """Runs that wait for people."""
    return list(session.scalars(select(Run).where(Run.state == RunState.WAITING).order_by(Run.id)))


def waiting_run_of_round(session: Session, round_id: int) -> Run | None:
    """The round's run that waits for people, locked until the transaction ends."""
    return session.scalar(
        select(Run)
        .where(Run.round_id == round_id, Run.state == RunState.WAITING)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def unfinished(session: Session, project_id: int, stage: Stage) -> int:
    """How many runs of this stage are not over."""
    found = session.scalar(
        select(func.count()).where(Run.project_id == project_id, Run.stage == stage, Run.state.in_(UNFINISHED))
    )
    return found or 0


@dataclass(frozen=True)
class ExportLine:
    """A run that exports, who asked, and the file when it is there."""

    run: Run
    asked_by: str | None
    export: Export | None


def exports(session: Session, project_id: int, limit: int = 50) -> list[ExportLine]:
    """Exports that were asked for, newest first."""
    rows = session.execute(
        select(Run, Labeler.name, Export)
        .outerjoin(Labeler, Labeler.id == Run.asked_by)
        .outerjoin(Export, Export.run_id == Run.id)
        .where(Run.project_id == project_id, Run.stage == Stage.EXPORT)
        .order_by(Run.id.desc())
        .limit(limit)
    )
    return [ExportLine(row[0], row[1], row[2]) for row in rows]


def export(session: Session, project_id: int, export_id: int) -> Export | None:
    """The export with this id."""
    return session.scalar(select(Export).where(Export.project_id == project_id, Export.id == export_id))


def add_export(session: Session, row: Export) -> None:
    """A file that was written whole."""
    session.add(row)
    session.flush()


def clock(session: Session) -> datetime:
    """The database's time at the start of this transaction: the time that `points_since` compares with."""
    return session.scalars(select(func.now())).one()


def points_since(session: Session, run_ids: Sequence[int], since: datetime) -> list[MetricPoint]:
    """Metric values of these runs that were written (or written anew) after `since`, in the order they were written."""
    return list(
        session.scalars(
            select(MetricPoint)
            .where(MetricPoint.run_id.in_(run_ids), MetricPoint.at > since)
            .order_by(MetricPoint.at, MetricPoint.run_id, MetricPoint.name, MetricPoint.step)
        )
    )


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, and the round it belonged to, if any."""

    run: Run
    round_number: int | None


def failed(session: Session, project_id: int, limit: int) -> list[FailedRun]:
    """Runs that failed, the newest end first."""
    rows = session.execute(
        select(Run, Round.number)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(Run.project_id == project_id, Run.state == RunState.FAILED)
        .order_by(Run.ended_at.desc(), Run.id.desc())
        .limit(limit)
    )
    return [FailedRun(row[0], row[1]) for row in rows]
