"""Directories of the embedded servers: where they are, that they can be written, that there is room.

Knows paths, owners and free space. Knows nothing of what a server puts there.
"""

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from app.local.errors import CannotStart

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 103


def prepare(directory: Path) -> Path:
    """Make `directory` if it is absent, try to write in it, and return it absolute and without symlinks."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        resolved = directory.resolve()
        with tempfile.TemporaryFile(dir=resolved) as trial:
            trial.write(b"0")
    except OSError as error:
        raise CannotStart(_sentence(directory, error)) from error
    return resolved


def require_space(directory: Path, megabytes: int, purpose: str) -> None:
    """Raise `CannotStart` unless the disk under `directory` has `megabytes` free for `purpose`."""
    free = shutil.disk_usage(directory).free // 2**20
    if free < megabytes:
        raise CannotStart(
            f"The disk that holds {directory} is nearly full: {purpose} needs {megabytes} MB and {free} MB are free. "
            "Nothing was changed. Make room, or point HONE_DATA_DIR to another disk."
        )


def sockets(data_directory: Path, name: str) -> Path:
    """Where the server `name` of this data directory has its socket: short, and the same for every `hone` command.

    It is not under the data directory because a socket path may only be about 100 bytes long, and not under
    XDG_RUNTIME_DIR because that one is emptied when its user signs out.
    """
    common = Path("/tmp")
    if not os.access(common, os.W_OK | os.X_OK):
        common = Path(tempfile.gettempdir())
    digest = hashlib.sha256(os.fsencode(data_directory.resolve())).hexdigest()[:12]
    return common / f"hone-{os.geteuid()}" / f"{digest}-{name}"


def make_sockets(directory: Path, owner: tuple[int, int] | None = None) -> None:
    """Make a directory that `sockets` named, for its user alone, or for `owner` (uid, gid) where that is another."""
    if len(os.fsencode(directory)) + len("/.s.PGSQL.5432") > LONGEST_SOCKET_PATH:
        raise CannotStart(f"{directory} is too long a path for a socket. Set TMPDIR to a shorter directory.")
    base = directory.parent
    # Whoever reaches a socket in here is let in without a password, so nobody else may reach it. As root, the account
    # that PostgreSQL runs under has to pass through.
    mode = 0o711 if owner or os.geteuid() == 0 else 0o700
    try:
        base.mkdir(mode=mode, exist_ok=True)
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise CannotStart(f"{base} should be a directory of yours and is not. Remove it and start again.")
        base.chmod(mode)
        directory.mkdir(mode=0o700, exist_ok=True)
        if owner:
            os.chown(directory, *owner)
    except OSError as error:
        raise CannotStart(_sentence(directory, error)) from error


def _sentence(directory: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            reason = "the disk is full. Make room, or point HONE_DATA_DIR to another disk"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            reason = "you may not write there. Change its owner, or point HONE_DATA_DIR to a directory of yours"
        case errno.ENOTDIR | errno.EEXIST:
            reason = "a file is in the way. Move it, or point HONE_DATA_DIR elsewhere"
        case errno.ENAMETOOLONG:
            reason = "the path is too long. Point HONE_DATA_DIR to a shorter one"
        case _:
            reason = f"{error.strerror}. Point HONE_DATA_DIR elsewhere"
    return f"{directory} cannot be used: {reason}."
