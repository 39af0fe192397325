"""Becomes another user and runs a command: PostgreSQL refuses to run as root.

Run as a file by an isolated interpreter, as root; knows the standard library and nothing of Hone. On Linux the command
keeps one capability, to read and pass through directories: a checkout under /root stays as private as it was, where
the usual cure opens every directory above it to everybody.

    unprivileged.py UID GID COMMAND...
"""

import contextlib
import ctypes
import os
import sys

_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_READ_SEARCH = 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main() -> None:
    """Does not come back: this process becomes the command."""
    uid, gid, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    linux = sys.platform == "linux"
    if linux:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux:
        # Where a sandbox has taken the capability away these calls fail, and the command says which path it misses.
        bit = 1 << _CAP_DAC_READ_SEARCH
        libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), (_Sets * 2)(_Sets(bit, bit, bit)))
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0)
    # What a program writes to its caller's directory is not wanted, and that directory may be closed to it.
    with contextlib.suppress(OSError):
        os.chdir("/")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
