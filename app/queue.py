"""Sends a job by its name through a Celery client that knows no task code.

Knows the broker's address. Knows nothing of rows: a message that is lost here is rung again by the reconciler, so a
broker that is down never makes a labeler or an admin wait long or see an error.
"""

from collections.abc import Callable

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.jobs import Job

log = structlog.get_logger()


def celery_client(broker_url: str) -> Celery:
    """A Celery application with Hone's broker settings and no tasks."""
    client = Celery("hone", broker=broker_url, set_as_current=False)
    client.conf.update(
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            # A doorbell is acknowledged as soon as it is heard, so re-delivery is rare; the claim makes it harmless.
            "visibility_timeout": 3600,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "max_retries": 1,
        },
        task_publish_retry=False,
    )
    return client


def sender(client: Celery) -> Callable[[Job], None]:
    """A function that sends jobs. A broker that cannot be reached is a logged warning, never an error."""

    def send(job: Job) -> None:
        args = [] if job.run_id is None else [job.run_id]
        try:
            client.send_task(job.name, args=args, queue=job.queue.value)
        except (OperationalError, RedisError, OSError) as trouble:
            log.warning("doorbell_lost", job=job.name, run=job.run_id, trouble=str(trouble))

    return send
