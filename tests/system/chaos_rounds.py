"""Rounds that nobody watches while everything dies: `python -m tests.system.chaos_rounds [--rounds N] [--kills N]`.

Simulated labelers judge, two workers carry out rounds of the tiny model, and workers, the web process, Redis and
PostgreSQL are killed with SIGKILL at random points and started again; Redis is wiped too. Then it is calm, the rounds
end, and the rows say whether a run was lost or done twice, and how long it took until one whose worker died went on;
the weights say whether labelers got what they like. With `--kills 0` nothing happens to anybody.

Knows how processes are started and found. The same seed makes the same choices; what they meet differs from run to
run, because time does.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random

import httpx2
from sqlalchemy import text

from app import samples
from app.domain.intervals import Estimate
from app.domain.recipes import TINY, Recipe
from app.domain.words import LabelerKind, Role, RoundState
from app.jobs import Job
from app.local import postgres, redis
from app.local.errors import CannotStart
from app.local.processes import Children
from app.services import imports, people, rounds
from app.services.imports import Report
from app.services.install import furnish
from app.services.people import Viewer
from app.simulation import tour
from app.simulation.client import Client
from app.simulation.labelers import SimulatedLabeler, at_work
from app.store import schema
from app.store.session import DatabaseUnreachable, Session, Sessions, connect, unit_of_work
from tests.support import factories as make
from tests.support.install import environment, free_port
from tests.system.aftermath_of_rounds import findings
from tests.system.liked_better import win_rate

LABELERS = 2
MOST_DOCUMENTS = 72
LEARNING = replace(
    TINY,
    name="learning",
    sampling=replace(TINY.sampling, max_summary_tokens=64),
    pairing=replace(TINY.pairing, pairs=192),
    sft=replace(TINY.sft, documents=None, epochs=6),
    reward=replace(TINY.reward, batch=16, micro_batch=16, epochs=2, max_summary_tokens=72),
    ppo=replace(TINY.ppo, episodes=256, batch=32, micro_batch=16, epochs=2, learning_rate=3e-4),
)
"""By hand: enough labels and episodes for the tiny model to come nearer to what simulated labelers like."""
WORKERS = ("worker 1", "worker 2")
LEASE_SECONDS = 5
AT_WORK = "a worker at work"
# What is killed, each in turn: of a few kills no kind is left out, and some are of a worker that holds a run.
TARGETS = (AT_WORK, "web", "postgres", "redis", "redis wiped", AT_WORK, "worker 1", "worker 2")
KINDS = 5
MOST_SECONDS_TO_GO_ON = 60.0
READY_SECONDS = 120.0
LOOK_SECONDS = 0.2


@dataclass
class Story:
    """What happened, for whoever reads the end of it."""

    seed: int
    counted: Counter[str] = field(default_factory=Counter)
    went_on: list[float] = field(default_factory=list)
    liked: Estimate | None = None
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.counted.items()))
        waited = "no run lost its worker"
        if self.went_on:
            middle = sorted(self.went_on)[len(self.went_on) // 2]
            waited = (
                f"{len(self.went_on)} runs lost their worker and went on, median {middle:.1f} s and at most "
                f"{max(self.went_on):.1f} s after their lease's end"
            )
        found = [f"  FOUND: {finding}" for finding in self.findings] or ["  nothing is wrong"]
        if self.liked is not None and self.liked.value is not None:
            found.append(
                "  by the gold reward the last policy wins against the fine-tuned one in "
                f"{self.liked.value:.3f} [{self.liked.low:.3f}, {self.liked.high:.3f}], {self.liked.n} documents"
            )
        return "\n".join([f"seed {self.seed}: {told}; {waited}", *found])


@dataclass(frozen=True)
class _Held:
    """A run as it was when its worker was killed."""

    run_id: int
    fence: int


class House:
    """The processes of an install, each of which can be killed and comes back."""

    def __init__(self, directory: Path, database_url: str, broker_url: str, children: Children) -> None:
        self._directory, self._children = directory, children
        self.port = free_port()
        self._environment = environment(directory, self.port) | {
            "HONE_DATABASE_URL": database_url,
            "HONE_BROKER_URL": broker_url,
            "HONE_RUN_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        self._leashes: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Start the web process or a worker."""
        command = [sys.executable, "-m", "app.cli", "web"]
        if name in WORKERS:
            command = [sys.executable, "-m", "celery", "--quiet", "-A", "worker.celery_app", "worker"]
            command += ["--queues", "cpu,gpu", "--concurrency", "2", "--loglevel", "WARNING", "--without-gossip"]
            command += ["--without-mingle", "--hostname", f"{name.replace(' ', '')}@%h"]
            command += ["--beat"] if name == WORKERS[0] else []
        self._leashes[name] = self._children.start(name, command, environment=self._environment)

    def holds(self, name: str, process: int) -> bool:
        """Whether this is a process of the one with this name."""
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(process) == self._leashes.get(name)
        return False

    def kill(self, name: str) -> None:
        """SIGKILL, whatever it is doing; a wiped Redis loses all it holds and lives on."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            match name:
                case "postgres":
                    lines = (self._directory / "postgres" / "postmaster.pid").read_text().splitlines()
                    os.kill(int(lines[0]), signal.SIGKILL)
                case "redis":
                    os.kill(int((self._directory / "run" / "redis.pid").read_text()), signal.SIGKILL)
                case "redis wiped":
                    with redis.client(self._directory) as client:
                        client.flushall()
                case _:
                    os.killpg(self._leashes[name], signal.SIGKILL)

    def bring_back(self) -> None:
        """Start again whatever is dead. A server that is not ready to come back is tried at the next look."""
        while (ended := self._children.wait(0)) is not None:
            self.start(ended.name)
        for server in (postgres, redis):
            with contextlib.suppress(CannotStart):
                server.revive(self._directory)

    def ready(self) -> None:
        """Wait until the web process answers."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).status_code == 200:
                    return
            self.bring_back()
        raise TimeoutError("the web process did not answer")


