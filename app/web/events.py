"""A round as it goes on, as server-sent events: the one async route of the application.

Knows how often to look, what is news, and when a stream ends: with the round, with the browser session, with the
server. Knows nothing of what a round does. Each look is one hop of the thread pool with a connection of its own, so an
open page holds neither a thread nor a connection.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Annotated, Any

import anyio
import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.domain.errors import NotAllowed, NotFound, NotSignedIn
from app.services import watching
from app.services.watching import Look
from app.store.session import DatabaseUnreachable
from app.web.door import STAFF, Door, DoorDep
from app.web.telling import round_state, stage_lines

LOOK_EVERY = 1.0
RETRY_MILLISECONDS = 2000

log = structlog.get_logger()


@asynccontextmanager
async def _stoppable(_app: object) -> AsyncIterator[dict[str, Any]]:
    """Tells streams that the process was asked to stop.

    A server waits for its open responses before it shuts the application down, so the lifespan's own end comes too
    late for a stream. The signal is therefore heard here first and then handed on to the server's own handler.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    taken: dict[signal.Signals, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        before = taken[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            # A handler that is not the server's is the default one: there nothing would be left to stop it with.
            if callable(signal.getsignal(each)) and signal.getsignal(each) is not signal.default_int_handler:
                taken[each] = signal.getsignal(each)
                signal.signal(each, hear)
    try:
        yield {"stopping": stopping}
    finally:
        stopping.set()
        for each, before in taken.items():
            if signal.getsignal(each) is hear:
                signal.signal(each, before)


router = APIRouter(lifespan=_stoppable)


@dataclass
class _Watch:
    """One open page: what it was told last."""

    door: Door
    number: int
    cursor: int
    told: dict[str, Any] | None = None
    points: dict[tuple[int, str, int], float] = field(default_factory=dict)

    def look(self) -> Look:
        """One unit of work; also asks whether the session still holds. Raises NotSignedIn, NotAllowed, NotFound."""
        with self.door.enter(*STAFF) as desk:
            return watching.look(desk.session, self.number, self.cursor)

    def news(self, look: Look) -> list[ServerSentEvent]:
        """What the page does not know yet. Every event carries the cursor with which a reconnect goes on."""
        events = []
        cursor = str(look.cursor)
        fresh = {(point.run, point.name, point.step): point.value for point in look.points}
        points = [[*key, value] for key, value in fresh.items() if key not in self.points or self.points[key] != value]
        if points:
            events.append(ServerSentEvent(event="points", data=points, id=cursor))
        # Looks overlap, so what came with this one may come again with the next, and with no later one.
        self.points = fresh
        state = _state(look)
        if state != self.told:
            events.append(ServerSentEvent(event="round", data=state, id=cursor, retry=RETRY_MILLISECONDS))
        self.told, self.cursor = state, look.cursor
        return events


def _state(look: Look) -> dict[str, Any]:
    return {
        "state": round_state(look.round)[0],
        "missing": [each.queue for each in look.missing],
        "over": look.over,
        "stages": [
            {
                "run": line.run,
                "title": line.title,
                "state": line.state,
                "state_words": line.state_words,
                "words": line.words,
                "done": line.done,
                "total": line.total,
            }
            for line in stage_lines(look.round, look.at)
        ],
    }


def _cursor(request: Request, after: int) -> int:
    last = request.headers.get("last-event-id", "")
    if not (last.isascii() and last.isdigit()):
        return after
    # Python reads no number of thousands of digits.
    return min(int(last), watching.NOW) if len(last) < 20 else watching.NOW


async def _opened(
    door: DoorDep,
    number: Annotated[int, Path(ge=1, le=2**31 - 1)],
    after: Annotated[int, Query(ge=0, le=watching.NOW)] = 0,
) -> tuple[_Watch, Look]:
    # A dependency, so that a page that may not look gets a status and a sentence, and no stream is begun.
    watch = _Watch(door, number, _cursor(door.request, after))
    return watch, await run_in_threadpool(watch.look)


@router.get("/rounds/{number}/events", response_class=EventSourceResponse)
async def events(opened: Annotated[tuple[_Watch, Look], Depends(_opened)]) -> AsyncIterator[ServerSentEvent]:
    """What happens in the round from `after` (or Last-Event-ID) on: `round`, `points`, then `over` or `signed-out`."""
    watch, look = opened
    stopping: asyncio.Event = getattr(watch.door.request.state, "stopping", None) or asyncio.Event()
    while True:
        for event in watch.news(look):
            yield event
        if look.over:
            yield ServerSentEvent(event="over", data=watch.number, id=str(look.cursor))
            return
        with anyio.move_on_after(LOOK_EVERY):
            await stopping.wait()
        if stopping.is_set():
            return
        try:
            look = await run_in_threadpool(watch.look)
        except (NotSignedIn, NotAllowed, NotFound):
            yield ServerSentEvent(event="signed-out", data=watch.number)
            return
        except DatabaseUnreachable as trouble:
            # The page comes back by itself, with the cursor it has.
            log.warning("stream_ended", round=watch.number, trouble=str(trouble).splitlines()[0])
            return
