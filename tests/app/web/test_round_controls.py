"""Pause, go on, run again, and what a round says while it tries again or waits for a worker: buttons, words, JSON."""

import json
from datetime import timedelta

from sqlalchemy import func, update
from starlette.testclient import TestClient

from app.domain.words import Queue, RunState, Stage, Trouble
from app.services import rounds, runs, workers
from app.store.tables import Run, Worker
from tests.app.web.conftest import Front
from tests.app.web.test_events import stream
from tests.app.web.test_rounds import launch, text_of, to_the_end
from tests.conftest import Work
from tests.support import factories, pretended

FULL = "The disk is full. Make room & <b>look</b>."


def _post(browser: TestClient, path: str, **form: object) -> str:
    """What the page says after the button."""
    answer = browser.post(path, data=form)
    assert answer.status_code == 303, answer.text
    return text_of(browser.get(answer.headers["location"]).text)


def test_a_round_is_paused_and_goes_on(work: Work, admin: TestClient) -> None:
    number = launch(work)
    with work() as session:
        claim = pretended.take(session, number)
        pretended.report(session, claim, 40, 100, "Step 40 of 100.")
    assert 'action="/rounds/1/pause" data-confirm="Pause round 1?' in admin.get("/rounds/1").text
    said = _post(admin, "/rounds/1/pause")
    assert "Round 1 is paused. Labelers are still asked." in said
    assert "This round stands still. Paused by admin." in said
    assert "being paused" in said
    with work() as session:
        rounds.stopped(session, claim)
    html = admin.get("/rounds/1").text
    assert 'id="head" data-part data-state="paused"' in html
    assert 'aria-valuetext="40 of 100"' in html
    assert "Step 40 of 100." in html
    assert "/rounds/1/pause" not in html and "/rounds/1/cancel" in html
    assert "paused" in text_of(admin.get("/rounds").text)
    assert "is paused already" in _post(admin, "/rounds/1/pause")
    assert "Round 1 goes on." in _post(admin, "/rounds/1/resume")
    assert "is not paused" in _post(admin, "/rounds/1/resume")
    with work() as session:
        assert rounds.view(session, number).runs[0].state is RunState.QUEUED


