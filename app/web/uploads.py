"""Takes a file from a browser in and keeps it under a name of our own.

Knows multipart forms and the uploads folder. Knows nothing of what a file holds. A route that declares a file has its
whole body read before it runs, also for somebody who is not signed in; here the route asks for the body when it has
seen who is there.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from anyio import from_thread
from fastapi import Request
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from app.domain.errors import Conflict, Invalid

FOLDER = "uploads"
LONGEST_NAME = 120


@contextmanager
def form_of(request: Request) -> Iterator[FormData]:
    """The form of a request, read now, for a `def` route; its files are gone afterwards. Raises Invalid."""
    form = from_thread.run(_read, request)
    try:
        yield form
    finally:
        from_thread.run(form.close)


async def _read(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=20)
    except ClientDisconnect as error:
        raise Invalid("The upload broke off.", "Nothing was imported; send the file again.") from error


def shown_name(given: str | None) -> str:
    """What people see of a file's name: its last part, visible characters only. Never used as a path."""
    last = PurePosixPath((given or "").replace("\\", "/")).name
    visible = "".join(sign for sign in last if sign.isprintable()).strip()
    return visible[:LONGEST_NAME] or "file"


def keep(artifacts: Path, source: IO[bytes]) -> str:
    """Write the file down under a random name. Gives its path relative to the artifacts; raises Conflict."""
    relative = f"{FOLDER}/{secrets.token_hex(16)}.jsonl"
    target = artifacts / relative
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    except OSError as error:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise Conflict(
            f"The file could not be kept on the server: {error.strerror}. Nothing was imported.",
            "Make room in the artifact directory, then send it again.",
        ) from error
    return relative


def forget(artifacts: Path, relative: str) -> None:
    """Remove a kept file that nobody asked for after all."""
    (artifacts / relative).unlink(missing_ok=True)
