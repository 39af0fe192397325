"""A process that keeps another on a leash: when nobody needs it any more, however they ended, it is stopped.

Run as a file by an isolated interpreter, so it knows the standard library and nothing of Hone. A parent that is
killed outright runs no cleanup; the kernel still closes its files, and that is what the leash waits for: the end of
its standard input (`--while open`), or the last shared lock on a file (`--while FILE`, one lock per user).

    leash.py --while open|FILE [--alive FILE] [--signal N] [--limit SECONDS] [--detach] -- COMMAND...

`--alive FILE` makes COMMAND and its children hold an exclusive lock on FILE as long as one of them lives.
`--detach` goes on in a session of its own and lets the caller continue at once.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

ALREADY_ALIVE = 75
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    """Hold the leash; the exit status is COMMAND's, or 128 and the signal that ended it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--while", dest="needed", required=True)
    parser.add_argument("--alive")
    parser.add_argument("--signal", type=int, default=signal.SIGTERM)
    parser.add_argument("--limit", type=float, default=10.0)
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("command", nargs="+")
    wanted = parser.parse_args()

    held: tuple[int, ...] = ()
    if wanted.alive:
        descriptor = os.open(wanted.alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ALREADY_ALIVE
        held = (descriptor,)
    if wanted.detach:
        # The lock above goes along into the fork, so the caller sees it held from the moment this returns.
        if os.fork():
            os._exit(0)
        os.setsid()

    ended = threading.Event()
    stopping = threading.Event()
    abandoned = threading.Event()

    def stop() -> None:
        if stopping.is_set():
            return
        stopping.set()
        child.send_signal(wanted.signal)
        if not ended.wait(wanted.limit):
            os.killpg(0, signal.SIGKILL)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=stop, daemon=True).start()

    def watch() -> None:
        if wanted.needed == "open":
            while os.read(0, 4096):
                pass
        else:
            # Kept until this process ends, so that a newcomer waits for the old server to be gone.
            users = os.open(wanted.needed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(users, fcntl.LOCK_EX)
        abandoned.set()
        stop()

    # Asked to stop before the command is there, there is nothing to stop yet: the signal waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    child = subprocess.Popen(
        wanted.command,
        stdin=subprocess.DEVNULL,
        pass_fds=held,
        preexec_fn=_listen,
    )
    for descriptor in held:
        os.close(descriptor)
    for number in ASKING:
        signal.signal(number, on_signal)
    _listen()
    threading.Thread(target=watch, daemon=True).start()

    status = child.wait()
    ended.set()
    if abandoned.is_set():
        # Nobody is left who would end what the command started and left behind; this process goes with it.
        os.killpg(0, signal.SIGKILL)
    return status if status >= 0 else 128 - status


def _listen() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)


if __name__ == "__main__":
    sys.exit(main())
