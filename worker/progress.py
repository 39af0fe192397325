"""What a running stage says, and what it is told: progress, metrics and heartbeats out; stops and stale claims in.

Knows the protocol of app.services.runs. Knows nothing of what is computed. A database that is away for a while is
waited for: values stay in memory, and the fencing token decides afterwards whether they may still be written.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from app.domain.errors import StaleClaim
from app.services import runs
from app.services.runs import Claim
from app.store.session import DatabaseUnreachable, Send, Sessions, unit_of_work
from worker.training.metrics import Cancelled

EVERY_SECONDS = 1.0

log = structlog.get_logger()


class RunSink:
    """The Sink of a claimed run. Training calls it from one thread, a second thread keeps the claim alive."""

    def __init__(self, sessions: Sessions, send: Send, claim: Claim, lease: timedelta) -> None:
        self._sessions, self._send, self._claim, self._lease = sessions, send, claim, lease
        self._lock = threading.Lock()
        self._progress: tuple[int, int, str] | None = None
        self._points: list[tuple[str, int, float]] = []
        self._conditions: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._flushed = 0.0
        self._stop = self._stale = False

    def metric(self, name: str, step: int, value: float) -> None:
        """Keep a point; written within a second or at the next look."""
        with self._lock:
            self._points.append((name, step, value))
        self._flush_when_due()

    def progress(self, done: int, total: int, words: str) -> None:
        """Keep how far it is; written within a second or at the next look."""
        with self._lock:
            self._progress = (done, total, words)
        self._flush_when_due()

    def check(self) -> None:
        """Raises Cancelled when a cancel or a pause is asked for, StaleClaim when another worker took the run over."""
        self._flush_when_due()
        if self._stale:
            raise StaleClaim("The run was taken over by another worker.")
        if self._stop:
            raise Cancelled("Somebody asked to stop.")

    def note(self, name: str, value: str) -> None:
        """Keep a condition that is in force; written within a second or at the next look."""
        with self._lock:
            self._conditions[name] = value
        self._flush_when_due()

    def _flush_when_due(self) -> None:
        if time.monotonic() - self._flushed >= EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is kept and extend the lease."""
        with self._lock:
            self._flushed = time.monotonic()
            points, progress = list(self._points), self._progress
            conditions = dict(self._conditions)
            try:
                with unit_of_work(self._sessions, self._send) as session:
                    if runs.beat(session, self._claim, self._lease, progress):
                        self._stop = True
                    if points:
                        runs.measure(session, self._claim, points)
                    if conditions != self._written:
                        runs.note_conditions(session, self._claim, conditions)
            except StaleClaim:
                self._stale = True
            except DatabaseUnreachable as trouble:
                log.warning("database_away", run=self._claim.run_id, trouble=str(trouble))
            else:
                del self._points[: len(points)]
                self._written = conditions

    @contextmanager
    def alive(self) -> Iterator["RunSink"]:
        """Keep the claim while the block runs, however long a single step takes."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._lease.total_seconds() / 4):
                self.flush()

        thread = threading.Thread(target=beat, name=f"heartbeat-{self._claim.run_id}", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
