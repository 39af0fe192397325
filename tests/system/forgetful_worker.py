"""A worker whose broker hands out again after a second what was not acknowledged: for tests, by `celery -A`.

Knows one setting. Everything else is the worker's own.
"""

from worker.celery_app import celery

VISIBILITY_SECONDS = 1

celery.conf.broker_transport_options = {
    **celery.conf.broker_transport_options,
    "visibility_timeout": VISIBILITY_SECONDS,
}
