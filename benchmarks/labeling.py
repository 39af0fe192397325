"""How fast labelers are served: `python -m benchmarks.labeling [--cases store,http,growth,seen] [--quick]`.

Prints a JSON object for each measurement, one a line (benchmarks.lines), and how far it is to stderr:

- `labeling.store`: claim + submit per second through `app.services.judging`, no HTTP
- `labeling.http`: claim + submit per second of 200 labelers without pauses, over HTTP, on the server that ships
- `labeling.http.p99`: the same labelers at one judgement per 30 seconds each: the time that 99 % stay under
- `labeling.growth`: claim + submit at a million open slots, in times of what it takes at a thousand
- `labeling.seen`: the same for a labeler with 65,000 answers whose comparisons all have another slot open, in times of
  what it takes a newcomer

Values are held to the targets of docs/operations.md. `--peer URL --peer-tokens FILE` lets the loop of `labeling.http`
drive a Label Studio in the same run and holds the rate to that (benchmarks.label_studio says how to install one).
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import UUID, uuid4

from app.local.processes import Children
from app.services import judging
from app.store.session import Sessions, connect, unit_of_work
from benchmarks.crowd import Desk, HoneDesk, Times, closed, opened
from benchmarks.ground import Ground, Server, Worker, server
from benchmarks.label_studio import StudioDesk, project_of
from benchmarks.lines import Line, say, short, spread
from benchmarks.machine import Shares, cores, shares

LEASE = timedelta(minutes=15)
PAGE = "benchmark"
SEED = 2020
FEED_SECONDS = 0.2
PEER_TASKS = 2_000


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    small: int = 1_000
    middle: int = 65_000
    large: int = 1_000_000
    labelers: int = 200
    # What the judging page asks for.
    ahead: int = 3
    every: float = 30.0
    warm_seconds: float = 5.0
    store_seconds: float = 20.0
    closed_seconds: float = 15.0
    open_seconds: float = 90.0
    store_processes: int = 2
    store_threads: int = 4
    web_processes: int = 2
    web_pool: int = 20
    blocks: int = 6
    block: int = 100


QUICK = Plan(
    small=200,
    middle=5_000,
    large=5_200,
    labelers=6,
    every=1.0,
    warm_seconds=0.5,
    store_seconds=3.0,
    closed_seconds=2.0,
    open_seconds=3.0,
    store_processes=1,
    store_threads=2,
    web_processes=1,
    blocks=2,
    block=5,
)


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labeling")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--peer", metavar="URL", help="a Label Studio to drive beside, such as http://127.0.0.1:8080")
    parser.add_argument("--peer-tokens", type=Path, metavar="FILE", help="its access tokens, one labeler's a line")
    asked = parser.parse_args()
    names = asked.cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"there is no case {unknown[0]}; there are {', '.join(CASES)}")
    if (asked.peer is None) != (asked.peer_tokens is None):
        parser.error("--peer and --peer-tokens belong together")
    plan = QUICK if asked.quick else Plan()
    peer = None if asked.peer is None else Peer(asked.peer, asked.peer_tokens.read_text().split())
    with server() as postgres:
        for name in names:
            for line in CASES[name](postgres, plan, peer):
                print(line, flush=True)


@dataclass(frozen=True)
class Peer:
    """A labeling tool that runs beside, and the tokens of its labelers."""

    address: str
    tokens: list[str]


def _conditions(used: Shares | None, **more: Any) -> dict[str, Any]:
    told = {} if used is None else {"seconds": round(used.seconds, 1), "share_of_cores": used.of}
    return {"cores": cores(), **more, **told}


@dataclass
class Seat:
    """A labeler who works on one database, and holds one pair once they are seated."""

    sessions: Sessions
    worker: Worker
    held: UUID | None = None

    def judge(self) -> float:
        """Submit an answer to what is held and claim the next, in one transaction as the page's one request makes it;
        the first time only claim. The seconds of it."""
        began = time.perf_counter()
        with unit_of_work(self.sessions, print) as session:
            viewer = self.worker.viewer
            if self.held is not None:
                judging.answer(
                    session, viewer, showing_id=self.held, key=uuid4(), value=3, explanation=None, seconds=20.0
                )
            held = judging.leases(session, viewer, 1, LEASE, PAGE).leases
        self.held = held[0].showing_id
        return time.perf_counter() - began


# Through the store


def store(postgres: Server, plan: Plan, _peer: Peer | None) -> Iterator[Line]:
    """Threads in several processes, each labeler's judgements one after the other."""
    with postgres.database("store") as ground:
        say(f"store: putting up {plan.middle} comparisons")
        ground.prepare(plan.middle)
        ground.put_up(plan.middle)
        ground.tidy()
        workers = ground.workers(plan.labelers)
        spawning = multiprocessing.get_context("spawn")
        told, ready = spawning.Queue(), spawning.Barrier(plan.store_processes + 1)
        processes = [
            spawning.Process(
                target=_judge_in_threads, args=(ground.url, workers[number :: plan.store_processes], plan, ready, told)
            )
            for number in range(plan.store_processes)
        ]
        for process in processes:
            process.start()
        ready.wait()
        time.sleep(plan.warm_seconds)
        say(f"store: {plan.store_seconds:.0f} s")
        parts = {"clients": [process.pid or 0 for process in processes], "postgresql": [postgres.process]}
        with shares(parts) as used:
            time.sleep(plan.store_seconds)
        judgements: list[float] = []
        for process in processes:
            judgements += told.get()
            process.join()
    yield Line(
        "labeling.store",
        short(len(judgements) / plan.store_seconds),
        "claim+submit/s",
        "target",
        500.0,
        _conditions(
            used,
            open_slots=plan.middle,
            labelers=plan.labelers,
            processes=plan.store_processes,
            threads_each=plan.store_threads,
            ahead=1,
            judgement=spread(judgements),
        ),
    )


