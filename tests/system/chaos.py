"""Labelers at work while everything around them breaks: `python -m tests.system.chaos [--seconds N] [--seed N]`.

32 simulated labelers judge over HTTP. Web processes are killed and started again, connections are cut after any byte,
leases run out early, an admin changes how many opinions are asked, and what the labelers' clocks say is nonsense. Then
it is calm again, the labelers send what was not acknowledged, newcomers judge whatever is left, and
tests.system.aftermath looks at the rows.

Knows the judging endpoints as a labeler's browser does. The same seed makes the same choices; what they meet differs
from run to run, because time does.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import text

from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, FlagReason, SkipReason
from app.local.processes import Children
from app.services import batches, people
from app.services.install import furnish
from app.services.people import Viewer
from app.store import schema
from app.store.session import Sessions, connect, unit_of_work
from tests.support import factories as make
from tests.support.install import environment, free_port
from tests.support.servers import running_servers, template
from tests.system import aftermath
from tests.system.aftermath import Diary, Said

LABELERS = 32
WEBS = 2
MOST_OPINIONS = 4
# One more than a subject can still need.
NEWCOMERS = MOST_OPINIONS + 1
# Short enough that labelers meet in it, long enough that they do not wait for it.
QUEUE = 50
CALM_SECONDS = 60.0
READY_SECONDS = 60.0
SHOWN = 30

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rhythm:
    """Mean seconds between two of a kind, and bytes after which a connection is cut."""

    judge: float = 0.25
    kill: float = 2.5
    run_out: float = 0.7
    change: float = 3.0
    feed: float = 0.4
    bytes_up: float = 12_000
    bytes_down: float = 60_000


@dataclass
class Story:
    """What happened, for whoever reads the end of it."""

    seed: int
    counted: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.counted.items()))
        found = [f"  FOUND: {finding}" for finding in self.findings[:SHOWN]] or ["  nothing is wrong"]
        if len(self.findings) > SHOWN:
            found.append(f"  and {len(self.findings) - SHOWN} more")
        return "\n".join([f"seed {self.seed}: {told}", *found])


class Wires:
    """A proxy in front of the web processes, on whose connections either way ends after a random number of bytes."""

    def __init__(self, ports: list[int], story: Story, random: Random, rhythm: Rhythm) -> None:
        self._ports, self._story, self._random, self._rhythm = ports, story, random, rhythm
        self._joining: set[asyncio.Task[None]] = set()
        self.calm = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port on which it listens."""
        async with await asyncio.start_server(self._joined, "127.0.0.1", 0) as listening:
            yield listening.sockets[0].getsockname()[1]
        for joining in self._joining:
            joining.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)

    def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joining = asyncio.create_task(self._join(reader, writer))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in self._random.sample(self._ports, len(self._ports)):
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            # Every web process is dead just now.
            writer.transport.abort()
            return
        ways = [(reader, back, self._rhythm.bytes_up), (there, writer, self._rhythm.bytes_down)]
        try:
            async with asyncio.TaskGroup() as both:
                for source, target, mean in ways:
                    both.create_task(self._carry(source, target, self._random.expovariate(1 / mean)))
        except* (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()
            back.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, most: float) -> None:
        left = int(most)
        while carried := await source.read(65_536):
            if len(carried) > left and not self.calm:
                target.write(carried[:left])
                with contextlib.suppress(OSError):
                    await target.drain()
                self._story.counted["connections cut"] += 1
                raise EOFError
            left -= len(carried)
            target.write(carried)
            await target.drain()
        raise EOFError


