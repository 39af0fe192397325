"""The entry points of a worker: claim the row, run the stage, end the row. Names and queues come from app.jobs.

Knows that a message is only a doorbell (invariant 5): delivered twice, late, or after a cancel, it does nothing wrong.
Heavy imports happen inside the task, in a child process of its own, so that the parent never loads torch and a GPU's
memory comes back by itself.
"""

import contextlib
import importlib
import os
import platform
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any, TypeVar

import structlog

from app.domain.errors import Refusal, StaleClaim
from app.domain.words import QUEUE_OF, Queue, Stage, Trouble
from app.queue import celery_client, sender
from app.services import judging, rounds, runs
from app.services.runs import Claim
from app.settings import Settings
from app.store.session import DatabaseUnreachable, Send, Session, Sessions, connect, unit_of_work
from worker import presence
from worker.artifacts import code_revision
from worker.training.metrics import Cancelled

MODULES = {
    Stage.IMPORT: "imports",
    Stage.EXPORT: "export",
    Stage.SFT: "sft",
    Stage.SAMPLE: "sample",
    Stage.REWARD: "reward",
    Stage.PPO: "ppo",
    Stage.EVALUATE: "evaluate",
}
END_TRIES = 30

Written = TypeVar("Written")

log = structlog.get_logger()


def reconcile() -> None:
    """Count answers that wait, ring for runs that wait or went silent, look at rounds that wait, and at their alarms.

    Last comes continuous mode, which sees what the others did. Safe to run at any time.
    """
    from app.services import continuous, monitor

    with _connected(Settings()) as (sessions, send):
        # One after the other, so that nobody holds a run's lock while waiting for a round's. What a dead worker left
        # comes first: no trouble of the others keeps it waiting.
        looks = (rounds.give_up, runs.ring, judging.count_waiting, rounds.look_around, monitor.look_around)
        for look in (*looks, continuous.look_around):
            with unit_of_work(sessions, send) as session:
                look(session)


def execute(run_id: int) -> None:
    """Run the stage of this row, if it is there to be claimed."""
    settings = Settings()
    lease = timedelta(seconds=settings.run_lease_seconds)
    with _connected(settings) as (sessions, send):
        with unit_of_work(sessions, send) as session:
            claim = runs.claim(session, run_id, socket.gethostname(), os.getpid(), lease, presence.ME)
        if claim is None:
            log.info("nothing_to_claim", run=run_id)
            return
        log.info("run_claimed", run=run_id, stage=claim.stage.value, fence=claim.fence)
        _carry_out(claim, settings, sessions, send, lease)


@contextmanager
def _connected(settings: Settings) -> Iterator[tuple[Sessions, Send]]:
    if settings.database_url is None or settings.broker_url is None:
        raise RuntimeError("Set HONE_DATABASE_URL and HONE_BROKER_URL, or start everything with `hone run`.")
    sessions = connect(settings.database_url, pool=3)
    try:
        with celery_client(settings.broker_url) as client:
            yield sessions, sender(client)
    finally:
        sessions.kw["bind"].dispose()


def _carry_out(claim: Claim, settings: Settings, sessions: Sessions, send: Send, lease: timedelta) -> None:
    from worker.artifacts import Artifacts
    from worker.progress import RunSink
    from worker.stages.task import Task

    artifacts = Artifacts(settings.artifacts)
    sink = RunSink(sessions, send, claim, lease)
    task = Task(claim, settings, artifacts, sink, sessions, send)
    try:
        with sink.alive():
            _note_conditions(task)
            outcome = importlib.import_module(f"worker.stages.{MODULES[claim.stage]}").run(task)
            sink.flush()
            _end(sessions, send, lambda session: _succeed(session, claim, outcome))
    except StaleClaim:
        if _end(sessions, send, lambda session: runs.succeeded(session, claim)):
            artifacts.forget_states(claim)
        else:
            log.warning("claim_lost", run=claim.run_id, fence=claim.fence)
            artifacts.forget(claim)
    except Cancelled as stop:
        artifacts.stop(claim)
        log.info("run_stopped", run=claim.run_id, why=str(stop))
        kept = "" if stop.left is None else f"The model as it was then is kept in {artifacts.relative(stop.left)}."
        with contextlib.suppress(StaleClaim):
            _end(sessions, send, lambda session: rounds.stopped(session, claim, kept))
        artifacts.forget_upload(claim)
    except Exception as error:  # noqa: BLE001  whatever it was, a failed task leaves a row with words in it
        artifacts.stop(claim)
        problem, text = _in_words(error, claim.stage), "".join(traceback.format_exception(error))
        trouble = Trouble.PASSING if _passes(error) else Trouble.LASTING
        with contextlib.suppress(StaleClaim):
            again = _end(sessions, send, lambda session: rounds.fail(session, claim, trouble, problem, text))
            log.error("run_failed", run=claim.run_id, stage=claim.stage.value, problem=problem, again=again)
            if not again:
                artifacts.forget_upload(claim)
    else:
        artifacts.forget_states(claim)
        artifacts.forget_upload(claim)


