"""How a run stands, for programs that asked for one, and in the words that several pages share.

Knows the wire form of a run, for staff only. Knows nothing of what a stage does.
"""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.words import UNFINISHED, RunState, Stage
from app.services import rounds, runs
from app.services.rounds import RunView
from app.store.tables import Run
from app.web.door import STAFF, DoorDep, Id

router = APIRouter()

CANCELLING = "cancelling"


class RunAnswer(BaseModel):
    """A run as a program sees it. `done` of `total` of a stage that waits are opinions."""

    id: int
    stage: Stage
    state: RunState
    words: str
    done: int
    total: int
    problem: str | None
    result: dict[str, Any]
    conditions: dict[str, Any]
    seconds: float | None


def run_answer(found: RunView) -> RunAnswer:
    """The wire form of a run."""
    return RunAnswer.model_validate(found, from_attributes=True)


@router.get("/api/runs/{run_id}")
def run(door: DoorDep, run_id: Id) -> RunAnswer:
    """How the run stands."""
    with door.enter(*STAFF) as desk:
        return run_answer(rounds.run_view(desk.session, runs.the_run(desk.session, run_id)))


def unfinished(run: Run) -> bool:
    """Whether a page about it should look again."""
    return run.state in UNFINISHED


def state_word(state: RunState, *, asked_to_stop: bool) -> str:
    """The state as pages show it: CANCELLING while a worker has not yet seen that it should stop."""
    return CANCELLING if asked_to_stop and state is RunState.RUNNING else state.value


def shown_state(run: Run) -> str:
    """The state of a run outside of rounds as pages show it."""
    return state_word(RunState(run.state), asked_to_stop=run.cancel_asked_at is not None)


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
