"""One of the processes of a training, as torchrun starts it: `python -m worker.training.rank SOCKET`.

Knows the line to the process that asked for the training (worker.training.launching), and that it lives no longer than
that one. Only the first of the processes reports; all of them stop at the same check.
"""

import os
import pickle
import socket
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

import torch

from worker.training import processes
from worker.training.metrics import Cancelled


class RankSink:
    """What a process tells, and whether all are to stop: `check` is asked by all of them equally often."""

    def __init__(self, line: Connection, first: bool) -> None:
        """Ends this process once the line is closed, in whatever it is."""
        self._line, self._first = line, first
        self._heard = {"stop": threading.Event(), "flushed": threading.Event()}
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._heard[self._line.recv()].set()
        except (EOFError, OSError):
            os._exit(0)

    def _tell(self, word: str, *values: object) -> None:
        if self._first:
            self._line.send((word, *values))

    def metric(self, name: str, step: int, value: float) -> None:
        """Passes it on."""
        self._tell("metric", name, step, value)

    def progress(self, done: int, total: int, words: str) -> None:
        """Passes it on."""
        self._tell("progress", done, total, words)

    def check(self) -> None:
        """Raises Cancelled in every process if the first one was told to stop."""
        if processes.told(self._heard["stop"].is_set()):
            raise Cancelled("Somebody asked to stop.")

    def note(self, name: str, value: str) -> None:
        """Passes it on."""
        self._tell("note", name, value)

    def flush(self) -> None:
        """Waits until all that was told is written down."""
        if self._first:
            self._heard["flushed"].clear()
            self._tell("flush")
            self._heard["flushed"].wait()


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; in words alone where it cannot be made again elsewhere."""
    told = "".join(traceback.format_exception(error))
    try:
        copied: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301  what this process has written itself
    except Exception:  # noqa: BLE001  whatever an error holds, its words are told
        copied = RuntimeError(f"{type(error).__name__}: {error}")
    copied.add_note(told)
    return copied


def main(address: str) -> None:
    """Takes the call from the socket, carries it out with the others, tells how it ended, and waits to be let go."""
    rank = int(os.environ["RANK"])
    door = socket.socket(socket.AF_UNIX)
    door.connect(address)
    line = Connection(door.detach())
    line.send(rank)
    outcome: tuple[str, Any]
    try:
        function, arguments, named, threads = line.recv()
        sink = RankSink(line, first=rank == 0)
        torch.set_num_threads(threads)
        processes.begin()
        outcome = "done", function(*arguments, sink=sink, **named)
    except Exception as error:  # noqa: BLE001  whatever it was, it is raised again where the training was asked for
        outcome = "failed", _sendable(error)
    line.send(outcome if rank == 0 or outcome[0] == "failed" else ("done", None))
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