def _succeed(session: Session, claim: Claim, outcome: Any) -> None:
    if rounds.hold_with_round(session, claim).cancel_asked_at is not None:
        # Nothing of a cancelled round takes effect, however far it came.
        raise Cancelled("Somebody asked to stop.")
    outcome.record(session)
    rounds.succeed(session, claim, outcome.words, outcome.result)


def _end(sessions: Sessions, send: Send, write: Callable[[Session], Written]) -> Written:
    """Write a run's end, waiting for a database that is away: hours of training do not fall to its restart."""
    for pause in range(1, END_TRIES):
        try:
            with unit_of_work(sessions, send) as session:
                return write(session)
        except DatabaseUnreachable:
            Event().wait(min(pause, 10))
    with unit_of_work(sessions, send) as session:
        return write(session)


def _note_conditions(task: Any) -> None:
    """Fix the threads, and write down what is in force."""
    note = task.sink.note
    note("code", code_revision())
    note("python", platform.python_version())
    note("machine", platform.machine())
    if QUEUE_OF[task.claim.stage] is Queue.GPU:
        import torch
        import transformers

        from worker.training import devices

        torch.set_num_threads(task.settings.threads or os.cpu_count() or 1)
        device = devices.best()
        note("torch", torch.__version__)
        note("transformers", transformers.__version__)
        note("device", torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")
        # Until training says otherwise: what it finds in force, it notes itself.
        note("start", "from the beginning")
    task.sink.flush()
    task.sink.check()


def _passes(error: Exception) -> bool:
    """Whether the same again, later, may well succeed: the database was away, or a disk full that somebody cleans."""
    from worker.training.errors import DiskFull, out_of_disk

    return isinstance(error, DatabaseUnreachable | DiskFull) or out_of_disk(error)


def _in_words(error: Exception, stage: Stage) -> str:
    """What happened, what is safe, what to do."""
    from app.domain.prompts import PromptTooLong
    from worker.stages.task import CannotRun
    from worker.training.errors import SMALLER, CannotTrain, DiskFull, out_of_disk, out_of_memory

    if isinstance(error, Refusal):
        return f"{error.what} {error.what_to_do}".strip()
    if isinstance(error, CannotRun | DiskFull):
        return str(error)
    if isinstance(error, CannotTrain | PromptTooLong):
        return f"{str(error)[:1].upper()}{str(error)[1:]}. What was judged and every earlier checkpoint is safe."
    if out_of_memory(error):
        what_to_do = (
            f"Lower {SMALLER[stage]} or sampling.max_query_tokens in the recipe and launch a round again: what was "
            "judged is taken in."
            if stage in SMALLER
            else "Give it more memory and ask again."
        )
        return f"The worker ran out of memory. What was judged and every earlier checkpoint is safe. {what_to_do}"
    if out_of_disk(error):
        return "The disk is full. What was judged and every earlier checkpoint is safe. Make room on it."
    if isinstance(error, DatabaseUnreachable):
        return f"The database could not be reached: {error}. What was judged and every earlier checkpoint is safe."
    return (
        f"{type(error).__name__}: {str(error).strip()[:500] or 'no message'}. What was judged and every earlier "
        "checkpoint is safe; nothing of this run counts. The traceback says where it happened."
    )
