"""A real worker and its broker: messages that come again and again, and a broker that loses all of them."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from app import samples
from app.domain.recipes import TINY
from app.domain.words import RunState, Stage
from app.jobs import run_job
from app.local import redis
from app.local.processes import Children
from app.queue import celery_client, sender
from app.services import imports, rounds
from app.services.imports import Report
from app.services.rounds import RunView
from tests.conftest import Work
from tests.support import factories as make
from tests.support.install import environment, free_port
from tests.support.servers import Servers

PATIENCE = 500.0
COPIES = 5
# Longer than kombu needs to notice what was not acknowledged, which it looks for every ten seconds.
LONG = replace(TINY, name="long", sft=replace(TINY.sft, epochs=40))

pytestmark = pytest.mark.system


@pytest.fixture
def broker_url(servers: Servers) -> str:
    return servers.empty_broker()


@pytest.fixture
def said(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[list[str]]:
    """A worker that does one thing at a time, so that copies wait longer than the broker does; gives what it said."""
    lines: list[str] = []
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "tests.system.forgetful_worker", "worker", "--beat"]
    command += ["--queues", "cpu,gpu", "--concurrency", "1", "--loglevel", "WARNING"]
    own = environment(tmp_path, free_port()) | {
        "HONE_DATABASE_URL": database_url,
        "HONE_BROKER_URL": broker_url,
        "PYTHONPATH": str(Path.cwd()),
    }
    with Children(lines.append) as children:
        children.start("worker", command, environment=own)
        yield lines


def _until(is_so: Callable[[], bool], what: str, said: list[str]) -> None:
    """Wait for a row or a message to say so."""
    pause = threading.Event()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if is_so():
            return
        pause.wait(0.1)
    raise AssertionError("\n".join([f"{what} did not come about", *said[-40:]]))


def test_a_run_is_executed_once_however_often_its_doorbell_rings_and_whatever_the_broker_loses(
    work: Work, servers: Servers, broker_url: str, said: list[str]
) -> None:
    with samples.path().open("rb") as source:
        for chunk in imports.chunks(source, imports.DOCUMENTS, Report(), stop=True):
            with work() as session:
                imports.DOCUMENTS.add(session, chunk, Report(), None)
    with work() as session:
        boss = make.admin(session)
        number = rounds.launch(session, boss, rounds.add_recipe(session, boss, LONG), with_simulated=False)

    def run(position: int) -> RunView:
        with work() as session:
            return rounds.view(session, number).runs[position - 1]

    def fence(run_id: int) -> int:
        with work() as session:
            found: int = session.execute(text("select fence from run where id = :id"), {"id": run_id}).scalar_one()
            return found

    # The message of the launch was lost: the reconciler rings.
    _until(lambda: run(1).state is RunState.RUNNING and run(1).done > 0, "fine-tuning", said)
    with celery_client(broker_url) as client:
        for _ in range(COPIES):
            sender(client)(run_job(Stage.SFT, run(1).id))
    _until(lambda: run(1).state is RunState.SUCCEEDED, "the end of the fine-tuning", said)
    _until(lambda: run(2).state is RunState.RUNNING, "sampling", said)
    with redis.client(servers.data_directory) as broker:
        _until(lambda: not broker.llen("gpu"), "the last message", said)
        assert (fence(run(1).id), run(1).attempt) == (1, 1)
        broker.flushall()
    _until(lambda: run(3).state is RunState.WAITING, "judging", said)
    assert fence(run(2).id) == 1
    with work() as session:
        assert session.scalar(text("select count(*) from batch")) == 1
        assert session.scalar(text("select count(*) from comparison")) == run(2).result["pairs"]
        twice = "select document_id, seed from summary where run_id is not null group by 1, 2 having count(*) > 1"
        assert session.execute(text(twice)).all() == []
