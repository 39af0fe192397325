"""The entry points of a worker: claim the row, run the stage, end the row. Names and queues come from app.jobs.

Knows that a message is only a doorbell (invariant 5): delivered twice, late, or after a cancel, it does nothing wrong.
Heavy imports happen inside the task, in a child process of its own, so that the parent never loads torch and a GPU's
memory comes back by itself.
"""

import contextlib
import errno
import importlib
import os
import platform
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import structlog

from app.domain.errors import Refusal, StaleClaim
from app.domain.words import QUEUE_OF, Queue, Stage
from app.queue import celery_client, sender
from app.services import rounds, runs
from app.services.runs import Claim
from app.settings import Settings
from app.store import runs as store
from app.store.session import DatabaseUnreachable, Send, Session, Sessions, connect, unit_of_work
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
# What to lower where a stage runs out of memory. A micro-batch changes memory only.
SMALLER = {
    Stage.SFT: "sft.micro_batch",
    Stage.SAMPLE: "sampling.batch",
    Stage.REWARD: "reward.micro_batch",
    Stage.PPO: "ppo.micro_batch (sampling.batch, if it was writing)",
    Stage.EVALUATE: "evaluation.batch",
}
END_TRIES = 30

log = structlog.get_logger()


def reconcile() -> None:
    """Ring for runs that wait or went silent, and look at rounds that wait for people. Safe to run at any time."""
    with _connected(Settings()) as (sessions, send):
        # One after the other, so that nobody holds a run's lock while waiting for a round's.
        for look in (rounds.give_up, rounds.look_around, runs.ring):
            with unit_of_work(sessions, send) as session:
                look(session)


def execute(run_id: int) -> None:
    """Run the stage of this row, if it is there to be claimed."""
    settings = Settings()
    lease = timedelta(seconds=settings.run_lease_seconds)
    with _connected(settings) as (sessions, send):
        with unit_of_work(sessions, send) as session:
            claim = runs.claim(session, run_id, socket.gethostname(), os.getpid(), lease)
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
        with unit_of_work(sessions, send) as session:
            done = runs.succeeded(session, claim)
        if done:
            artifacts.forget_states(claim)
        else:
            log.warning("claim_lost", run=claim.run_id, fence=claim.fence)
            artifacts.forget(claim)
    except Cancelled as stop:
        artifacts.stop(claim)
        artifacts.forget_upload(claim)
        log.info("run_stopped", run=claim.run_id, why=str(stop))
        left = None if stop.left is None else artifacts.relative(stop.left)
        with contextlib.suppress(StaleClaim):
            _end(sessions, send, lambda session: _cancelled(session, claim, left))
    except Exception as error:  # noqa: BLE001  whatever it was, a failed task leaves a failed run with words in it
        artifacts.stop(claim)
        problem, text = _in_words(error, claim.stage), "".join(traceback.format_exception(error))
        log.error("run_failed", run=claim.run_id, stage=claim.stage.value, problem=problem)
        with contextlib.suppress(StaleClaim):
            _end(sessions, send, lambda session: rounds.fail(session, claim, problem, text))
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


def _cancelled(session: Session, claim: Claim, left: str | None) -> None:
    run = rounds.hold_with_round(session, claim)
    rounds.cancelled(session, claim)
    if left is not None:
        store.set_progress(session, run, run.done, f"Cancelled. The model as it was then is kept in {left}.")


def _end(sessions: Sessions, send: Send, write: Callable[[Session], None]) -> None:
    """Write a run's end, waiting for a database that is away: hours of training do not fall to its restart."""
    for pause in [*range(1, END_TRIES), None]:
        try:
            with unit_of_work(sessions, send) as session:
                write(session)
                return
        except DatabaseUnreachable:
            if pause is None:
                raise
            Event().wait(min(pause, 10))


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


def _in_words(error: Exception, stage: Stage) -> str:
    """What happened, what is safe, what to do."""
    from app.domain.prompts import PromptTooLong
    from worker.stages.task import CannotRun
    from worker.training.errors import CannotTrain, DiskFull

    if isinstance(error, Refusal):
        return f"{error.what} {error.what_to_do}".strip()
    if isinstance(error, CannotRun | DiskFull):
        return str(error)
    if isinstance(error, CannotTrain | PromptTooLong):
        return f"{str(error)[:1].upper()}{str(error)[1:]}. What was judged and every earlier checkpoint is safe."
    if _for_want_of_memory(error):
        what_to_do = (
            f"Lower {SMALLER[stage]} or sampling.max_query_tokens in the recipe and launch a round again: what was "
            "judged is taken in."
            if stage in SMALLER
            else "Give it more memory and ask again."
        )
        return f"The worker ran out of memory. What was judged and every earlier checkpoint is safe. {what_to_do}"
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left on device" in str(error):
        return "The disk is full. What was judged and every earlier checkpoint is safe. Make room and ask again."
    return (
        f"{type(error).__name__}: {str(error).strip()[:500] or 'no message'}. What was judged and every earlier "
        "checkpoint is safe; nothing of this run counts. The traceback says where it happened."
    )


def _for_want_of_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError on a GPU; a CPU's allocator raises a plain RuntimeError.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "DefaultCPUAllocator" in str(error)
