"""The `hone` command: start everything, import, export, make links, show the loop.

Knows how a person types. The only place that prints; the only one that starts servers.
"""

import json
import math
import os
import secrets
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click
import httpx2
import uvicorn
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from app import samples
from app.domain.errors import Refusal
from app.domain.recipes import NAMED, InvalidRecipe, scaled
from app.domain.words import Split
from app.jobs import Job
from app.local import places, ports, postgres, redis, sharing
from app.local.errors import CannotStart
from app.local.logs import Log
from app.local.processes import Children, Ended, interruptible
from app.local.restarts import MOST, WITHIN_SECONDS, Restarts
from app.queue import celery_client
from app.services import exports, imports, people
from app.services.exports import Filters
from app.services.imports import Report
from app.services.install import furnish
from app.services.people import Viewer
from app.settings import Settings
from app.simulation import gold, table, tour
from app.simulation.client import Client
from app.simulation.errors import Refused, TourFailed
from app.simulation.labelers import SimulatedLabeler, at_work
from app.store import schema
from app.store.people import simulating
from app.store.session import DatabaseUnreachable, Session, Sessions, connect, unit_of_work

READY_SECONDS = 60
LOOK_SECONDS = 0.5
DEMO_ROUNDS = 2
SIMULATION = "hone simulate"
"""Name of the API tokens with which simulated labelers come in."""
DEMO_MARK = "made-by-hone-demo"
# What the environment may say of another install; the demo has one of its own.
NOT_OF_THE_DEMO = ("HONE_PUBLIC_URL", "HONE_COOKIE_SECURE", "HONE_ARTIFACTS_DIR")


class Words(click.ClickException):
    """An error a person can act on, in one sentence."""


def say(sentence: str) -> None:
    """One line to the terminal, at once."""
    click.echo(sentence)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"HONE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise Words(f"A setting cannot be used. {wrong}.") from error


@contextmanager
def _in_words() -> Iterator[None]:
    """Errors that people can act on end the command in a sentence; all others keep their traceback."""
    try:
        yield
    except (CannotStart, TourFailed, Refused, InvalidRecipe) as error:
        raise Words(str(error)) from error
    except Refusal as refusal:
        raise Words(f"{refusal.what} {refusal.what_to_do}".strip()) from refusal
    except (DatabaseUnreachable, OperationalError) as error:
        said = error.orig if isinstance(error, OperationalError) else error
        raise Words(f"The database cannot be reached or cannot serve: {str(said).splitlines()[0]}") from error


@contextmanager
def _database(settings: Settings) -> Iterator[Sessions]:
    """A session factory on the configured database, or on the embedded one, started if need be."""
    with _in_words(), _database_url(settings) as url:
        schema.upgrade(url)
        sessions = connect(url)
        try:
            with unit_of_work(sessions, _no_jobs) as session:
                furnish(session)
            yield sessions
        finally:
            sessions.kw["bind"].dispose()


