"""A whole install started by the `hone` command, as a person starts it: for tests of the system.

Knows how to start, read the first admin's link, and stop. Knows nothing of pages.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.local import postgres

STOP_SECONDS = 30


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(data_dir: Path, port: int) -> dict[str, str]:
    """A tiny model, one thread, and settings of nobody else."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HONE_")}
    return own | {
        "HONE_DATA_DIR": str(data_dir),
        "HONE_PORT": str(port),
        "HONE_BASE_MODEL": "tiny",
        "HONE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@dataclass
class Install:
    """A running `hone run`."""

    process: subprocess.Popen[str]
    data_dir: Path
    port: int
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where the browser goes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """Its embedded database."""
        return postgres.url(self.data_dir)

    def until(self, pattern: str) -> re.Match[str]:
        """Read its output until a line matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        log = self.data_dir / "logs" / "hone.log"
        logged = log.read_text(errors="replace")[-4000:] if log.exists() else ""
        raise AssertionError(f"hone ended without saying {pattern!r}:\n{''.join(self.said[-40:])}\n{logged}")

    def interrupt(self) -> int:
        """Ctrl-C; gives the exit status once all is stopped."""
        self.process.send_signal(2)
        try:
            rest, _ = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        self.said.append(rest)
        return self.process.returncode


@contextmanager
def running(data_dir: Path) -> Iterator[Install]:
    """`hone run` over a data directory, ready for its first visitor."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(data_dir, port),
        # Its own group, so that an interrupt reaches it alone.
        start_new_session=True,
    )
    install = Install(process, data_dir, port)
    try:
        install.until("Hone is ready")
        yield install
    finally:
        if process.poll() is None:
            install.interrupt()