def test_researchers_see_a_pause_and_no_buttons(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    with work() as session:
        rounds.pause(session, None, number, "The policy drifts too far: 31 nats.")
    html = researcher.get("/rounds/1").text
    assert "The policy drifts too far: 31 nats." in html
    for button in ("pause", "resume", "again", "cancel"):
        assert f"/rounds/1/{button}" not in html
        assert researcher.post(f"/rounds/1/{button}", data={"position": "1"}).status_code == 403


def test_the_next_attempt_is_told_with_its_reason_and_its_traceback(work: Work, admin: TestClient) -> None:
    number = launch(work)
    with work() as session:
        rounds.fail(session, pretended.take(session, number), Trouble.PASSING, FULL, "Traceback: <i>here</i>")
        now = func.now()
        session.execute(update(Run).where(Run.due_at.is_not(None)).values(due_at=now + timedelta(seconds=120)))
    html = admin.get("/rounds/1").text
    told = (
        "Tries again in 2 minutes (attempt 2 of 5), because the one before failed: The disk is full. Make room &amp; "
    )
    assert told + "&lt;b&gt;look&lt;/b&gt;." in html
    assert "Traceback: &lt;i&gt;here&lt;/i&gt;" in html
    assert "tries again" in text_of(html)
    assert 'class="notice bad"' not in html, "nothing has failed for good"
    listed = admin.get("/api/rounds/1").json()["runs"][0]
    assert (listed["state"], listed["attempt"], listed["trouble"]) == ("queued", 2, "passing")
    with work() as session:
        session.execute(update(Run).where(Run.due_at.is_not(None)).values(due_at=func.now() - timedelta(seconds=1)))
    with work() as session:
        rounds.fail(session, pretended.take(session, number), Trouble.LASTING, "The recipe cannot be run.", "t")
    said = text_of(admin.get("/rounds/1").text)
    assert "Fine-tuning failed. The recipe cannot be run." in said
    assert "It was not tried again, because the same would happen." in said


def test_a_run_outside_of_rounds_says_the_same_on_its_own_page(work: Work, researcher: TestClient) -> None:
    with work() as session:
        asked = {"form": "documents", "path": "uploads/x", "name": "x.jsonl", "stop": False}
        run_id = runs.ask(session, None, Stage.IMPORT, asked).id
        claim = runs.claim(session, run_id, "cpu-1", 1, pretended.LEASE)
        assert claim is not None
        rounds.fail(session, claim, Trouble.PASSING, "The disk is full.", "trace")
    html = researcher.get(f"/documents/imports/{run_id}").text
    assert "(attempt 2 of 5), because the one before failed: The disk is full." in html


def test_a_finished_round_runs_again_from_a_stage(work: Work, admin: TestClient) -> None:
    number = launch(work)
    assert "Run again from a stage" not in admin.get("/rounds/1").text
    to_the_end(work, number)
    html = admin.get("/rounds/1").text
    assert html.count("/rounds/1/again") == 7 and '<button class="quiet">From PPO</button>' in html
    assert "Run round 1 again from PPO?" in html
    assert 'id="earlier" class="stack" data-part hidden>' in html
    assert admin.post("/rounds/1/again", data={}).status_code == 404
    said = _post(admin, "/rounds/1/again", position=5)
    assert "Round 1 runs again. What it made before stays." in said
    assert "waits for a worker" in said
    html = admin.get("/rounds/1").text
    assert 'id="earlier" class="stack" data-part>' in html
    assert "is still going on" in _post(admin, "/rounds/1/again", position=5)


def test_a_failed_round_runs_again_from_where_it_failed_at_the_latest(work: Work, admin: TestClient) -> None:
    number = launch(work)
    with work() as session:
        pretended.carry_out(session, number, Stage.SFT)
    with work() as session:
        rounds.fail(session, pretended.take(session, number), Trouble.LASTING, "Broken.", "here it broke")
    assert admin.get("/rounds/1").text.count("/rounds/1/again") == 2
    assert "stage before this one is not done" in _post(admin, "/rounds/1/again", position=4)
    _post(admin, "/rounds/1/again", position=2)
    earlier = text_of(admin.get("/rounds/1").text).partition("Earlier tries")[2]
    assert "Broken." in earlier and "here it broke" in earlier


def test_programs_pause_resume_and_run_again(front: Front, work: Work, admin: TestClient) -> None:
    launch(work)
    program = front.program(admin)
    assert program.post("/api/rounds/1/pause").json()["pause_words"] == "Paused by admin."
    assert program.post("/api/rounds/1/pause").status_code == 409
    assert program.post("/api/rounds/1/resume").json()["paused_at"] is None
    assert program.post("/api/rounds/1/again", json={"position": 1}).status_code == 409
    program.post("/api/rounds/1/cancel")
    told = program.post("/api/rounds/1/again", json={"position": 1}).json()
    assert (told["state"], told["runs"][0]["state"]) == ("active", "queued")


# Workers


def test_a_run_that_no_worker_can_take_is_told_where_people_look(work: Work, admin: TestClient) -> None:
    number = launch(work)
    with work() as session:
        factories.worker_row(session, "cpu-1", Queue.CPU)
    for path in ("/rounds/1", "/overview", "/workers"):
        said = text_of(admin.get(path).text)
        assert (
            "A run waits in the queue gpu, and no worker that takes from it is alive. None was ever heard of." in said
        )
    with stream(admin, f"/rounds/{number}/events") as told:
        assert next(event for event in told if event["event"] == "round")["data"]["missing"] == ["gpu"]
    with work() as session:
        factories.worker_row(session, "gpu-1", Queue.GPU)
    for path in ("/rounds/1", "/overview", "/workers"):
        assert "No worker." not in admin.get(path).text, path
    with work() as session:
        session.execute(update(Worker).values(heartbeat_at=func.now() - timedelta(minutes=5)))
    assert "The last one was heard of 5 minutes ago." in text_of(admin.get("/rounds/1").text)
    # People's part needs no worker, and neither does a round that stands still.
    with work() as session:
        rounds.pause(session, None, number, "For a test.")
    assert "No worker." not in admin.get("/rounds/1").text


def test_the_workers_page_says_what_each_has_and_does(work: Work, admin: TestClient, researcher: TestClient) -> None:
    assert "No worker was heard of today" in admin.get("/workers").text
    number = launch(work)
    with work() as session:
        busy, idle = factories.worker_row(session, "gpu-1"), factories.worker_row(session, "cpu-1", Queue.CPU)
        idle.device = idle.memory = idle.torch = None
        gone, left = factories.worker_row(session, "old-1"), factories.worker_row(session, "old-2")
        gone.heartbeat_at = func.now() - timedelta(minutes=3)
        session.flush()
        workers.leave(session, left.id)
        claim = pretended.take(session, number, busy.id)
        pretended.report(session, claim, 4, 10, "Step 4 of 10.")
    said = text_of(admin.get("/workers").text)
    for words in (
        "gpu-1 process",
        "Fine-tuning of round 1 since",
        "4 of 10: Step 4 of 10.",
        "NVIDIA H100 80GB HBM3 85.0 GB",
        "PyTorch 2.13.0 (CUDA 12.9)",
        "cpu; 2 at a time",
        "heard of 3 minutes ago",
    ):
        assert words in said, words
    assert (said.count(" alive "), said.count(" silent "), said.count(" stopped ")) == (2, 1, 1)
    assert said.index("gpu-1") < said.index("old-1"), "those that are alive come first"
    assert researcher.get("/workers").status_code == 403
    assert 'href="/workers"' in admin.get("/overview").text and "/workers" not in researcher.get("/overview").text


def test_what_a_worker_says_is_kept_and_kept_fresh(work: Work) -> None:
    with work() as session:
        row = factories.worker_row(session, "gpu-1")
        told = workers.Present(row.id, "gpu-1", row.process, ["gpu"], 1, "0.2", "3.12.1", None)
        session.execute(update(Worker).values(heartbeat_at=func.now() - timedelta(hours=1)))
        workers.beat(session, told)
        session.refresh(row)
        assert (row.queues, row.at_once, row.code, row.python) == (["gpu"], 1, "0.2", "3.12.1")
        assert row.device == "NVIDIA H100 80GB HBM3", "what was asked once stays"
        assert workers.views(session)[0].alive
        assert workers.largest_memory(session) == 85_000_000_000
        device = workers.Device("cpu", 16_000_000_000, "2.13.0 (without CUDA)", "5.17.0")
        workers.beat(session, workers.Present(row.id, "gpu-1", row.process, ["gpu"], 1, "0.2", "3.12.1", device))
        session.refresh(row)
        assert json.loads(json.dumps([row.device, row.memory, row.torch])) == [
            "cpu",
            16_000_000_000,
            "2.13.0 (without CUDA)",
        ]
