"""What changed in a round since a moment: one look for a page that stays open.

Knows that a cursor is the database's time of a look, and why two looks overlap. Knows nothing of HTTP; never commits.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.domain.words import RoundState, RunState
from app.services import rounds, workers
from app.services.rounds import RoundView
from app.services.workers import Missing
from app.store import runs
from app.store.session import Session

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 10**16
"""A cursor after everything: a look with it gives no points."""

# A point carries the time at which its transaction began, and is seen when it has committed. Everything that began
# longer ago than any transaction lasts (lock_timeout is 20 s) is therefore there; what is younger is looked at again.
OVERLAP = timedelta(seconds=30)

# What a worker must take, or take over.
_FOR_WORKERS = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True)
class Point:
    """A metric value. Hearing of it twice is harmless: (run, name, step) says which it is."""

    run: int
    name: str
    step: int
    value: float


@dataclass(frozen=True)
class Look:
    """A round as it is now, the points written since the last look, and the cursor for the next.

    `missing` are queues in which something waits in vain while a run of this round waits for a worker.
    """

    cursor: int
    at: datetime
    round: RoundView
    points: list[Point]
    missing: list[Missing]

    @property
    def over(self) -> bool:
        """Whether nothing can change any more: the round has ended and no worker is still on its way out."""
        return self.round.state is not RoundState.ACTIVE and not any(
            run.state is RunState.RUNNING for run in self.round.runs
        )


def look(session: Session, number: int, cursor: int) -> Look:
    """The round with this number and its points after `cursor` (0: all; microseconds of an earlier look).

    Raises NotFound.
    """
    now = runs.clock(session)
    since = EPOCH + timedelta(microseconds=cursor) - (OVERLAP if cursor else timedelta())
    found = rounds.view(session, number)
    begun = [run.id for run in found.runs if run.started_at is not None and not (run.ended_at and run.ended_at < since)]
    points = runs.points_since(session, begun, since) if begun else []
    return Look(
        cursor=(now - EPOCH) // timedelta(microseconds=1),
        at=now,
        round=found,
        points=[Point(point.run_id, point.name, point.step, point.value) for point in points],
        missing=workers.missing(session) if any(run.state in _FOR_WORKERS for run in found.runs) else [],
    )
