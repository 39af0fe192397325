"""How a run stands, for programs that asked for one, and in the words that several pages share.

Knows the wire form of a run, for staff only. Knows nothing of what a stage does.
"""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.words import UNFINISHED, RunState, Stage, Trouble
from app.services import rounds, runs
from app.services.rounds import MOST_ATTEMPTS, RunView
from app.store.tables import Run
from app.web.door import STAFF, DoorDep, Id

router = APIRouter()

CANCELLING = "cancelling"


class RunAnswer(BaseModel):
    """A run as a program sees it. `done` of `total` of a stage that waits are opinions.

    `trouble` says whether the same again may succeed; a queued run with `due_at` waits until then for its `attempt`.
    """

    id: int
    stage: Stage
    state: RunState
    words: str
    done: int
    total: int
    attempt: int
    due_at: datetime | None
    trouble: Trouble | None
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


def span(seconds: float) -> str:
    """A time to come or gone by, as people say it."""
    if seconds < 90:
        return "a minute" if seconds >= 30 else "a few seconds"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} minutes"
    hours = round(minutes / 60)
    return f"{hours} hours" if hours < 48 else f"{round(hours / 24)} days"


def tries_again(attempt: int, due_at: datetime, problem: str | None, now: datetime) -> str:
    """That another attempt comes, when, and why."""
    when = span((due_at - now).total_seconds())
    return f"Tries again in {when} (attempt {attempt} of {MOST_ATTEMPTS}), because the one before failed: {problem}"


def shown_words(run: Run) -> str:
    """What it is doing, in words, also before a worker has said any."""
    if run.due_at is not None:
        return tries_again(run.attempt, run.due_at, run.problem, datetime.now(UTC))
    if run.state == RunState.QUEUED:
        return "Waiting for a worker."
    return run.words or ("Beginning." if run.state == RunState.RUNNING else "")


def shown_problem(run: Run) -> str | None:
    """Why it failed, once no other attempt comes."""
    return run.problem if run.state == RunState.FAILED else None


def seconds(run: Run) -> float | None:
    """How long it took; None while it goes on."""
    if run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds()
