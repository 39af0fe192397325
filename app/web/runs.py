"""How a run stands, for programs that asked for one, and in the words that several pages share.

Knows the wire form of a run, for staff only. Knows nothing of what a stage does.
"""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.words import UNFINISHED, RunState, Stage
from app.services import runs
from app.store.tables import Run
from app.web.door import STAFF, DoorDep, Id

router = APIRouter()


class RunAnswer(BaseModel):
    """A run as a program sees it."""

    id: int
    stage: Stage
    state: RunState
    words: str
    done: int
    total: int
    problem: str | None
    result: dict[str, Any] | None


@router.get("/api/runs/{run_id}")
def run(door: DoorDep, run_id: Id) -> RunAnswer:
    """How the run stands."""
    with door.enter(*STAFF) as desk:
        found = runs.the_run(desk.session, run_id)
        return RunAnswer(
            id=found.id,
            stage=Stage(found.stage),
            state=RunState(found.state),
            words=found.words,
            done=found.done,
            total=found.total,
            problem=found.problem,
            result=found.result,
        )


def unfinished(run: Run) -> bool:
    """Whether a page about it should look again."""
    return run.state in UNFINISHED


def shown_state(run: Run) -> str:
    """The run's state, or `cancelling` while a worker has not yet seen that it should stop."""
    asked = run.state == RunState.RUNNING and run.cancel_asked_at is not None
    return "cancelling" if asked else RunState(run.state).value


def can_cancel(run: Run) -> bool:
    """Whether a cancel button makes sense."""
    return shown_state(run) in (RunState.QUEUED, RunState.RUNNING)


def shown_words(run: Run) -> str:
    """What it is doing, in words, also before a worker has said any."""
    if run.state == RunState.QUEUED:
        return "Waiting for a worker."
    return run.words or ("Beginning." if run.state == RunState.RUNNING else "")


def seconds(run: Run) -> float | None:
    """How long it took; None while it goes on."""
    if run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds()
