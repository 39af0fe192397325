"""Who used the cores while something was measured.

Knows processes and their children. Knows nothing of what they do. A share is of all cores: 1.0 is a machine that was
busy from beginning to end.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _used(top: int) -> float:
    """Seconds that a process and all below it have computed; of this process, what it computed itself."""
    if top == os.getpid():
        return sum(os.times()[:2])
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(top)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                # The last two are children that ended.
                total += sum(process.cpu_times()[:4])
    return total


def _busy() -> float:
    """Seconds that all cores have computed, for anybody."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


@dataclass
class Shares:
    """Filled when the block is over: seconds of it, and each named part's share; `others` is everybody else's."""

    seconds: float = 0.0
    of: dict[str, float] = field(default_factory=dict)


@contextmanager
def shares(parts: dict[str, list[int]]) -> Iterator[Shares]:
    """Measure the block. `parts`: by name, the processes at the top of each; what is below them counts with them."""
    found = Shares()
    began, busy = time.monotonic(), _busy()
    before = {name: sum(map(_used, tops)) for name, tops in parts.items()}
    yield found
    found.seconds = time.monotonic() - began
    room = found.seconds * cores()
    found.of = {name: round((sum(map(_used, tops)) - before[name]) / room, 3) for name, tops in parts.items()}
    found.of["others"] = round(max(0.0, (_busy() - busy) / room - sum(found.of.values())), 3)
