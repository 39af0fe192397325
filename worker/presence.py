"""That this worker is there, and what it has: a row that its parent process keeps fresh.

Knows facts of the host and the beat. Knows nothing of runs, and loads no torch: what torch computes on is asked once,
in a child of its own. The children of the pool inherit ME, by which their claims are known as this worker's.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID, uuid4

import structlog

from app.domain.words import Queue
from app.services import workers
from app.services.workers import BEAT_EVERY, Device, Present
from app.store.session import DatabaseUnreachable, Sessions, connect, unit_of_work
from worker.artifacts import code_revision

ME: UUID = uuid4()

_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")

log = structlog.get_logger()


class Presence:
    """Says that this process is there, from `start` until `stop`."""

    def __init__(self, database_url: str, queues: Sequence[str], at_once: int) -> None:
        self._database_url = database_url
        self._over = threading.Event()
        self._told = Present(
            id=ME,
            host=socket.gethostname(),
            process=os.getpid(),
            queues=sorted(queues),
            at_once=at_once,
            code=code_revision(),
            python=platform.python_version(),
            device=None,
        )
        self._thread = threading.Thread(target=self._beat_until_over, name="presence", daemon=True)

    def start(self) -> None:
        """Say so now, and go on saying it from a thread of its own."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye; a database that is away hears nothing, and the beat is missed instead."""
        self._over.set()
        # Not longer: it may still wait for what torch says.
        self._thread.join(2)
        try:
            with self._connected() as sessions, unit_of_work(sessions, _rings_nobody) as session:
                workers.leave(session, ME)
        except DatabaseUnreachable as trouble:
            log.warning("goodbye_not_heard", trouble=str(trouble))

    def _beat_until_over(self) -> None:
        if Queue.GPU in self._told.queues:
            self._told = replace(self._told, device=_ask())
            self._beat()
        while not self._over.wait(BEAT_EVERY.total_seconds()):
            self._beat()

    def _beat(self) -> None:
        try:
            with self._connected() as sessions, unit_of_work(sessions, _rings_nobody) as session:
                workers.beat(session, self._told)
        except DatabaseUnreachable as trouble:
            log.warning("beat_not_heard", trouble=str(trouble))

    def _connected(self) -> "_Connected":
        return _Connected(self._database_url)


class _Connected:
    """Sessions for one beat: the pool forks at any time, and no child should inherit a connection that is kept."""

    def __init__(self, database_url: str) -> None:
        self._sessions = connect(database_url, pool=1)

    def __enter__(self) -> Sessions:
        return self._sessions

    def __exit__(self, *_: object) -> None:
        self._sessions.kw["bind"].dispose()


def _rings_nobody(job: object) -> None:
    """A beat asks for nothing."""


def _ask() -> Device | None:
    """What torch computes on, from a process that ends with the answer; None where there is no answer."""
    done = subprocess.run(
        [sys.executable, "-c", "from worker import presence; presence.tell()"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        log.warning("device_unknown", said=done.stderr[-500:])
        return None
    return Device(**json.loads(done.stdout.splitlines()[-1]))


def tell() -> None:
    """Write what torch computes on to standard output, as JSON. Loads torch, after everybody who has work to do."""
    os.nice(10)
    import torch
    import transformers

    from worker.training import devices

    device = devices.best()
    on_gpu = device.type == "cuda"
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    told = Device(
        name=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        memory=torch.cuda.get_device_properties(device).total_memory if on_gpu else _memory(),
        torch=f"{torch.__version__} ({build})",
        transformers=transformers.__version__,
    )
    sys.stdout.write(f"{json.dumps(asdict(told))}\n")


def _memory() -> int:
    """Bytes that processes here may use: the host's, or less where its container has a limit."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _MEMORY_LIMIT.read_text().strip() if _MEMORY_LIMIT.exists() else "max"
    return min(installed, int(limit)) if limit.isdigit() else installed
