"""The `hone` command: start everything, import, export, make links, show the loop.

Knows how a person types. The only place that prints; the only one that starts servers.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx2
import uvicorn
from pydantic import ValidationError

from app import samples
from app.domain.errors import Refusal
from app.domain.recipes import NAMED, InvalidRecipe, scaled
from app.jobs import Job
from app.local import ports, postgres, redis
from app.local.errors import CannotStart
from app.local.processes import Children, interruptible
from app.queue import celery_client
from app.services import exports, imports, people
from app.services.exports import Filters
from app.services.imports import Report
from app.services.install import furnish
from app.settings import Settings
from app.simulation import table, tour
from app.simulation.errors import Refused, TourFailed
from app.store import schema
from app.store.session import DatabaseUnreachable, Sessions, connect, unit_of_work

RESTARTS = 5
READY_SECONDS = 60
DEMO_ROUNDS = 2


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
    except DatabaseUnreachable as error:
        raise Words(f"The database cannot be reached: {error}") from error


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
    restarts: int = 0

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
            if ended is not None:
                raise CannotStart(str(ended))
            try:
                if httpx2.get(f"{_local_address(self.settings)}/health/ready", timeout=2).status_code == 200:
                    return
            except httpx2.TransportError:
                continue
        raise CannotStart(f"The web process did not answer within {READY_SECONDS} seconds.")

    def watch(self) -> None:
        """Keep everything up until somebody stops it. Raises CannotStart when a process dies again and again."""
        while True:
            ended = self.children.wait(2.0)
            if ended is not None:
                self.restarts += 1
                say(str(ended))
                if self.restarts > RESTARTS:
                    raise CannotStart(f"Processes ended {self.restarts} times; stopping. What was judged is safe.")
                say(f"starting the {ended.name} process again")
                self.start(ended.name)
            if self.settings.database_url is None:
                postgres.revive(self.settings.data_dir, say=say)
            if self.settings.broker_url is None:
                redis.revive(self.settings.data_dir, say=say)


def _local_address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


@contextmanager
def _everything(settings: Settings, log: Callable[[str], None]) -> Iterator[tuple[_Started, Sessions]]:
    """Servers, schema, web and worker, for the length of the block; stopped in order afterwards."""
    ports.require_free(settings.host, settings.port)
    with (
        interruptible(),
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
            with Children(log) as children:
                started = _Started(settings, environment, children)
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
        with _in_words(), _everything(settings, say) as (started, sessions):
            _ship_samples(sessions)
            with unit_of_work(sessions, _no_jobs) as session:
                token = people.first_admin_link(session)
            say(f"Hone is ready after {time.monotonic() - started_at:.0f} s at {settings.address}")
            if token is not None:
                say("Set the first admin's password here (the link works once, for seven days):")
                say(f"  {settings.address}/link/{token}")
            say("Ctrl-C stops everything; starting again continues with the same data.")
            started.watch()
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
        proxy_headers=False,
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


@export.command("preferences")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--with-ties", is_flag=True, help="Write answers without a preferred side too.")
@click.option("--with-simulated", is_flag=True, help="Write answers of simulated labelers too.")
def export_preferences(file: Path, with_ties: bool, with_simulated: bool) -> None:
    """The newest counted answers as JSON lines in the released form."""
    aside = file.with_name(file.name + ".part")
    rows = 0
    with _database(_settings()) as sessions:
        with unit_of_work(sessions, _no_jobs) as session, aside.open("w", encoding="utf-8") as out:
            for line in exports.preferences(session, Filters(with_ties=with_ties, with_simulated=with_simulated)):
                out.write(line + "\n")
                rows += 1
        aside.replace(file)
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
    """A one-time link on which the account NAME sets a new password."""
    settings = _settings()
    with _database(settings) as sessions:
        with unit_of_work(sessions, _no_jobs) as session:
            token = people.link_for(session, name)
        say(f"{settings.address}/link/{token}")


# The loop without a person


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
    began = time.monotonic()
    with _in_words():
        recipe = NAMED["tiny"] if tiny else NAMED["demo"] if hours is None else scaled(NAMED["demo"], hours)
        ports.require_free(settings.host, settings.port)
        shutil.rmtree(settings.data_dir, ignore_errors=True)
        settings.data_dir.mkdir(parents=True)
        log = settings.data_dir / "demo.log"
        chosen = settings.data_dir / "documents.jsonl"
        most = (recipe.sft.documents or 96) * tour.HELD_OUT_EVERY // (tour.HELD_OUT_EVERY - 1)
        number = tour.choose_documents(documents or samples.path(), chosen, 96 if hours is None else most)
        say(f"{number} posts, recipe {recipe.name}, base model {settings.base_model}; the processes' log is {log}")
        say("This shows the mechanism, not learning: so few judgements teach a reward model next to nothing.")

        def tell(sentence: str) -> None:
            say(f"{time.monotonic() - began:6.0f} s  {sentence}")

        try:
            with (
                log.open("a", encoding="utf-8") as out,
                _everything(settings, _writer(out)) as (_, sessions),
            ):
                with unit_of_work(sessions, _no_jobs) as session:
                    token = people.first_admin_link(session)
                address = _local_address(settings)
                told = tour.take(address, f"/link/{token}", chosen, recipe, DEMO_ROUNDS, tell)
        except KeyboardInterrupt:
            raise Words("Stopped before the end. Nothing is running any more.") from None
    for line in table.lines(told.rounds):
        say(line)
    say(f"{time.monotonic() - began:.0f} s in all. This shows the mechanism, not learning.")
    say(f"See it in the browser: HONE_DATA_DIR={settings.data_dir} hone run, then `hone link admin` for a way in.")
    if json_file is not None:
        figures = {
            "rounds": [table.figures(each) for each in told.rounds],
            "seconds": round(time.monotonic() - began, 1),
            "documents": number,
            "base_model": settings.base_model,
            "cores": os.cpu_count(),
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _writer(out: Any) -> Callable[[str], None]:
    lock = threading.Lock()

    def write(line: str) -> None:
        with lock:
            out.write(line + "\n")
            out.flush()

    return write


if __name__ == "__main__":
    main()
