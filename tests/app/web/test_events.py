"""The stream of a round: news only, nothing lost over a reconnect, and an end with the session and with the server."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.domain.words import Role, Stage, Trouble
from app.services import people, rounds, runs, watching
from app.services.runs import Claim
from app.store import people as store
from app.web import events
from app.web.door import COOKIE
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories, pretended
from tests.support.servers import Servers

Event = dict[str, Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(events, "LOOK_EVERY", 0.01)


@pytest.fixture
def launched(work: Work) -> tuple[int, Claim]:
    """A round whose fine-tuning is running."""
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
    with work() as session:
        return number, pretended.take(session, number)


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Events of a stream; comments and pauses left out."""
    event: Event = {}
    for line in lines:
        if not line and event:
            yield event
            event = {}
        name, _, value = line.partition(": ")
        if name in ("event", "id", "data"):
            event[name] = json.loads(value) if name == "data" else value


@contextmanager
def stream(client: TestClient | httpx2.Client, path: str, last: str | None = None) -> Iterator[Iterator[Event]]:
    """The events behind a path."""
    headers = {"accept": "text/event-stream"} | ({} if last is None else {"last-event-id": last})
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response.iter_lines())


def steps(event: Event) -> set[tuple[str, int]]:
    """Which points an event brings."""
    assert event["event"] == "points"
    return {(name, step) for _, name, step, _ in event["data"]}


def test_who_may_not_look_gets_a_status_and_no_stream(
    launched: tuple[int, Claim], nobody: TestClient, labeler: TestClient, admin: TestClient
) -> None:
    path = f"/rounds/{launched[0]}/events"
    program = {"accept": "text/event-stream"}
    assert nobody.get(path, headers=program).status_code == 401
    assert labeler.get(path, headers=program).status_code == 403
    assert admin.get("/rounds/99/events", headers=program).status_code == 404
    assert admin.get("/rounds/99999999999999/events", headers=program).status_code == 422
    assert admin.get(f"{path}?after=-1", headers=program).status_code == 422


def test_a_round_that_is_over_tells_all_and_ends(
    work: Work, launched: tuple[int, Claim], researcher: TestClient
) -> None:
    number, claim = launched
    with work() as session:
        pretended.measure(session, claim, range(3))
    with work() as session:
        rounds.fail(session, claim, Trouble.LASTING, "The disk is full.", "")
    with stream(researcher, f"/rounds/{number}/events") as told:
        points, state, over = told
    assert len(points["data"]) == 9
    assert state["data"]["stages"][0]["state"] == "failed"
    assert over["event"] == "over"


@pytest.mark.usefixtures("quick")
def test_only_news_is_told(work: Work, launched: tuple[int, Claim], researcher: TestClient) -> None:
    number, claim = launched
    with stream(researcher, f"/rounds/{number}/events") as told:
        first = next(told)
        assert (first["event"], first["data"]["state"]) == ("round", "running")
        assert [stage["state"] for stage in first["data"]["stages"]][:2] == ["running", "pending"]
        with work() as session:
            pretended.report(session, claim, 3, 10, "step 3 of 10")
        second = next(told)
        assert second["event"] == "round", "looks without news in between say nothing"
        fine_tuning = second["data"]["stages"][0]
        assert (fine_tuning["done"], fine_tuning["total"], fine_tuning["words"]) == (3, 10, "step 3 of 10")
        with work() as session:
            pretended.measure(session, claim, range(2))
        assert steps(next(told)) == {(name, step) for name, step, _ in pretended.points(Stage.SFT, range(2))}
        with work() as session:
            pretended.measure(session, claim, range(2, 3))
        assert {step for _, step in steps(next(told))} == {2}, "points are told once"
        with work() as session:
            runs.measure(session, claim, [("sft/loss", 2, 7.0)])
        assert next(told)["data"] == [[claim.run_id, "sft/loss", 2, 7.0]], "a value that was written anew is told anew"
        with work() as session:
            runs.measure(session, claim, [("sft/loss", 3, float("nan"))])
        assert next(told)["data"] == [[claim.run_id, "sft/loss", 3, None]]


@pytest.mark.usefixtures("quick")
def test_a_reconnect_goes_on_without_loss(work: Work, launched: tuple[int, Claim], researcher: TestClient) -> None:
    number, claim = launched
    wanted = {(name, step) for name, step, _ in pretended.points(Stage.SFT, range(40))}
    seen: set[tuple[str, int]] = set()
    last: str | None = None
    for start in range(0, 40, 10):
        with work() as session:
            pretended.measure(session, claim, range(start, start + 5))
        with stream(researcher, f"/rounds/{number}/events", last) as told:
            for event in told:
                last = event.get("id", last)
                if event["event"] == "points":
                    seen |= steps(event)
                    break
        with work() as session:
            pretended.measure(session, claim, range(start + 5, start + 10))
    with work() as session:
        rounds.fail(session, claim, Trouble.LASTING, "The disk is full.", "")
    with stream(researcher, f"/rounds/{number}/events", last) as told:
        for event in told:
            seen |= steps(event) if event["event"] == "points" else set()
    assert seen == wanted