class Watch:
    """Launches rounds, kills, and sees who goes on; every look is one transaction that may fail."""

    def __init__(self, sessions: Sessions, house: House, story: Story, random: Random, recipe: Recipe) -> None:
        self._sessions, self._house, self._story, self._random = sessions, house, story, random
        self._recipe = recipe
        self._lost: dict[_Held, datetime | None] = {}

    @contextlib.contextmanager
    def work(self) -> Iterator[Session]:
        """A unit of work that rings nobody: what is launched is found by the reconciler, as after a lost message."""
        with unit_of_work(self._sessions, _rings_nobody) as session:
            yield session

    def strike(self, target: str) -> bool:
        """Kill it, and remember which runs it held; False where no worker is at work now."""
        held: dict[str, list[_Held]] = {name: [] for name in WORKERS}
        with contextlib.suppress(DatabaseUnreachable), self.work() as session:
            for run_id, fence, worker in session.execute(
                text("select id, fence, worker from run where state = 'running'")
            ):
                for name in WORKERS:
                    if self._house.holds(name, int(worker.rpartition(":")[2])):
                        held[name].append(_Held(run_id, fence))
        name = target
        if target == AT_WORK:
            name = next((each for each in WORKERS if held[each]), "")
        if not name:
            return False
        self._lost |= dict.fromkeys(held.get(name, []))
        self._house.kill(name)
        self._story.counted["wipes of redis" if target == "redis wiped" else f"kills of {target}"] += 1
        return True

    def look(self) -> None:
        """See which of the lost runs went on, and when their leases ended."""
        if not self._lost:
            return
        now = {}
        with contextlib.suppress(DatabaseUnreachable), self.work() as session:
            rows = session.execute(text("select id, fence, state, lease_expires_at, now() from run"))
            now = {row[0]: row for row in rows}
        for held, ended in list(self._lost.items()):
            if held.run_id not in now:
                # The database is away; the next look sees more.
                continue
            _, fence, state, lease, moment = now[held.run_id]
            if fence == held.fence and state == "running":
                self._lost[held] = lease
            else:
                del self._lost[held]
                if ended is not None:
                    self._story.went_on.append(max(0.0, (moment - ended).total_seconds()))

    def launch(self, viewer: Viewer) -> int | None:
        """The next round, or None while the database is away."""
        with contextlib.suppress(DatabaseUnreachable), self.work() as session:
            recipe = next(row.id for row in rounds.recipes(session) if row.name == self._recipe.name)
            return rounds.launch(session, viewer, recipe, with_simulated=True)
        return None

    def over(self, number: int) -> bool:
        """Whether the round has ended."""
        with contextlib.suppress(DatabaseUnreachable), self.work() as session:
            return rounds.view(session, number).state is not RoundState.ACTIVE
        return False

    def go_round(self, viewer: Viewer, count: int, kills: list[str], every: float, seconds: float) -> None:
        """Launch rounds one after another and kill on the way, until they are over or `seconds` are."""
        until = time.monotonic() + seconds
        strike_at = time.monotonic() + self._random.expovariate(1 / every)
        number: int | None = None
        done = 0
        while done < count and time.monotonic() < until:
            if number is None:
                number = self.launch(viewer)
            elif self.over(number):
                done, number = done + 1, None
            if kills and time.monotonic() > strike_at and self.strike(kills[-1]):
                kills.pop()
                strike_at = time.monotonic() + self._random.expovariate(1 / every)
            self._house.bring_back()
            self.look()
            time.sleep(LOOK_SECONDS)
        if done < count:
            self._story.findings.append(f"{done} of {count} rounds were over after {seconds:.0f} s")
        self._story.counted["rounds"] = done


