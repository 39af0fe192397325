"""Child processes with a name before each line of their output, which never outlive this one.

Knows starting, listening, and stopping with a limit. Knows nothing of what the children do: the caller gives commands.
Each child is in a session of its own, so a Ctrl-C at the terminal reaches this process only, which then stops the
children in order; and each is on a leash, so that they stop even if this process is killed outright.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from app.local import leash

KEPT_LINES = 20


@dataclass(frozen=True)
class Ended:
    """A child that ended without being asked to."""

    name: str
    status: int
    """Its exit status, or 128 and the signal that ended it."""
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        how = f"ended with status {self.status}"
        if self.status > 128:
            how = f"was ended by {_signal_name(self.status - 128)}"
        said = "\n".join(f"  {line}" for line in self.last_lines) or "  (nothing)"
        return f"The {self.name} process {how}. The last it said:\n{said}"


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[str]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    threads: list[threading.Thread] = field(default_factory=list)


class Children:
    """The processes of one `hone` command; a context manager that stops whatever still runs when it is left."""

    def __init__(self, say: Callable[[str], None], *, limit: float = 10.0) -> None:
        """`say` gets every line of output; a child that takes longer than `limit` seconds to stop is killed."""
        self._say = say
        self._limit = limit
        self._children: list[_Child] = []
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> int:
        """Start `command` with `environment` on top of this process's own; gives the process id of its leash."""
        self._forget_ended(name)
        holder = [sys.executable, "-I", "-S", leash.__file__, "--while", "open", "--signal", str(int(stop_signal))]
        holder += ["--limit", str(self._limit), "--", *command]
        process = subprocess.Popen(
            holder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        child = _Child(name, process)
        self._children.append(child)
        for work in (self._listen, self._await):
            thread = threading.Thread(target=work, args=(child,), name=f"{name} {work.__name__}", daemon=True)
            child.threads.append(thread)
            thread.start()
        return process.pid

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Wait until a child ends by itself and say which; None after `seconds`. A signal interrupts the wait."""
        try:
            return self._ended.get(timeout=seconds)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Ask every child to stop, last started first, and wait until all are gone."""
        running = [child for child in reversed(self._children) if child.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGTERM)
        for child in reversed(self._children):
            # The leash keeps the limit; the seconds on top are for a leash that is itself in trouble.
            try:
                child.process.wait(self._limit + 2)
            except subprocess.TimeoutExpired:
                _kill_group(child.process.pid)
                child.process.wait()
            _let_go(child)
        self._children.clear()

    def _forget_ended(self, name: str) -> None:
        """Give back what an ended child of this name held: one that is started again for days would take every pipe."""
        for child in [each for each in self._children if each.name == name and each.process.poll() is not None]:
            _let_go(child)
            self._children.remove(child)

    def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            child.lines.append(line.rstrip("\n"))
            self._say(f"{child.name:<7}| {child.lines[-1]}")

    def _await(self, child: _Child) -> None:
        status = child.process.wait()
        # What the child started and left behind would hold its port, its output and its GPU memory.
        _kill_group(child.process.pid)
        child.threads[0].join(2)
        self._ended.put(Ended(child.name, status if status >= 0 else 128 - status, tuple(child.lines)))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP (a closed terminal) do what Ctrl-C does: they raise KeyboardInterrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go(child: _Child) -> None:
    for thread in child.threads:
        thread.join(2)
    for pipe in (child.process.stdin, child.process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