def test_the_cursor_of_the_page_and_that_of_the_reconnect_both_count(
    work: Work, launched: tuple[int, Claim], researcher: TestClient
) -> None:
    number, claim = launched
    with work() as session:
        pretended.measure(session, claim, range(3))
        rounds.fail(session, claim, Trouble.LASTING, "The disk is full.", "")
    later = watching.NOW
    for path, last, expected in (
        (f"/rounds/{number}/events?after={later}", None, 2),
        (f"/rounds/{number}/events?after={later}", "0", 3),
        (f"/rounds/{number}/events", str(later), 2),
        (f"/rounds/{number}/events", "9" * 40, 2),
        (f"/rounds/{number}/events", "not a cursor", 3),
    ):
        with stream(researcher, path, last) as told:
            assert len(list(told)) == expected, (path, last)


@pytest.mark.usefixtures("quick")
def test_a_point_whose_transaction_was_slow_is_not_lost(
    work: Work, launched: tuple[int, Claim], researcher: TestClient
) -> None:
    number, claim = launched
    with work() as slow:
        pretended.measure(slow, claim, range(1))
        with stream(researcher, f"/rounds/{number}/events") as told:
            first = next(told)
            assert first["event"] == "round"
            with work() as session:
                seen = watching.look(session, number, int(first["id"]))
                assert seen.points == [], "not committed yet"
            slow.commit()
            with work() as session:
                pretended.report(session, claim, 1, 10, "step 1 of 10")
            assert {step for _, step in steps(next(told))} == {0}


@pytest.mark.usefixtures("quick")
def test_the_stream_ends_with_the_session(work: Work, launched: tuple[int, Claim], researcher: TestClient) -> None:
    cookie = researcher.cookies[COOKIE]
    with stream(researcher, f"/rounds/{launched[0]}/events") as told:
        assert next(told)["event"] == "round"
        with work() as session:
            people.sign_out(session, cookie)
        assert [event["event"] for event in told] == ["signed-out"]


@pytest.mark.usefixtures("quick")
def test_the_stream_ends_when_the_account_is_closed(
    front: Front, work: Work, launched: tuple[int, Claim], researcher: TestClient
) -> None:
    with stream(researcher, f"/rounds/{launched[0]}/events") as told:
        assert next(told)["event"] == "round"
        with work() as session:
            row = store.labeler_by_name(session, "Rosa")
            assert row is not None
            people.deactivate(session, pretended.boss(session), row.id)
        assert [event["event"] for event in told] == ["signed-out"]


@pytest.mark.usefixtures("quick")
def test_the_stream_ends_with_the_round(work: Work, launched: tuple[int, Claim], researcher: TestClient) -> None:
    number, claim = launched
    with work() as session:
        boss = pretended.boss(session)
    with stream(researcher, f"/rounds/{number}/events") as told:
        next(told)
        with work() as session:
            rounds.cancel(session, boss, number)
        # A look that the cancel falls into the middle of may still say that the round runs; the next one knows.
        cancelling = next(event for event in told if event["data"]["state"] != "running")
        assert cancelling["data"]["state"] == "cancelling", "the worker is still on its way out"
        with work() as session:
            rounds.stopped(session, claim)
        rest = list(told)
    assert [event["event"] for event in rest] == ["round", "over"]
    assert rest[0]["data"]["state"] == "cancelled"


@contextmanager
def server(database_url: str, broker_url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real web process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"HONE_DATABASE_URL": database_url, "HONE_BROKER_URL": broker_url}
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:web", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as web:
        try:
            assert web.stdout is not None
            assert any("Uvicorn running" in line for line in web.stdout), "the server did not start"
            yield web, f"http://127.0.0.1:{port}"
        finally:
            if web.poll() is None:
                web.kill()


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_do_not_hold_the_server_up(
    asked: signal.Signals, work: Work, launched: tuple[int, Claim], database_url: str, servers: Servers
) -> None:
    with work() as session:
        token = people.make_api_token(session, factories.labeler(session, role=Role.RESEARCHER), "a test")
    path = f"/rounds/{launched[0]}/events"
    with (
        server(database_url, servers.broker_url) as (web, address),
        httpx2.Client(base_url=address, headers={"authorization": f"Bearer {token}"}) as client,
        stream(client, path) as one,
        stream(client, path) as other,
    ):
        assert next(one)["event"] == next(other)["event"] == "round"
        web.send_signal(asked)
        assert list(one) == list(other) == [], "the streams end, and not by being cut off"
        # Held up by a stream, it would never end.
        said, _ = web.communicate(timeout=60)
    assert "Application shutdown complete" in said
    assert not [line for line in said.splitlines() if "ERROR" in line or "Traceback" in line or "Cancel" in line], said
