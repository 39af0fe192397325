"""One training in several processes, one per GPU, and who started it stays the only one who is talked to.

Knows `torchrun`, a socket, and how what the first process reports gets to a Sink. Knows nothing of models. The caller's
process trains nothing itself: it hands out the call, passes on what it is told, asks its Sink whether to stop, and ends
all processes when one fails. They end by themselves when it is gone, however it died.

The socket lies in a directory that only this user may enter; calls and outcomes go through it as Python objects.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import torch

from worker.training.errors import CannotTrain
from worker.training.metrics import Cancelled, Sink

R = TypeVar("R")

EVERY_SECONDS = 0.2
"""How long nobody may have anything to say before the Sink is asked whether to stop."""
PATIENCE_SECONDS = 30.0
"""For processes that were told to end, after which `torchrun` is told to end them, which takes it as long again."""


class ProcessLost(CannotTrain):
    """A process of a training ended without having said why."""


def usual(*, adapter: bool = False) -> int:
    """Processes to train in: one for each GPU that torch sees, else one. An adapter learns in one."""
    return 1 if adapter else max(1, torch.cuda.device_count())


def run(function: Callable[..., R], *arguments: Any, processes: int, sink: Sink, **named: Any) -> R:
    """`function(*arguments, sink=sink, **named)`, in so many processes; with one, here.

    `function` is found by its module and name, and all that goes in or comes out can be pickled. Gives what the first
    process gives. Raises what it raises, or the first error of another one, with the traceback there as a note;
    ProcessLost; CannotTrain where there are fewer GPUs; and what `sink.check` raises: at Cancelled all processes stop
    at the same check, at anything else at once.
    """
    if processes == 1:
        return function(*arguments, sink=sink, **named)
    if 0 < torch.cuda.device_count() < processes:
        raise CannotTrain(
            f"{processes} processes were asked for, and torch sees {torch.cuda.device_count()} GPUs: allowed is one "
            "process for each"
        )
    with tempfile.TemporaryDirectory(prefix="hone-") as place, socket.socket(socket.AF_UNIX) as door:
        door.bind(str(Path(place, "door")))
        door.listen(processes)
        threads = max(1, torch.get_num_threads() // processes)
        group = _Group(_launched(processes, threads, door), door, processes, sink)
        try:
            outcome: R = group.attend((function, arguments, named, threads))
            return outcome
        finally:
            group.end()


def _launched(processes: int, threads: int, door: socket.socket) -> subprocess.Popen[bytes]:
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *command, "-m", "worker.training.rank", door.getsockname()],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.DEVNULL,
        # A terminal sends Ctrl-C to all it started; when to stop is the caller's to say.
        start_new_session=True,
    )


class _Group:
    """The processes of one training, and a line to each."""

    def __init__(self, launcher: subprocess.Popen[bytes], door: socket.socket, processes: int, sink: Sink) -> None:
        self._launcher, self._door, self._processes, self._sink = launcher, door, processes, sink
        self._ranks: dict[Connection, int] = {}
        self._stopping = False

    def attend(self, call: object) -> Any:
        """Hands out the call, and listens until the first process has ended it."""
        while True:
            waited: list[Any] = [*self._ranks]
            if len(waited) < self._processes:
                waited.append(self._door)
                if self._launcher.poll() is not None:
                    raise ProcessLost("the processes of the training could not be started; what they wrote says why")
            for ready in wait(waited, EVERY_SECONDS):
                if ready is self._door:
                    self._admit(call)
                elif (outcome := self._heard(ready)) is not None:
                    return outcome[0]
            self._ask()

    def _admit(self, call: object) -> None:
        line: Connection = Connection(self._door.accept()[0].detach())
        with self._holding("a process"):
            self._ranks[line] = line.recv()
            line.send(call)
            if self._stopping and self._ranks[line] == 0:
                line.send("stop")

    def _heard(self, line: Any) -> tuple[Any] | None:
        """What the first process gives, once it does. Raises what a process has to raise."""
        rank = self._ranks[line]
        with self._holding(f"process {rank + 1}"):
            word, *values = line.recv()
        if word == "failed":
            # The others stop a little before the first one, which still writes down where it is.
            if rank == 0 or not isinstance(values[0], Cancelled):
                if not isinstance(values[0], CannotTrain):
                    self._look_for_the_dead(line)
                raise values[0]
        elif word == "done":
            return (values[0],) if rank == 0 else None
        else:
            getattr(self._sink, word)(*values)
            if word == "flush":
                with self._holding(f"process {rank + 1}"):
                    line.send("flushed")
        return None

    def _look_for_the_dead(self, told: Any) -> None:
        """Raises ProcessLost when another process is gone: what the rest say is then that they cannot reach it."""
        for line in wait([each for each in self._ranks if each is not told], EVERY_SECONDS):
            assert isinstance(line, Connection)
            with self._holding(f"process {self._ranks[line] + 1}"):
                line.recv()

    @contextmanager
    def _holding(self, who: str) -> Iterator[None]:
        """Around what goes over a line. Raises ProcessLost when nobody is there any more."""
        try:
            yield
        except (EOFError, ConnectionError):
            raise ProcessLost(
                f"{who} of {self._processes} ended without a word; most often the machine has too little memory for "
                "so many"
            ) from None

    def _ask(self) -> None:
        try:
            self._sink.check()
        except Cancelled:
            if not self._stopping:
                self._stopping = True
                for line, rank in self._ranks.items():
                    if rank == 0:
                        with self._holding("process 1"):
                            line.send("stop")

    def end(self) -> None:
        """No process is left."""
        if len(self._ranks) < self._processes:
            self._launcher.terminate()
        for line in self._ranks:
            line.close()
        try:
            self._launcher.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._launcher.terminate()
            self._launcher.wait()
