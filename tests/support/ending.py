"""How the processes of a launch end in the tests: stopped, failing, killed. They load no models, to be there soon."""

import os
import signal
import threading
from contextlib import suppress

from worker.training import metrics, processes
from worker.training.errors import CannotTrain


def stopped_then_failing(sink: metrics.Sink) -> None:
    """All go on until they are told to stop; then the second one fails, while the others wait for it."""
    sink.flush()
    checks = 0
    with suppress(metrics.Cancelled):
        while True:
            sink.check()
            checks += 1
    if processes.told(checks) == checks and processes.rank() == 1:
        raise CannotTrain("the second one stopped at the same check as the first")
    processes.told(None)


class Unspeakable(RuntimeError):
    """An error that holds what cannot be sent."""

    def __init__(self) -> None:
        super().__init__("a lock in hand")
        self.lock = threading.Lock()


def second_fails_unspeakably(sink: metrics.Sink) -> None:
    """The second process fails with an error that no other process can be given; the first one waits for it."""
    if processes.rank() == 1:
        raise Unspeakable
    sink.check()


def going_on_for_ever(sink: metrics.Sink) -> None:
    """Each says which process it is."""
    os.write(1, f"{os.getpid()}\n".encode())
    while True:
        sink.check()


def second_is_killed(sink: metrics.Sink) -> None:
    """The second process is gone; the first one waits for it."""
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sink.check()
