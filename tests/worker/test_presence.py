"""A worker says that it is there, what it has, and goodbye; a database that is away keeps it from nothing."""

import socket
from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain.words import Stage
from app.services import runs, workers
from app.services.people import Viewer
from tests.conftest import Work
from worker import presence, tasks
from worker.presence import Presence


def test_a_worker_registers_beats_and_leaves(work: Work, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = workers.Device("cpu", 16_000_000_000, "2.13.0 (without CUDA)", "5.17.0")
    monkeypatch.setattr(presence, "_ask", lambda: device)
    present = Presence(database_url, ["gpu", "cpu"], 2)
    present.start()
    with work() as session:
        [view] = workers.views(session)
    assert (view.host, view.queues, view.at_once) == (socket.gethostname(), ["cpu", "gpu"], 2)
    assert view.alive
    present.stop()
    with work() as session:
        [view] = workers.views(session)
    assert (view.device, view.memory, view.torch) == ("cpu", 16_000_000_000, "2.13.0 (without CUDA)")
    assert view.ended and not view.alive


def test_a_database_that_is_away_is_waited_for(work: Work, database_url: str) -> None:
    away = Presence(database_url.replace("/furnished", "/nowhere"), ["cpu"], 1)
    away.start()
    away.stop()
    with work() as session:
        assert workers.views(session) == []


def test_what_torch_computes_on_is_told_by_a_child() -> None:
    told = presence._ask()
    assert told is not None
    assert told.memory > 1_000_000_000
    assert told.torch.endswith(")") and told.transformers[0].isdigit()


def test_a_run_is_known_as_that_of_the_worker_that_claimed_it(
    work: Work, admin: Viewer, artifacts: Path, database_url: str
) -> None:
    asked = []
    with work() as session:
        asked.append(runs.ask(session, admin, Stage.IMPORT, {"path": "uploads/none", "form": "documents"}).id)
    tasks.execute(asked[0])
    present = Presence(database_url, ["cpu"], 1)
    present.start()
    with work() as session:
        asked.append(runs.ask(session, admin, Stage.IMPORT, {"path": "uploads/none", "form": "documents"}).id)
    tasks.execute(asked[1])
    present.stop()
    with work() as session:
        held = session.scalars(text("select worker_id from run order by id")).all()
    # Whoever could not say yet that they are there carries runs out all the same.
    assert held == [None, presence.ME]