def _judge_in_threads(url: str, workers: list[Worker], plan: Plan, ready: Barrier, told: Any) -> None:
    sessions = connect(url, pool=plan.store_threads)
    judgements: list[float] = []

    def judge(mine: list[Seat]) -> None:
        for seat in cycle(mine):
            began = time.perf_counter()
            if began > end:
                return
            took = seat.judge()
            if began > start and time.perf_counter() <= end:
                judgements.append(took)

    seats = [Seat(sessions, worker) for worker in workers]
    for seat in seats:
        seat.judge()

    ready.wait()
    start = time.perf_counter() + plan.warm_seconds
    end = start + plan.store_seconds
    threads = [
        threading.Thread(target=judge, args=(seats[number :: plan.store_threads],))
        for number in range(plan.store_threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(judgements)


# Over HTTP


def http(postgres: Server, plan: Plan, peer: Peer | None) -> Iterator[Line]:
    """Closed loop at three sizes of the queue, then the pace of people at the middle one."""
    random = Random(SEED)
    rates: dict[str, Any] = {}
    with postgres.database("http") as ground:
        say(f"http: preparing {plan.large} comparisons")
        ground.prepare(plan.large + max(plan.large // 10, 2_000))
        workers = ground.workers(plan.labelers)
        with _web(ground, plan) as (port, top):
            parts = {"generator": [os.getpid()], "web": [top], "postgresql": [postgres.process]}
            desks = [HoneDesk("127.0.0.1", port, each.cookie, plan.ahead, random) for each in workers]
            open_slots = 0
            for size in (plan.small, plan.middle, plan.large):
                # Beside what labelers hold.
                ground.put_up(size - open_slots + (plan.labelers * plan.ahead if not open_slots else 0))
                ground.tidy()
                open_slots = size
                say(f"http: {plan.labelers} labelers without pauses at {size} open slots")
                times, used = asyncio.run(_closed(desks, plan, parts, ground.put_up))
                rates[str(size)] = {
                    "per_second": short(len(times.judgement) / used.seconds),
                    "judgement": spread(times.judgement),
                    "share_of_cores": used.of,
                }
            say(f"http: one judgement per labeler per {plan.every:.0f} s, for {plan.open_seconds:.0f} s")
            paced, paced_used = asyncio.run(_paced(desks, plan, parts, random))
    setting: dict[str, Any] = {
        "labelers": plan.labelers,
        "ahead": plan.ahead,
        "server": f"hone web --workers {plan.web_processes}",
        "database_pool_each": plan.web_pool,
    }
    middle = rates[str(plan.middle)]["per_second"]
    beside, beside_rate, driven = ("target", 200.0, {}) if peer is None else asyncio.run(_studio(peer, plan))
    yield Line(
        "labeling.http",
        middle,
        "claim+submit/s",
        beside,
        beside_rate,
        _conditions(
            None, **setting, seconds=plan.closed_seconds, open_slots=plan.middle, at_open_slots=rates, peer=driven
        ),
    )
    yield Line(
        "labeling.http.p99",
        spread(paced.judgement)["p99_ms"],
        "ms",
        "limit",
        200.0,
        _conditions(
            paced_used,
            **setting,
            open_slots=plan.large,
            seconds_between_judgements=plan.every,
            judgement=spread(paced.judgement),
        ),
    )


@contextmanager
def _web(ground: Ground, plan: Plan) -> Iterator[tuple[int, int]]:
    """The web as production starts it: its port and the process at its top. Labeling needs no broker; there is none."""
    port = _free_port()
    environment = {
        "HONE_DATABASE_URL": ground.url,
        "HONE_BROKER_URL": "redis://127.0.0.1:1/0",
        "HONE_HOST": "127.0.0.1",
        "HONE_PORT": str(port),
        "HONE_DATABASE_POOL": str(plan.web_pool),
    }
    command = [sys.executable, "-m", "app.cli", "web", "--workers", str(plan.web_processes)]
    with Children(say) as children:
        top = children.start("web", command, environment=environment)
        deadline = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}/health/ready"):
            if time.monotonic() > deadline:
                raise TimeoutError("The web process did not answer within a minute.")
            time.sleep(0.2)
        yield port, top


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def _closed(
    desks: Sequence[Desk], plan: Plan, parts: dict[str, list[int]], put_up: Callable[[int], None]
) -> tuple[Times, Shares]:
    """What was judged within the seconds that are measured. `put_up` keeps the queue as long as it was."""
    over, times = asyncio.Event(), Times()

    async def feed() -> None:
        fed = 0
        while not over.is_set():
            if given := len(times.items) - fed:
                await asyncio.to_thread(put_up, given)
                fed += given
            await asyncio.sleep(FEED_SECONDS)

    async with asyncio.TaskGroup() as everything:
        everything.create_task(feed())
        everything.create_task(closed(desks, times, over))
        await asyncio.sleep(plan.warm_seconds)
        start = len(times.items)
        with shares(parts) as used:
            await asyncio.sleep(plan.closed_seconds)
            end = len(times.items)
        over.set()
    for desk in desks:
        await desk.close()
    return times.between(start, end), used


async def _paced(
    desks: Sequence[Desk], plan: Plan, parts: dict[str, list[int]], random: Random
) -> tuple[Times, Shares]:
    times = Times()
    with shares(parts) as used:
        await opened(desks, times, plan.open_seconds, plan.every, random)
    for desk in desks:
        await desk.close()
    return times, used


async def _studio(peer: Peer, plan: Plan) -> tuple[str, float, dict[str, Any]]:
    """The closed loop on Label Studio: its name, its rate, and what goes with it."""
    place = urlsplit(peer.address)
    host, port = place.hostname or "127.0.0.1", place.port or 80
    project, release = await project_of(host, port, peer.tokens[0], PEER_TASKS)
    desks = [StudioDesk(host, port, token, project) for token in peer.tokens]
    times, used = await _closed(desks, plan, {"generator": [os.getpid()]}, lambda given: None)
    told = {
        "labelers": len(desks),
        "judgement": spread(times.judgement),
        "claim": spread(times.claim),
        "submit": spread(times.submit),
        "handed_to_a_second_person": len(times.items) - len(set(times.items)),
        "share_of_cores": used.of,
    }
    return f"Label Studio {release}", short(len(times.items) / used.seconds), told


# At the extremes


def growth(postgres: Server, plan: Plan, _peer: Peer | None) -> Iterator[Line]:
    """One labeler in each of three databases by turns, so that whatever else the machine does meets all of them."""
    sizes = (plan.small, plan.middle, plan.large)
    with ExitStack() as databases:
        seats = []
        for size in sizes:
            say(f"growth: putting up {size} comparisons")
            ground = databases.enter_context(postgres.database(f"growth_{size}"))
            ground.prepare(size)
            ground.put_up(size)
            ground.tidy()
            seats.append(Seat(ground.sessions, ground.workers(1)[0]))
        say("growth: judgements by turns")
        took = _by_turns(seats, plan)
    middles = [median(times) for times in took]
    yield Line(
        "labeling.growth",
        short(middles[-1] / middles[0]),
        "times",
        "limit",
        1.3,
        _conditions(
            None,
            open_slots=list(sizes),
            judgement={str(size): spread(times) for size, times in zip(sizes, took, strict=True)},
        ),
    )


def _by_turns(seats: Sequence[Seat], plan: Plan) -> list[list[float]]:
    took: list[list[float]] = [[] for _ in seats]
    for _ in range(plan.blocks):
        for seat, times in zip(seats, took, strict=True):
            # The first after the others worked finds caches of theirs.
            seat.judge()
            times += [seat.judge() for _ in range(plan.block)]
    return took


def seen(postgres: Server, plan: Plan, _peer: Peer | None) -> Iterator[Line]:
    """A newcomer and the one who answered everything but the last comparisons, by turns in one database."""
    fresh = plan.blocks * (plan.block + 1) + 1
    with postgres.database("seen") as ground:
        say(f"seen: a labeler with {plan.middle} answers")
        ground.prepare(plan.middle + fresh, opinions=2)
        newcomer, veteran = ground.workers(2)
        ground.put_up(plan.middle)
        ground.answered_by(veteran)
        ground.put_up(fresh)
        ground.tidy()
        # Nothing says yet where the veteran's search should go on, so this one passes by all that they have answered.
        seats = [Seat(ground.sessions, worker) for worker in (newcomer, veteran)]
        first = seats[1].judge()
        new, old = _by_turns(seats, plan)
    yield Line(
        "labeling.seen",
        short(median(old) / median(new)),
        "times",
        "limit",
        1.3,
        _conditions(
            None,
            answers=plan.middle,
            open_slots=plan.middle + 2 * fresh,
            newcomer=spread(new),
            veteran=spread(old),
            search_of_all_ms=short(1000 * first),
        ),
    )


CASES: dict[str, Callable[[Server, Plan, Peer | None], Iterator[Line]]] = {
    "store": store,
    "http": http,
    "growth": growth,
    "seen": seen,
}

if __name__ == "__main__":
    main()
