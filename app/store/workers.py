"""Workers: the processes that take messages, by what they said last.

Knows that the database's clock decides who is alive. Knows nothing of how a run is claimed (app.store.runs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.words import Queue, RunState
from app.store.session import Session
from app.store.tables import Round, Run, Worker


def beat(session: Session, worker_id: UUID, facts: dict[str, Any]) -> None:
    """The worker is there and has this; a row is made with its first word."""
    statement = insert(Worker).values(id=worker_id, **facts)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"], set_={**facts, "heartbeat_at": func.now(), "ended_at": None}
        )
    )


def leave(session: Session, worker_id: UUID) -> None:
    """The worker said that it stops."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(ended_at=func.now()))


@dataclass(frozen=True)
class Doing:
    """What a worker holds: the run, and the number of its round, if it has one."""

    run: Run
    round_number: int | None


@dataclass(frozen=True)
class Seen:
    """A worker with the time since its last word, by the database's clock."""

    worker: Worker
    silent: timedelta


def since(session: Session, project_id: int, age: timedelta) -> tuple[list[Seen], dict[UUID, list[Doing]]]:
    """Workers that said something within `age`, by host, newest first, and what each holds by a lease that is good."""
    now = session.scalars(select(func.now())).one()
    seen = session.scalars(
        select(Worker).where(Worker.heartbeat_at > func.now() - age).order_by(Worker.host, Worker.started_at.desc())
    )
    held = session.execute(
        select(Run, Round.number)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(
            Run.project_id == project_id,
            Run.state == RunState.RUNNING,
            Run.lease_expires_at > func.now(),
        )
        .order_by(Run.id)
    )
    doing: dict[UUID, list[Doing]] = {}
    for row in held:
        if row[0].worker_id is not None:
            doing.setdefault(row[0].worker_id, []).append(Doing(row[0], row[1]))
    return [Seen(worker, now - worker.heartbeat_at) for worker in seen], doing


def living(session: Session, queue: Queue, age: timedelta) -> list[Worker]:
    """Workers that take from this queue and said something within `age`."""
    return list(
        session.scalars(
            select(Worker).where(
                Worker.ended_at.is_(None), Worker.heartbeat_at > func.now() - age, Worker.queues.contains([queue.value])
            )
        )
    )


def last_seen(session: Session, queue: Queue) -> datetime | None:
    """When a worker that takes from this queue said something last."""
    return session.scalar(select(func.max(Worker.heartbeat_at)).where(Worker.queues.contains([queue.value])))


def queues_in_need(session: Session, project_id: int, queues: Sequence[Queue]) -> list[Queue]:
    """Of these, the queues in which a run is due, or lies that nobody holds any more."""
    silent = and_(Run.state == RunState.RUNNING, Run.lease_expires_at < func.now())
    due = and_(Run.state == RunState.QUEUED, or_(Run.due_at.is_(None), Run.due_at <= func.now()))
    return [
        queue
        for queue in queues
        if session.scalar(select(exists().where(Run.project_id == project_id, Run.queue == queue, or_(due, silent))))
    ]
