"""Who carries out runs: workers that say they are there, what each has and does, and whether a run waits in vain.

Knows how often a worker speaks and when one counts as gone. Knows nothing of pages; never commits.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain.words import Queue, Stage
from app.services.projects import the_project
from app.store import workers
from app.store.session import Session

BEAT_EVERY = timedelta(seconds=10)
# Three beats and some: a database that restarts, or a host that is busy, makes nobody dead.
GONE_AFTER = timedelta(seconds=45)
SHOWN = timedelta(days=1)


@dataclass(frozen=True)
class Device:
    """What torch computes on: its memory in bytes, and the versions that do."""

    name: str
    memory: int
    torch: str
    transformers: str


@dataclass(frozen=True)
class Present:
    """What a worker says of itself. `device` is None until torch was asked, and for a worker that loads no models."""

    id: UUID
    host: str
    process: int
    queues: list[str]
    at_once: int
    code: str
    python: str
    device: Device | None


def beat(session: Session, told: Present) -> None:
    """The worker is there."""
    device = {} if told.device is None else asdict(told.device)
    facts = {name: value for name, value in asdict(told).items() if name not in ("id", "device")}
    if device:
        facts |= {"device": device.pop("name"), **device}
    workers.beat(session, told.id, facts)


def leave(session: Session, worker_id: UUID) -> None:
    """The worker stops in good order."""
    workers.leave(session, worker_id)


@dataclass(frozen=True)
class Doing:
    """What a worker is at: the stage, the round it is for, since when, how far, and in words."""

    run: int
    stage: Stage
    round_number: int | None
    since: datetime | None
    words: str
    done: int
    total: int


@dataclass(frozen=True)
class WorkerView:
    """A worker that was heard of lately. `alive`: it spoke within GONE_AFTER and did not say that it stops."""

    host: str
    process: int
    queues: list[Queue]
    at_once: int
    code: str
    python: str
    device: str | None
    memory: int | None
    torch: str | None
    transformers: str | None
    started_at: datetime
    silent: timedelta
    ended: bool
    doing: list[Doing]

    @property
    def alive(self) -> bool:
        """Whether it may be expected to take a run."""
        return not self.ended and self.silent < GONE_AFTER


def views(session: Session) -> list[WorkerView]:
    """Workers that were heard of within a day, those that are alive first."""
    seen, doing = workers.since(session, the_project(session).id, SHOWN)
    found = [
        WorkerView(
            host=each.worker.host,
            process=each.worker.process,
            queues=[Queue(name) for name in each.worker.queues],
            at_once=each.worker.at_once,
            code=each.worker.code,
            python=each.worker.python,
            device=each.worker.device,
            memory=each.worker.memory,
            torch=each.worker.torch,
            transformers=each.worker.transformers,
            started_at=each.worker.started_at,
            silent=each.silent,
            ended=each.worker.ended_at is not None,
            doing=[
                Doing(
                    held.run.id,
                    Stage(held.run.stage),
                    held.round_number,
                    held.run.started_at,
                    held.run.words,
                    held.run.done,
                    held.run.total,
                )
                for held in doing.get(each.worker.id, [])
            ],
        )
        for each in seen
    ]
    return sorted(found, key=lambda view: not view.alive)


def largest_memory(session: Session) -> int | None:
    """Bytes of the largest device that a living worker loads models on; None where no worker has said."""
    told = [each.memory for each in workers.living(session, Queue.GPU, GONE_AFTER) if each.memory is not None]
    return max(told, default=None)


@dataclass(frozen=True)
class Missing:
    """A queue in which a run waits and from which no living worker takes; when one was heard of last."""

    queue: Queue
    last_seen: datetime | None


def missing(session: Session) -> list[Missing]:
    """Queues in which something waits in vain."""
    waiting = workers.queues_in_need(session, the_project(session).id, list(Queue))
    return [
        Missing(queue, workers.last_seen(session, queue))
        for queue in waiting
        if not workers.living(session, queue, GONE_AFTER)
    ]
