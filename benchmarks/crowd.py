"""Labelers over HTTP, as many as asked, in one process: each claims, submits, and claims again.

Knows just enough HTTP to be a small load itself, and two rhythms: closed (the next request follows the last answer) and
open (judgements fall due whether the server keeps up or not, and are timed from the moment they were due). Knows
nothing of whom it talks to but what a `Desk` says.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol
from uuid import UUID


class Answered(Exception):
    """The server answered with something else than success."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Wire:
    """One connection, kept open. Requests on it come one after the other."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._host, self._port = host, port
        own = {"host": f"{host}:{port}", "accept": "application/json", "content-type": "application/json", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in own.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, values: object = None) -> Any:
        """The JSON of the answer; None where there is no content. Raises Answered."""
        body = b"" if values is None else json.dumps(values).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n\r\n"
        if self._streams is None or self._streams[0].at_eof():
            # The first request, or the server hung up after too long a pause.
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(head.encode() + body)
        told = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = told.partition("\r\ncontent-length:")[2].partition("\r\n")[0]
        said = await (reader.readexactly(int(length)) if length else reader.read())
        if not length or "\r\nconnection: close" in told:
            await self.close()
        status = int(told.split(" ", 2)[1])
        if status >= 300:
            words = said[:300].decode("utf-8", "replace")
            raise Answered(status, f"{method} {path} was answered with {status}: {words}")
        return json.loads(said) if said else None

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Desk(Protocol):
    """One labeler's place at a labeling tool."""

    async def claim(self) -> Any:
        """Something to judge; None when there is nothing."""

    async def submit(self, item: Any) -> None:
        """Judge it; returns when the answer is acknowledged."""

    async def close(self) -> None:
        """Leave."""


class HoneDesk:
    """Hone's judging page, as it asks: a browser session, `ahead` pairs held, the first of them answered. One request
    submits an answer and claims what is held next."""

    def __init__(self, host: str, port: int, cookie: str, ahead: int, random: Random) -> None:
        self._wire = Wire(host, port, {"cookie": f"hone_session={cookie}", "sec-fetch-site": "same-origin"})
        self._ahead, self._random = ahead, random
        self._held: list[dict[str, Any]] = []

    async def claim(self) -> Any:
        """The first pair held, which came with the answer before it; at the beginning it is asked for."""
        held, self._held = self._held, []
        if not held:
            held = (await self._wire.ask("POST", "/api/leases", {"ahead": self._ahead}))["items"]
        return held[0]["showing"] if held else None

    async def submit(self, item: Any) -> None:
        """One of the nine answers."""
        answer = {
            "showing": item,
            "key": str(UUID(int=self._random.getrandbits(128), version=4)),
            "value": self._random.randint(1, 9),
            "explanation": None,
            "seconds": 25.0,
            "ahead": self._ahead,
        }
        self._held = (await self._wire.ask("POST", "/api/preferences", answer))["held"]["items"]

    async def close(self) -> None:
        """Hang up."""
        await self._wire.close()


@dataclass
class Times:
    """Seconds of each claim, each submit, and both together, in the order in which they ended; and what was judged."""

    claim: list[float] = field(default_factory=list)
    submit: list[float] = field(default_factory=list)
    judgement: list[float] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)

    def between(self, start: int, end: int) -> "Times":
        """Those of the judgements from number `start` to before `end`."""
        part = slice(start, end)
        return Times(self.claim[part], self.submit[part], self.judgement[part], self.items[part])


NOTHING_SECONDS = 0.5


async def closed(desks: Sequence[Desk], times: Times, over: asyncio.Event) -> None:
    """Everybody claims and submits without a pause until `over`."""
    clock = asyncio.get_running_loop().time

    async def work(desk: Desk) -> None:
        while not over.is_set():
            began = clock()
            item = await desk.claim()
            claimed = clock()
            if item is None:
                await asyncio.sleep(NOTHING_SECONDS)
                continue
            await desk.submit(item)
            ended = clock()
            times.claim.append(claimed - began)
            times.submit.append(ended - claimed)
            times.judgement.append(ended - began)
            times.items.append(item)

    async with asyncio.TaskGroup() as everybody:
        for desk in desks:
            everybody.create_task(work(desk))


async def opened(desks: Sequence[Desk], times: Times, seconds: float, every: float, random: Random) -> None:
    """Everybody judges once `every` seconds on average, at random moments (Poisson), for `seconds`.

    A judgement is what follows an Enter on the page: the answer is sent and the next pair fetched.
    """
    clock = asyncio.get_running_loop().time
    began = clock()

    async def work(desk: Desk) -> None:
        item = await desk.claim()
        due = began + random.expovariate(1 / every)
        while due < began + seconds and item is not None:
            await asyncio.sleep(max(0.0, due - clock()))
            await desk.submit(item)
            submitted = clock()
            item = await desk.claim()
            times.submit.append(submitted - due)
            times.claim.append(clock() - submitted)
            times.judgement.append(clock() - due)
            times.items.append(item)
            due += random.expovariate(1 / every)

    async with asyncio.TaskGroup() as everybody:
        for desk in desks:
            everybody.create_task(work(desk))