@contextmanager
def _database_url(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url
    else:
        with postgres.running(settings.data_dir, say=say) as url:
            yield url


@contextmanager
def _broker_url(settings: Settings) -> Iterator[str]:
    if settings.broker_url is not None:
        yield settings.broker_url
    else:
        with redis.running(settings.data_dir, say=say) as url:
            yield url


def _no_jobs(job: Job) -> None:
    """Commands write rows; the worker's reconciler rings for any that need it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hone")
def main() -> None:
    """Hone: labelers compare, a reward model learns, PPO improves the policy, the policy writes the next pairs.

    Settings come from the environment (HONE_PORT, HONE_DATA_DIR, ...); docs/operations.md lists them.
    """


# Starting


@dataclass
class _Started:
    """The embedded servers and the two processes of one command."""

    settings: Settings
    environment: dict[str, str]
    children: Children
    log: Path
    restarts: Restarts = field(default_factory=lambda: Restarts(needed=["web"]))

    def start(self, name: str) -> None:
        """Start the web process or the worker."""
        commands = {
            "web": [sys.executable, "-m", "app.cli", "web"],
            "worker": [
                *[sys.executable, "-m", "celery", "--quiet", "-A", "worker.celery_app", "worker", "--beat"],
                *["--queues", "cpu,gpu", "--concurrency", "2", "--loglevel", "WARNING", "--without-gossip"],
                *["--without-mingle"],
            ],
        }
        self.children.start(name, commands[name], environment=self.environment)

    def ready(self) -> None:
        """Wait until the web process answers. Raises CannotStart with what it said last."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            ended = self.children.wait(0.2)
            if ended is not None and ended.name == "web":
                raise CannotStart(str(ended))
            self._start_again(ended)
            try:
                if httpx2.get(f"{_local_address(self.settings)}/health/ready", timeout=2).status_code == 200:
                    return
            except httpx2.TransportError:
                continue
        raise CannotStart(f"The web process did not answer within {READY_SECONDS} seconds. Its log is {self.log}.")

    def look(self, seconds: float) -> None:
        """Wait, and start again what ended meanwhile. Raises CannotStart when the web dies again and again."""
        self._start_again(self.children.wait(seconds))
        if self.settings.database_url is None:
            postgres.revive(self.settings.data_dir, say=say)
        if self.settings.broker_url is None:
            redis.revive(self.settings.data_dir, say=say)

    def _start_again(self, ended: Ended | None) -> None:
        now = time.monotonic()
        if ended is not None:
            say(f"{ended}\nThe whole log is {self.log}.")
            pause = self.restarts.ended(ended.name, now)
            if pause is None:
                raise CannotStart(
                    f"The {ended.name} process ended {MOST + 1} times within {WITHIN_SECONDS / 60:.0f} minutes; "
                    "stopping. What was judged is safe."
                )
            meanwhile = "" if ended.name == "web" else " Labeling goes on meanwhile."
            say(f"Starting the {ended.name} process again{f' in {pause:.0f} s' if pause else ''}.{meanwhile}")
        for name in self.restarts.due(now):
            self.start(name)


def _local_address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


@contextmanager
def _everything(settings: Settings) -> Iterator[tuple[_Started, Sessions]]:
    """Servers, schema, web and worker, for the length of the block; stopped in order afterwards."""
    ports.require_free(settings.host, settings.port)
    with (
        interruptible(),
        Log(settings.data_dir / "logs" / "hone.log") as log,
        _database_url(settings) as database_url,
        _broker_url(settings) as broker_url,
    ):
        schema.upgrade(database_url)
        sessions = connect(database_url)
        try:
            with unit_of_work(sessions, _no_jobs) as session:
                furnish(session)
            environment = {
                "HONE_DATABASE_URL": database_url,
                "HONE_BROKER_URL": broker_url,
                "HONE_DATA_DIR": str(settings.data_dir.resolve()),
                "HONE_HOST": settings.host,
                "HONE_PORT": str(settings.port),
                "HONE_BASE_MODEL": settings.base_model,
                "HF_HUB_DISABLE_TELEMETRY": "1",
                # Torch threads that spin while they wait for each other lose many times over to anything else that
                # runs, and here the web process, the databases and a browser do.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            }
            if settings.threads is not None:
                environment["HONE_THREADS"] = environment["OMP_NUM_THREADS"] = str(settings.threads)
            if settings.artifacts_dir is not None:
                environment["HONE_ARTIFACTS_DIR"] = str(settings.artifacts)
            say(f"Starting the web process and a worker; what they say goes to {log.path}")
            with Children(log.write) as children:
                started = _Started(settings, environment, children, log.path)
                started.start("web")
                started.start("worker")
                started.ready()
                yield started, sessions
        finally:
            sessions.kw["bind"].dispose()


@main.command()
def run() -> None:
    """Start everything on this machine: PostgreSQL, Redis, web, worker. Ctrl-C stops it; again continues."""
    settings = _settings()
    started_at = time.monotonic()
    try:
        with _in_words(), _everything(settings) as (started, sessions):
            _ship_samples(sessions)
            with unit_of_work(sessions, _no_jobs) as session:
                token = people.first_admin_link(session)
            say(f"Hone is ready after {time.monotonic() - started_at:.0f} s at {settings.address}")
            if token is not None:
                say("Set the first admin's password here (the link works once, for seven days):")
                say(f"  {settings.address}/link/{token}")
            say("Ctrl-C stops everything; starting again continues with the same data.")
            while True:
                started.look(2.0)
    except KeyboardInterrupt:
        say("Stopped. Nothing is running any more; `make run` continues where you were.")


def _ship_samples(sessions: Sessions) -> None:
    """Import the documents that ship with Hone into an install that has none."""
    with unit_of_work(sessions, _no_jobs) as session:
        if any(imports.documents_there(session).values()):
            return
    report = Report()
    with samples.path().open("rb") as source:
        for chunk in imports.chunks(source, imports.DOCUMENTS, report, stop=True):
            with unit_of_work(sessions, _no_jobs) as session:
                imports.DOCUMENTS.add(session, chunk, report, None)
    with unit_of_work(sessions, _no_jobs) as session:
        imports.finish(session)
    say(f"sample documents: {report.sentence('documents')}")


@main.command()
@click.option("--workers", default=1, show_default=True, help="Processes; more than one in production.")
def web(workers: int) -> None:
    """The web process alone. Needs HONE_DATABASE_URL and HONE_BROKER_URL."""
    settings = _settings()
    uvicorn.run(
        "app.main:web",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        log_level="warning",
        # Streams end by themselves at shutdown; this is for whatever does not.
        timeout_graceful_shutdown=3,
        # Believed only from FORWARDED_ALLOW_IPS, as uvicorn reads it: limits per address need the real one.
        server_header=False,
    )


@main.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run at any time."""
    with _database(_settings()):
        say("The database is up to date.")


@main.command()
@click.option("--broker", is_flag=True, help="Ask the broker too.")
def health(broker: bool) -> None:
    """Exit with 0 when the database (and the broker) answers and the schema is current. Starts nothing."""
    settings = _settings()
    if settings.database_url is None:
        raise Words("HONE_DATABASE_URL is not set.")
    with _in_words():
        if not schema.is_current(settings.database_url):
            raise Words("The database answers, but its schema is not current: run `hone migrate`.")
    if broker:
        if settings.broker_url is None:
            raise Words("HONE_BROKER_URL is not set.")
        try:
            with celery_client(settings.broker_url).connection_for_read(connect_timeout=5) as connection:
                connection.ensure_connection(max_retries=1, timeout=5)
        except OSError as error:
            raise Words(f"The broker cannot be reached: {error}") from error
    say("ok")


# Data in and out


@main.group("import")
def import_() -> None:
    """Bring documents or comparisons in."""


def _import(form: Any, file: Path, stop: bool) -> None:
    report = Report()
    size = file.stat().st_size
    with _database(_settings()) as sessions, file.open("rb") as source:
        with click.progressbar(length=size, label=f"Importing {form.noun}", file=sys.stderr) as bar:
            for chunk in imports.chunks(source, form, report, stop=stop):
                with unit_of_work(sessions, _no_jobs) as session:
                    form.add(session, chunk, report, None)
                bar.update(source.tell() - bar.pos)
            bar.update(size - bar.pos)
        with unit_of_work(sessions, _no_jobs) as session:
            imports.finish(session)
        for problem in report.problems:
            say(problem)
        say(report.sentence(form.noun))


_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
_STOP = click.option("--stop/--carry-on", default=False, help="Stop at the first bad line, or leave bad lines out.")


@import_.command("documents")
@_FILE
@_STOP
def import_documents(file: Path, stop: bool) -> None:
    """Documents with references: JSON lines, plain or .gz, with id, subreddit, title, post, summary."""
    _import(imports.DOCUMENTS, file, stop)


@import_.command("comparisons")
@_FILE
@_STOP
def import_comparisons(file: Path, stop: bool) -> None:
    """Comparisons judged elsewhere, in the form that OpenAI released."""
    _import(imports.COMPARISONS, file, stop)


@main.group()
def export() -> None:
    """Take data out."""


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """Write beside `file` and put it in its place when the block is done; a block that fails leaves nothing behind."""
    aside = file.with_name(file.name + ".part")
    try:
        with aside.open("w", encoding="utf-8") as out:
            yield out
        aside.replace(file)
    except OSError as error:
        raise Words(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@export.command("preferences")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice([split.value for split in Split]),
    help="Only answers on documents of this split; may be given again. Without: all.",
)
@click.option("--with-ties", is_flag=True, help="Write answers without a preferred side too.")
@click.option("--with-simulated", is_flag=True, help="Write answers of simulated labelers too.")
def export_preferences(file: Path, splits: tuple[str, ...], with_ties: bool, with_simulated: bool) -> None:
    """The newest counted answers as JSON lines in the released form."""
    chosen = tuple(split for split in Split if not splits or split.value in splits)
    rows = 0
    with _database(_settings()) as sessions, _whole(file) as out, unit_of_work(sessions, _no_jobs) as session:
        for line in exports.preferences(session, Filters(chosen, with_ties, with_simulated)):
            out.write(line + "\n")
            rows += 1
    say(f"{rows} preferences written to {file}.")


# People


@main.command("people")
def list_people() -> None:
    """Accounts by name, role and state."""
    with _database(_settings()) as sessions, unit_of_work(sessions, _no_jobs) as session:
        for person in people.everybody(session):
            state = "deactivated" if person.labeler.deactivated_at else "active"
            say(f"{person.labeler.name}\t{person.labeler.role}\t{state}\t{person.answers} answers")


@main.command()
@click.argument("name")
def link(name: str) -> None:
    """A one-time link on which the account NAME sets a new password. `admin` is made if nobody is there yet."""
    settings = _settings()
    with _database(settings) as sessions:
        with unit_of_work(sessions, _no_jobs) as session:
            first = people.first_admin_link(session) if name.strip().lower() == "admin" else None
            token = first or people.link_for(session, name)
        say(f"{settings.address}/link/{token}")


# Without a person


@main.command()
@click.option("--labelers", "number", type=click.IntRange(1, 64), default=4, show_default=True, help="How many judge.")
@click.option(
    "--pace",
    type=click.FloatRange(10, 1_000_000),
    help="Answers an hour that each gives. Without: as many as there are pairs for.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 100),
    default=gold.NOISE,
    show_default=True,
    help="How far they stray from their taste; at the default two agree as often as the study's labelers.",
)
@click.option("--answers", type=click.IntRange(min=1), help="Stop after so many in all. Without: until Ctrl-C.")
@click.option("--address", help="Where the web process answers. Without: HONE_HOST and HONE_PORT.")
def simulate(number: int, pace: float | None, noise: float, answers: int | None, address: str | None) -> None:
    """Let simulated labelers judge in a Hone that is running, over HTTP, like people.

    Their answers count only where a round is launched with simulated labelers, or a switch asks for them.
    """
    settings = _settings()
    where = (address or _local_address(settings)).rstrip("/")
    with _database(settings) as sessions, simulating(sessions) as alone, interruptible():
        if not alone:
            raise Words(
                "Another `hone simulate` is at work on this database. Stop it first, or give it more --labelers."
            )
        try:
            httpx2.get(f"{where}/health/ready", timeout=10).raise_for_status()
        except httpx2.HTTPError as trouble:
            raise Words(f"No Hone is ready at {where}: {trouble}. Start it with `make run`, then this again.") from None
        with unit_of_work(sessions, _no_jobs) as session:
            viewers = [people.simulated(session, f"simulated {each}") for each in range(1, number + 1)]
            # Of one that was killed.
            _revoke(session, viewers)
            tokens = [people.make_api_token(session, viewer, SIMULATION) for viewer in viewers]
        clients = [Client.by_token(where, token) for token in tokens]
        allowed = None if answers is None else threading.Semaphore(answers)
        judging = [SimulatedLabeler(each, secrets.randbits(32), pace, noise, allowed) for each in clients]
        say(f"{number} simulated labelers judge at {where}; Ctrl-C stops them.")
        try:
            with at_work(judging) as desks:
                told = 0
                while (given := sum(each.answered for each in judging)) < (answers or math.inf):
                    desks.check()
                    if given >= told + 100:
                        told = given
                        say(f"{given} answers")
                    time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            pass
        finally:
            for client in clients:
                client.close()
            with unit_of_work(sessions, _no_jobs) as session:
                _revoke(session, viewers)
        say(f"{sum(each.answered for each in judging)} answers given.")


def _revoke(session: Session, viewers: list[Viewer]) -> None:
    """Let no token of a simulation work any more."""
    for viewer in viewers:
        for held in people.api_tokens(session, viewer):
            if held.name == SIMULATION:
                people.revoke_api_token(session, viewer, held.id)


@main.command()
@click.option("--tiny", is_flag=True, help="A random-weight model: the mechanism in at most two minutes.")
@click.option("--hours", type=float, help="Scale the recipe so that it takes about this long.")
@click.option(
    "--documents",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines of posts (plain or .gz). Without: the documents that ship with Hone.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here too.")
@click.option("--port", type=int, help="Port of the demo's web process. Without: HONE_PORT.")
def demo(tiny: bool, hours: float | None, documents: Path | None, json_file: Path | None, port: int | None) -> None:
    """Go round the loop twice with simulated labelers, over HTTP, on data of its own under DATA_DIR/demo."""
    if tiny and hours is not None:
        raise Words("--tiny shows the mechanism and is not scaled; leave out --hours or --tiny.")
    base = _settings()
    changes: dict[str, Any] = {"data_dir": base.data_dir / "demo", "database_url": None, "broker_url": None}
    changes |= {"artifacts_dir": None, "public_url": None}
    if tiny:
        # One thread: so small a model gains nothing from two, and two wait for each other on a busy machine.
        changes |= {"base_model": "tiny", "threads": 1}
    if port is not None:
        changes["port"] = port
    settings = base.model_copy(update=changes)
    for name in NOT_OF_THE_DEMO:
        os.environ.pop(name, None)
    if json_file is not None and not json_file.parent.is_dir():
        raise Words(f"{json_file} cannot be written: there is no directory {json_file.parent}.")
    began = time.monotonic()

    def tell(sentence: str) -> None:
        say(f"{time.monotonic() - began:6.0f} s  {sentence}")

    with _in_words():
        recipe = NAMED["tiny"] if tiny else NAMED["demo"] if hours is None else scaled(NAMED["demo"], hours)
        ports.require_free(settings.host, settings.port)
        _empty_for_demo(settings.data_dir)
        chosen = settings.data_dir / "documents.jsonl"
        most = (recipe.sft.documents or 96) * tour.HELD_OUT_EVERY // (tour.HELD_OUT_EVERY - 1)
        number = tour.choose_documents(documents or samples.path(), chosen, 96 if hours is None else most)
        say(f"{number} posts, recipe {recipe.name}, base model {settings.base_model}")
        say("This shows the mechanism, not learning: so few judgements teach a reward model next to nothing.")
        try:
            with _everything(settings) as (started, sessions):
                # Nobody sits in front of it to wait for a worker that never gets up.
                started.restarts = Restarts(needed=["web", "worker"])
                with unit_of_work(sessions, _no_jobs) as session:
                    token = people.first_admin_link(session)
                address = _local_address(settings)
                told = tour.take(address, f"/link/{token}", chosen, recipe, DEMO_ROUNDS, tell, started.look)
        except KeyboardInterrupt:
            raise Words("Stopped before the end. Nothing is running any more.") from None
    for line in table.lines(told.rounds):
        say(line)
    say(f"{time.monotonic() - began:.0f} s in all. This shows the mechanism, not learning.")
    if json_file is not None:
        figures = {
            "rounds": [table.figures(each) for each in told.rounds],
            "seconds": round(time.monotonic() - began, 1),
            "documents": number,
            "base_model": settings.base_model,
            "cores": os.cpu_count(),
        }
        with _whole(json_file) as out:
            out.write(json.dumps(figures, indent=2) + "\n")
    again = f"HONE_DATA_DIR={shlex.quote(str(settings.data_dir))}"
    again += f" HONE_PORT={port}" if port is not None else ""
    again += f" HONE_BASE_MODEL={settings.base_model}" if tiny else ""
    say("See it in the browser. This starts it:")
    say(f"  {again} {_program()} run")
    say("and this, in a second terminal in the same directory, makes a link to come in as the admin:")
    say(f"  {again} {_program()} link admin")


def _empty_for_demo(directory: Path) -> None:
    """Remove what an earlier demo left, and nothing else. Raises CannotStart."""
    if sharing.in_use(directory):
        raise CannotStart(
            f"A demo begins with nothing, and another hone command is using what is in {directory} now. "
            "Nothing was changed. Stop that command first, or set HONE_DATA_DIR to another directory."
        )
    if directory.is_dir() and any(directory.iterdir()) and not (directory / DEMO_MARK).exists():
        raise CannotStart(
            f"A demo begins with nothing, and what is in {directory} was not made by one. Nothing was changed. "
            "Move it away, or set HONE_DATA_DIR to another directory."
        )
    shutil.rmtree(directory, ignore_errors=True)
    places.prepare(directory)
    places.require_space(directory, postgres.NEEDED_MEGABYTES, "the demo")
    (directory / DEMO_MARK).touch()


def _program() -> str:
    """What a person types, here and now, to call this program again."""
    called = Path(sys.argv[0])
    if called.suffix == ".py":
        return f"{shlex.quote(sys.executable)} -m app.cli"
    on_path = shutil.which(called.name)
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return called.name
    return shlex.quote(str(called))


if __name__ == "__main__":
    main()