class Labeler:
    """One account's browser: it holds some items, answers, skips, changes its mind, sends things twice, walks away."""

    def __init__(self, viewer: Viewer, token: str, address: str, story: Story, random: Random) -> None:
        self.diary = Diary(viewer.id)
        self._story, self._random = story, random
        headers = {"authorization": f"Bearer {token}", "date": random.choice(DATES), "content-type": "application/json"}
        self._http = httpx2.AsyncClient(base_url=address, headers=headers, timeout=20)
        self._ahead = random.randint(1, 5)
        self.calm = False

    async def work(self, pause: float, over: asyncio.Event) -> None:
        """Until `over`."""
        while not over.is_set():
            for item in await self._hold():
                await asyncio.sleep(self._random.expovariate(1 / pause))
                if over.is_set():
                    return
                await self._meet(item)
            await asyncio.sleep(self._random.expovariate(1 / pause))

    async def _hold(self) -> list[dict[str, Any]]:
        tabs = 2 if self._random.random() < 0.1 else 1
        told = await asyncio.gather(*(self._post("/api/leases", {"ahead": self._ahead}) for _ in range(tabs)))
        items: list[dict[str, Any]] = (told[0] or {}).get("items", [])
        self._look_at(items)
        return items

    def _look_at(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["document"] is None:
                self.diary.kept_back.add(item["showing"])
            elif item["notes_first"] and not any(item["notes"]):
                self._story.findings.append(f"a document was sent without notes: showing {item['showing']}")

    async def _meet(self, item: dict[str, Any]) -> None:
        """Do something with an item that is held, or was."""
        chance = self._random.random()
        if chance < 0.05:
            return  # Walks away from it; its lease runs out.
        if chance < 0.11:
            body = {"reason": self._random.choice(list(SkipReason)), "comment": self._nonsense()}
            await self._say("/api/skips", item, body)
            return
        if chance < 0.2:
            await self._post("/api/heartbeats", {"showings": [item["showing"]]})
        if chance > 0.96:
            await self._say("/api/flags", item, {"reason": self._random.choice(list(FlagReason)), "comment": None})
        if item["notes_first"] and item["document"] is None:
            if chance > 0.9:
                await self._say("/api/preferences", item, self._preference())  # Too early: refused.
            notes = [f"It says {self._random.random()}." for _ in item["summaries"]]
            await self._say("/api/notes", item, {"notes": notes, "seconds": self._seconds()})
        await self._answer(item)
        if self._random.random() < 0.1:
            await self._answer(item)  # Another opinion of the same: a new version.
        if self._random.random() < 0.1 and self.diary.said:
            await self._send(self._random.choice(list(self.diary.said.values())))

    async def _answer(self, item: dict[str, Any]) -> None:
        if item["task"] == "rate":
            axes = {axis: self._random.choice([None, 1, 4, 7]) for axis in ("coherence", "accuracy", "coverage")}
            body = {**axes, "overall": self._random.randint(1, 7), "comment": None, "seconds": self._seconds()}
            await self._say("/api/ratings", item, body)
        else:
            await self._say("/api/preferences", item, self._preference())

    def _preference(self) -> dict[str, Any]:
        return {
            "value": self._random.randint(1, 9),
            "explanation": self._nonsense(),
            "seconds": self._seconds(),
            "steps": self._random.choice([None, {"notes": self._seconds(), "compare": 3.0}]),
        }

    def _nonsense(self) -> str | None:
        return self._random.choice([None, "", "because", "\u0000\ud800 …", "x" * 5000])

    def _seconds(self) -> object:
        """What a clock that is wrong makes of the time."""
        return self._random.choice([None, 12.5, 0, -3.0, 1e300, -1e12, float("nan"), "soon", 10**40])

    async def _say(self, path: str, item: dict[str, Any], body: dict[str, Any]) -> None:
        key = UUID(int=self._random.getrandbits(128), version=4)
        ahead = self._random.choice([None, self._ahead, "many"])
        whole = {"showing": item["showing"], "key": str(key), "ahead": ahead, **body}
        said = Said(path, key, UUID(item["showing"]), whole)
        self.diary.said[key] = said
        twice = self._random.random() < 0.1
        await asyncio.gather(*(self._send(said) for _ in range(2 if twice else 1)))

    async def _send(self, said: Said) -> None:
        showing, early = said.body["showing"], False
        if said.path == "/api/notes":
            self.diary.noting.add(showing)
        elif said.path == "/api/preferences":
            early = showing in self.diary.kept_back and showing not in self.diary.noted
        reply = await self._post(said.path, said.body, may_be_early=early)
        if reply is None:
            return
        said.replies.append(reply)
        self._look_at((reply.get("held") or {}).get("items", []))
        if said.path == "/api/notes":
            self.diary.noted.add(showing)
        elif early and showing not in self.diary.noting:
            self._story.findings.append(f"an answer was taken before the notes: {said}")

    async def send_the_rest(self) -> None:
        """What was never acknowledged, or half of it: the rest was given up, and may have arrived or not."""
        for said in list(self.diary.said.values()):
            if not said.replies and self._random.random() < 0.5:
                await self._send(said)

    async def _post(self, path: str, body: dict[str, Any], *, may_be_early: bool = False) -> dict[str, Any] | None:
        """The answer to a request, sent until there is one; None when the labeler gave up, or was too early."""
        content = json.dumps(body).encode()
        while self.calm or self._random.random() > 0.05:
            self._story.counted["requests"] += 1
            try:
                response = await self._http.post(path, content=content)
            except httpx2.TransportError:
                self._story.counted["requests without an answer"] += 1
                await asyncio.sleep(self._random.uniform(0.1, 0.8))
                continue
            if response.status_code == 200:
                found: dict[str, Any] = response.json()
                return found
            if not (may_be_early and response.status_code == 409):
                told = f"{path} was answered with {response.status_code}: {response.text[:300]}"
                self._story.findings.append(told)
            return None
        return None

    async def progress(self) -> int:
        """How many answers of theirs the server counts."""
        told = await self._post("/api/leases", {"ahead": 1})
        return -1 if told is None else int(told["progress"]["mine_total"])

    async def judge_what_is_left(self) -> None:
        """As a newcomer in calm times, until there is nothing more for them."""
        self._ahead = 20
        while items := await self._hold():
            for item in items:
                if item["notes_first"] and item["document"] is None:
                    await self._say("/api/notes", item, {"notes": ["One.", "Two."], "seconds": 1.0})
                await self._answer(item)

    async def close(self) -> None:
        """Leave."""
        await self._http.aclose()


DATES = [
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 30 Feb 2026 25:61:61 GMT",
    "yesterday",
]


class Webs:
    """The web processes, each on a port of its own."""

    def __init__(self, children: Children, ports: list[int], environment: dict[str, str]) -> None:
        self._children, self._ports, self._environment = children, ports, environment
        self._leashes = dict.fromkeys(ports, 0)

    def start(self, port: int) -> None:
        """Start the one on this port."""
        command = [sys.executable, "-m", "app.cli", "web"]
        own = {**self._environment, "HONE_PORT": str(port)}
        self._leashes[port] = self._children.start(f"web {port}", command, environment=own)

    def kill(self, port: int) -> None:
        """SIGKILL, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._leashes[port], signal.SIGKILL)

    async def ready(self) -> None:
        """Wait until every one answers."""
        async with httpx2.AsyncClient(timeout=5) as http, asyncio.timeout(READY_SECONDS):
            for port in self._ports:
                while True:
                    with contextlib.suppress(httpx2.TransportError):
                        if (await http.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200:
                            break
                    await asyncio.sleep(0.2)


class Trouble:
    """What goes wrong, and what an admin does meanwhile."""

    def __init__(self, sessions: Sessions, webs: Webs, ports: list[int], story: Story, random: Random) -> None:
        self._sessions, self._webs, self._ports, self._story, self._random = sessions, webs, ports, story, random
        self.asked: dict[int, int] = {}

    def prepare(self) -> Viewer:
        """An admin, and pairs with known answers for batches that want some."""
        with unit_of_work(self._sessions, _no_jobs) as session:
            make.standing(session, BatchPurpose.GOLD, 12)
            return make.admin(session, "the admin of the chaos")

    async def kills(self, every: float) -> None:
        """A web process, or now and then all of them, and up again at once or a little later."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / every))
            dying = self._ports if self._random.random() < 0.15 else [self._random.choice(self._ports)]
            for port in dying:
                self._webs.kill(port)
                self._story.counted["web processes killed"] += 1
            await asyncio.sleep(self._random.uniform(0.0, 1.0))
            for port in dying:
                self._webs.start(port)
            await self._webs.ready()

    async def time_passes(self, every: float) -> None:
        """Some leases end sooner than their labelers think."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / every))
            self._story.counted["leases ended early"] += await asyncio.to_thread(self._run_out, 0.15)

    def _run_out(self, share: float) -> int:
        with unit_of_work(self._sessions, _no_jobs) as session:
            ended = session.execute(
                text(
                    "update slot set lease_expires_at = now() - interval '1 second' where id in "
                    "(select id from slot where state = 'leased' and random() < :share for update skip locked) "
                    "returning id"
                ),
                {"share": share},
            )
            return len(ended.all())

    def everything_runs_out(self) -> None:
        """The labelers have gone home."""
        self._run_out(2.0)

    async def feed(self, every: float) -> None:
        """Keep the queue short but not empty, with batches of every kind."""
        while True:
            await asyncio.to_thread(self._put_up)
            await asyncio.sleep(every)

    def _put_up(self) -> None:
        with unit_of_work(self._sessions, _no_jobs) as session:
            if (session.scalar(text("select count(*) from slot where state = 'open'")) or 0) > QUEUE:
                return
            opinions, kind = self._random.randint(1, MOST_OPINIONS), self._random.random()
            if kind < 0.2:
                put_up = make.to_rate(session, 10, opinions=opinions)
            else:
                protocol = Protocol(notes_first=kind < 0.5, gold_share=0.2 if kind > 0.8 else 0.0)
                put_up = make.pairs(session, 10, opinions=opinions, protocol=protocol)
        self.asked[put_up.batch_id] = opinions
        self._story.counted["batches"] += 1

    async def change(self, admin: Viewer, every: float) -> None:
        """The admin asks for more opinions, or for fewer."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / every))
            if self.asked:
                await asyncio.to_thread(self._change, admin, self._random.choice(list(self.asked)))

    def _change(self, admin: Viewer, batch_id: int) -> None:
        wanted = self._random.randint(1, MOST_OPINIONS)
        with unit_of_work(self._sessions, _no_jobs) as session:
            batches.set_opinions(session, admin, batch_id, wanted)
        self.asked[batch_id] = max(self.asked[batch_id], wanted)
        self._story.counted["changes of opinions asked"] += 1


def _no_jobs(_job: object) -> None:
    """No worker is needed to judge."""


@contextlib.contextmanager
def database() -> Iterator[tuple[str, str]]:
    """A furnished database and a broker, for a run outside of the tests."""

    def prepare(url: str) -> None:
        schema.upgrade(url)
        sessions = connect(url)
        with unit_of_work(sessions, _no_jobs) as session:
            furnish(session)
        sessions.kw["bind"].dispose()

    with running_servers() as servers, template(servers, "chaos", prepare).fresh_database() as url:
        yield url, servers.broker_url


def run(database_url: str, broker_url: str, directory: Path, seconds: float, seed: int, rhythm: Rhythm) -> Story:
    """All of it, over an empty furnished database."""
    story = Story(seed)
    log: list[str] = []
    sessions = connect(database_url, pool=4)
    ports = [free_port() for _ in range(WEBS)]
    own = environment(directory, 0) | {
        "HONE_DATABASE_URL": database_url,
        "HONE_BROKER_URL": broker_url,
        # The shortest there is; Trouble ends many of them sooner still.
        "HONE_LEASE_SECONDS": "30",
    }
    try:
        with Children(log.append) as children:
            asyncio.run(_run(sessions, Webs(children, ports, own), ports, story, Random(seed), seconds, rhythm))
    finally:
        sessions.kw["bind"].dispose()
    story.findings += [f"a web process said: {line}" for line in log if "Traceback" in line or "ERROR" in line][:10]
    return story


async def _run(
    sessions: Sessions, webs: Webs, ports: list[int], story: Story, random: Random, seconds: float, rhythm: Rhythm
) -> None:
    for port in ports:
        webs.start(port)
    wires = Wires(ports, story, Random(random.random()), rhythm)
    trouble = Trouble(sessions, webs, ports, story, Random(random.random()))
    admin = await asyncio.to_thread(trouble.prepare)
    accounts = await asyncio.to_thread(_accounts, sessions, LABELERS + NEWCOMERS)
    await webs.ready()
    async with wires.open() as port:
        address = f"http://127.0.0.1:{port}"
        everybody = [Labeler(*each, address, story, Random(random.random())) for each in accounts]
        labelers, newcomers = everybody[:LABELERS], everybody[LABELERS:]
        over = asyncio.Event()
        going_wrong = [
            asyncio.create_task(each)
            for each in (
                trouble.kills(rhythm.kill),
                trouble.time_passes(rhythm.run_out),
                trouble.feed(rhythm.feed),
                trouble.change(admin, rhythm.change),
            )
        ]
        at_work = [asyncio.create_task(each.work(rhythm.judge, over)) for each in labelers]
        await asyncio.wait([*going_wrong, *at_work], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        over.set()
        for task in going_wrong:
            task.cancel()
        for ended in await asyncio.gather(*going_wrong, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        # Calm again. A process that was killed last may not be up yet.
        wires.calm = True
        for port in ports:
            webs.kill(port)
            webs.start(port)
        await webs.ready()
        for each in everybody:
            each.calm = True
        try:
            async with asyncio.timeout(CALM_SECONDS + seconds):
                await asyncio.gather(*at_work)
                await asyncio.gather(*(each.send_the_rest() for each in labelers))
                await asyncio.to_thread(trouble.everything_runs_out)
                for each in newcomers:
                    await each.judge_what_is_left()
        except TimeoutError:
            story.findings.append("labelers could not finish in calm times")
        told = [await each.progress() for each in everybody]
        for each in everybody:
            await each.close()
    diaries = [each.diary for each in everybody]
    with sessions() as session:
        story.findings += aftermath.findings(session, diaries, told, trouble.asked)
        story.counted.update(aftermath.counted(session))


def _accounts(sessions: Sessions, count: int) -> list[tuple[Viewer, str]]:
    with unit_of_work(sessions, _no_jobs) as session:
        viewers = [make.labeler(session) for _ in range(count)]
        return [(each, people.make_api_token(session, each, "chaos")) for each in viewers]


def main() -> int:
    """By hand: the seed first, so that a run that is stopped can be had again. Status 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}, {asked.seconds:.0f} s of trouble for {LABELERS} labelers\n")
    sys.stdout.flush()
    with database() as (url, broker), tempfile.TemporaryDirectory(prefix="hone-chaos-") as directory:
        story = run(url, broker, Path(directory), asked.seconds, asked.seed, Rhythm())
    sys.stdout.write(f"{story}\n")
    return 1 if story.findings else 0


if __name__ == "__main__":
    sys.exit(main())
