"""Builds the worker process: queues, one child per task, the reconciler's clock, and that it says it is there.

`celery -A worker.celery_app worker`.

Knows Celery. Knows nothing of stages: the parent process never loads torch, which a test checks.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutdown
from kombu.entity import Exchange
from kombu.entity import Queue as BrokerQueue

from app.domain.words import Queue
from app.jobs import RECONCILE, RUN_NAMES
from app.queue import celery_client
from app.settings import Settings
from worker import tasks
from worker.presence import Presence

RECONCILE_EVERY = 5.0


def build(broker_url: str) -> Celery:
    """The Celery application with exactly the tasks that app.jobs names."""
    application = celery_client(broker_url)
    application.conf.update(
        # Initialising CUDA in a parent and forking breaks it; a child per task also gives all memory back.
        worker_pool="prefork",
        worker_max_tasks_per_child=1,
        worker_prefetch_multiplier=1,
        task_queues=[BrokerQueue(each.value, Exchange(each.value), each.value) for each in Queue],
        task_default_queue=Queue.CPU.value,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Held in memory: the persistent scheduler keeps a pickle, and rows tell what is due anyway.
        beat_scheduler="celery.beat:Scheduler",
        beat_schedule={
            "reconcile": {
                "task": RECONCILE,
                "schedule": RECONCILE_EVERY,
                "options": {"queue": Queue.CPU.value, "expires": RECONCILE_EVERY},
            }
        },
    )
    application.task(name=RECONCILE)(tasks.reconcile)
    for name in RUN_NAMES.values():
        application.task(name=name)(tasks.execute)

    @worker_ready.connect(weak=False)
    def look_around_at_start(sender: Any, **_: object) -> None:
        application.send_task(RECONCILE, queue=Queue.CPU.value)
        _be_there(list(application.amqp.queues.consume_from), sender.controller.concurrency)

    return application


def _be_there(queues: list[str], at_once: int) -> None:
    """Say that this worker takes from these queues, until it shuts down."""
    database_url = Settings().database_url
    if database_url is None:
        # Its tasks say so in words.
        return
    present = Presence(database_url, queues, at_once)
    present.start()

    @worker_shutdown.connect(weak=False)
    def leave(**_: object) -> None:
        present.stop()


celery = build(os.environ.get("HONE_BROKER_URL", "redis://localhost:6379/0"))
