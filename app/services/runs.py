"""The protocol between a run's row and whoever executes it: claim, beat, measure, hold.

Knows that a message may come twice, late or never, and that a stale holder may not write (invariant 5). Knows nothing
of what a stage does, nor of what follows when it ends (app.services.rounds).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.domain.errors import Conflict, NotFound, StaleClaim
from app.domain.words import Queue, RunState, Stage
from app.jobs import run_job
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import people, runs
from app.store.session import Session, enqueue
from app.store.tables import MetricPoint, Run

RING_AGAIN = timedelta(seconds=20)
# A stage that is killed each time at the same place, most likely for want of memory, is not given to a sixth worker.
MOST_DEATHS = 5
# Names in a payload: see Claim.
GOES_ON_FROM, ORIGIN = "goes_on_from", "origin"


@dataclass(frozen=True)
class Claim:
    """A run that this worker holds, by its fencing token."""

    run_id: int
    fence: int
    stage: Stage
    project_id: int
    round_id: int | None
    payload: dict[str, Any]

    @property
    def goes_on_from(self) -> int | None:
        """The earlier try whose resume states this one goes on from, if it is one that was run again unfinished."""
        found: int | None = self.payload.get(GOES_ON_FROM)
        return found

    @property
    def origin(self) -> int:
        """The first of the tries that go on from one another: what is drawn by chance follows from it."""
        found: int = self.payload.get(ORIGIN, self.run_id)
        return found


def gone_on_from(run: Run) -> dict[str, Any]:
    """What is asked of a run that goes on where this one, which did not succeed, stood."""
    return run.payload | {GOES_ON_FROM: run.id, ORIGIN: run.payload.get(ORIGIN, run.id)}


def ask(session: Session, viewer: Viewer | None, stage: Stage, payload: dict[str, Any]) -> Run:
    """A run outside of rounds: written now, rung after the commit."""
    run = runs.add_run(
        session,
        the_project(session).id,
        stage,
        RunState.QUEUED,
        payload,
        asked_by=None if viewer is None else viewer.id,
    )
    runs.set_queued(session, run)
    enqueue(session, run_job(stage, run.id))
    people.audit(session, None if viewer is None else viewer.id, f"asked {stage}", "run", run.id)
    return run


def queue(session: Session, run: Run) -> None:
    """Let a worker have the run: written now, rung after the commit."""
    runs.set_queued(session, run)
    enqueue(session, run_job(Stage(run.stage), run.id))


def claim(
    session: Session, run_id: int, host: str, process: int, lease: timedelta, worker_id: UUID | None = None
) -> Claim | None:
    """Take the run if it is due, or its holder went silent; None otherwise (delivered twice, cancelled, paused, over).

    A host trains one model at a time, because two would take each other's cores or memory: a second run that loads
    models is left, and the reconciler rings for it again.
    """
    asked = runs.run(session, run_id)
    if asked is not None and asked.queue == Queue.GPU:
        runs.lock_host(session, host)
        if runs.busy(session, host, but=run_id):
            return None
    run = runs.claim(session, run_id, f"{host}:{process}", worker_id, lease, MOST_DEATHS)
    if run is None:
        return None
    return Claim(run.id, run.fence, Stage(run.stage), run.project_id, run.round_id, run.payload)


def beat(session: Session, claim: Claim, lease: timedelta, progress: tuple[int, int, str] | None = None) -> bool:
    """Keep the claim and say how far it is: whether it should stop, for a cancel or a pause. Raises StaleClaim."""
    stop = runs.beat(session, claim.run_id, claim.fence, lease, progress)
    if stop is None:
        raise StaleClaim(f"Run {claim.run_id} is no longer held by this worker.")
    return stop


def measure(session: Session, claim: Claim, points: list[tuple[str, int, float]]) -> None:
    """Write metric values. Raises StaleClaim."""
    hold(session, claim)
    runs.add_points(session, claim.run_id, points)


def note_conditions(session: Session, claim: Claim, conditions: dict[str, Any]) -> None:
    """Write what is in force on this worker. Raises StaleClaim."""
    hold(session, claim)
    runs.set_conditions(session, claim.run_id, conditions)


def hold(session: Session, claim: Claim) -> Run:
    """The run's row, locked, while the claim is good; a stage writes nothing without it. Raises StaleClaim."""
    run = runs.lock_run(session, claim.run_id)
    if run is None or run.fence != claim.fence or run.state != RunState.RUNNING:
        raise StaleClaim(f"Run {claim.run_id} is no longer held by this worker.")
    return run


def succeeded(session: Session, claim: Claim) -> bool:
    """Whether this very claim has ended its run well: a commit whose acknowledgement was lost looks stale otherwise."""
    run = runs.lock_run(session, claim.run_id)
    return run is not None and run.fence == claim.fence and run.state == RunState.SUCCEEDED


def the_run(session: Session, run_id: int) -> Run:
    """The run with this id. Raises NotFound."""
    run = runs.run(session, run_id)
    if run is None:
        raise NotFound("There is no such run.", "Go back to the list.")
    return run


def cancel(session: Session, viewer: Viewer, run_id: int) -> None:
    """Stop a run outside of rounds: at once while it waits, at the worker's next look while it runs."""
    run = runs.lock_run(session, run_id)
    if run is None:
        raise NotFound("There is no such run.", "Go back to the list.")
    if run.round_id is not None:
        raise Conflict("This run is part of a round.", "Cancel the round.")
    if run.state == RunState.RUNNING:
        runs.ask_to_cancel(session, run)
    elif run.state == RunState.QUEUED:
        runs.end(session, run, RunState.CANCELLED, words="Cancelled before it began.")
    people.audit(session, viewer.id, "cancelled", "run", run.id)


def ring(session: Session) -> int:
    """Ring again for runs that are due or whose holder went silent (a lost message, a dead worker). Gives how many."""
    due = runs.to_ring(session, RING_AGAIN)
    for run in due:
        enqueue(session, run_job(Stage(run.stage), run.id))
    return len(due)


def points(session: Session, run_ids: list[int]) -> dict[int, dict[str, list[tuple[int, float]]]]:
    """Metric curves: run, then name, then (step, value) in order."""
    curves: dict[int, dict[str, list[tuple[int, float]]]] = {}
    point: MetricPoint
    for point in runs.points(session, run_ids):
        curves.setdefault(point.run_id, {}).setdefault(point.name, []).append((point.step, point.value))
    return curves
