"""What may be asked of a worker: a stage's run, or a look around for runs that need a doorbell.

Knows names, queues and payloads (ids only). Knows nothing of who sends or who executes; `worker.tasks` registers
exactly these names, and a test holds the two together.
"""

from dataclasses import dataclass

from app.domain.words import QUEUE_OF, Queue, Stage

RECONCILE = "hone.reconcile"
RUN_NAMES = {stage: f"hone.{stage.value}" for stage in QUEUE_OF}
NAMES = frozenset({RECONCILE, *RUN_NAMES.values()})


@dataclass(frozen=True)
class Job:
    """A doorbell: the task's name, the queue it goes to, and the run it is about (none for the reconciler)."""

    name: str
    queue: Queue
    run_id: int | None = None


def run_job(stage: Stage, run_id: int) -> Job:
    """The doorbell for a run. Raises KeyError for a stage that no worker executes (`label`)."""
    return Job(RUN_NAMES[stage], QUEUE_OF[stage], run_id)


def reconcile_job() -> Job:
    """The doorbell for the reconciler."""
    return Job(RECONCILE, Queue.CPU)