def _rings_nobody(_job: Job) -> None:
    """Every doorbell of this process is lost."""


def _prepare(sessions: Sessions, documents: Path, recipe: Recipe) -> tuple[Viewer, list[str]]:
    """Documents, an admin and their recipe, and API tokens of simulated labelers."""
    with documents.open("rb") as source:
        for chunk in imports.chunks(source, imports.DOCUMENTS, Report(), stop=True):
            with unit_of_work(sessions, _rings_nobody) as session:
                imports.DOCUMENTS.add(session, chunk, Report(), None)
    with unit_of_work(sessions, _rings_nobody) as session:
        robots = [make.labeler(session, None, Role.LABELER, LabelerKind.SIMULATED) for _ in range(LABELERS)]
        admin = make.admin(session)
        rounds.add_recipe(session, admin, recipe)
        return admin, [people.make_api_token(session, each, "chaos") for each in robots]


def _client(address: str, token: str) -> Client:
    headers = {"accept": "application/json", "authorization": f"Bearer {token}"}
    return Client(httpx2.Client(base_url=address, timeout=20, headers=headers))


def run(
    directory: Path,
    *,
    count: int,
    kills: int,
    every: float,
    seconds: float,
    seed: int,
    recipe: Recipe = TINY,
) -> Story:
    """All of it, over servers of its own: `kills` with `every` seconds between two of them on average."""
    story, random = Story(seed), Random(seed)
    log: list[str] = []
    order = [TARGETS[number % len(TARGETS)] for number in range(kills)]
    random.shuffle(order)
    with postgres.running(directory) as database_url, redis.running(directory) as broker_url:
        schema.upgrade(database_url)
        sessions = connect(database_url, pool=2)
        try:
            with unit_of_work(sessions, _rings_nobody) as session:
                furnish(session)
            chosen = directory / "documents.jsonl"
            # Every fourth is held out; of the few that ship, a hash would leave next to none.
            tour.choose_documents(samples.path(), chosen, MOST_DOCUMENTS)
            admin, tokens = _prepare(sessions, chosen, recipe)
            with Children(log.append) as children, contextlib.ExitStack() as open_:
                house = House(directory, database_url, broker_url, children)
                for name in ("web", *WORKERS):
                    house.start(name)
                house.ready()
                address = f"http://127.0.0.1:{house.port}"
                clients = [open_.enter_context(contextlib.closing(_client(address, token))) for token in tokens]
                labelers = [SimulatedLabeler(client, number) for number, client in enumerate(clients)]
                with at_work(labelers) as desks:
                    Watch(sessions, house, story, random, recipe).go_round(admin, count, order, every, seconds)
                    desks.check()
            with unit_of_work(sessions, _rings_nobody) as session:
                story.findings += findings(session, directory / "artifacts", count)
                story.liked = None if story.findings else win_rate(session, directory / "artifacts", recipe)
        finally:
            sessions.kw["bind"].dispose()
    if not story.findings:
        slow = [each for each in story.went_on if each > MOST_SECONDS_TO_GO_ON]
        story.findings += [f"a run went on {each:.0f} s after its lease's end" for each in slow]
    else:
        (directory / "chaos.log").write_text("\n".join(log))
        story.findings.append(f"what the processes said is in {directory / 'chaos.log'}")
    return story


def main() -> int:
    """By hand: the seed first, so that a run that is stopped can be had again. Status 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos_rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=float, default=12.0, help="seconds between two kills, on average")
    parser.add_argument("--seconds", type=float, default=3600.0, help="the rounds must be over by then")
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}: {asked.rounds} rounds, {asked.kills} kills\n")
    sys.stdout.flush()
    directory = Path(tempfile.mkdtemp(prefix="hone-chaos-rounds-"))
    story = run(
        directory,
        count=asked.rounds,
        kills=asked.kills,
        every=asked.every,
        seconds=asked.seconds,
        seed=asked.seed,
        recipe=LEARNING,
    )
    sys.stdout.write(f"{story}\n")
    return 1 if story.findings else 0


if __name__ == "__main__":
    sys.exit(main())
