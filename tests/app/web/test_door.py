"""Commit before the answer goes out, one hop per connection."""

import asyncio

import httpx2
from anyio import to_thread
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.domain.words import LabelerKind, Role, Stage
from app.jobs import Job
from app.main import create_app
from app.services import runs
from app.settings import Settings
from app.store import people
from app.store.session import DatabaseUnreachable, Sessions
from app.store.tables import Labeler
from app.web.door import COOKIE, DoorDep
from tests.conftest import Work
from tests.support import factories


def test_a_commit_that_fails_is_a_500_and_rings_nobody(
    settings: Settings, sessions: Sessions, sent: list[Job], labeler: TestClient, work: Work
) -> None:
    app = create_app(settings, sessions, sent.append)

    @app.post("/api/broken")
    def broken(door: DoorDep) -> str:
        with door.enter() as desk:
            runs.ask(desk.session, desk.viewer, Stage.EXPORT, {})
            # Not flushed: only the commit finds out that the name is taken.
            desk.session.add(Labeler(name="ADA", role=Role.LABELER, kind=LabelerKind.HUMAN))
        return "saved"

    with TestClient(app, raise_server_exceptions=False, cookies={COOKIE: labeler.cookies[COOKIE]}) as client:
        got = client.post("/api/broken")
    assert got.status_code == 500
    assert got.json()["error"].startswith("Hone ran into an error of its own; nothing of this request was saved.")
    assert sent == []
    with work() as session:
        assert people.labelers_by_name(session, ["ADA"]) == {}
        assert runs.ring(session) == 0, "the row that asked for the job is gone too"


def test_a_database_that_is_too_busy_just_now_is_a_503_to_programs_and_people(
    settings: Settings, sessions: Sessions
) -> None:
    app = create_app(settings, sessions, print)

    @app.get("/api/busy")
    @app.get("/busy")
    def busy() -> None:
        raise DatabaseUnreachable("canceling statement due to lock timeout")

    with TestClient(app, raise_server_exceptions=False) as client:
        told, page = client.get("/api/busy"), client.get("/busy", headers={"accept": "text/html"})
    assert {each.status_code for each in (told, page)} == {503}
    assert all(int(each.headers["retry-after"]) > 0 for each in (told, page))
    assert "does no harm" in told.json()["what_to_do"]
    assert "Try again in a few seconds" in page.text
    assert "lock timeout" not in told.text + page.text


def test_jobs_leave_after_the_commit(
    settings: Settings, sessions: Sessions, work: Work, researcher: TestClient
) -> None:
    seen: list[bool] = []

    def send(job: Job) -> None:
        with sessions() as session:
            assert job.run_id is not None
            seen.append(runs.the_run(session, job.run_id).id == job.run_id)

    with TestClient(create_app(settings, sessions, send), cookies={COOKIE: researcher.cookies[COOKIE]}) as client:
        client.post("/exports", data={"splits": ["train"]}, follow_redirects=False)
    assert seen == [True]


def test_200_requests_at_once_on_a_pool_of_5(
    app: FastAPI, settings: Settings, sessions: Sessions, labeler: TestClient, researcher: TestClient, work: Work
) -> None:
    assert sessions.kw["bind"].pool.size() == 5
    with work() as session:
        factories.pairs(session, 20)

    async def all_at_once() -> list[int]:
        door = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with (
            httpx2.AsyncClient(transport=door, base_url=settings.address, cookies=dict(labeler.cookies)) as judge,
            httpx2.AsyncClient(transport=door, base_url=settings.address, cookies=dict(researcher.cookies)) as staff,
        ):
            asked = [
                each
                for _ in range(40)
                for each in (
                    judge.post("/api/leases", json={"ahead": 1}),
                    judge.get("/account"),
                    staff.get("/documents"),
                    staff.get("/exports"),
                    judge.get("/documents"),
                )
            ]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    got = asyncio.run(all_at_once())
    assert (len(got), got.count(200), got.count(403)) == (200, 160, 40)


def test_a_request_gets_a_thread_only_when_there_is_a_connection_for_it(settings: Settings, sessions: Sessions) -> None:
    app = create_app(settings.model_copy(update={"database_pool": 3}), sessions, print)

    @app.get("/threads")
    async def threads() -> float:
        return to_thread.current_default_thread_limiter().total_tokens

    with TestClient(app) as client:
        assert client.get("/threads").json() == 3


def test_a_page_that_fails_gives_its_connection_back(sessions: Sessions, researcher: TestClient) -> None:
    for _ in range(12):
        assert researcher.get("/documents/999999").status_code == 404
    assert sessions.kw["bind"].pool.checkedout() == 0


def test_a_page_of_somebody_else_is_signed_out(labeler: TestClient) -> None:
    """What one person's page still holds does not go out under the name of whoever signed in after them."""
    for owner, status in (("Ada", 200), ("Z%C3%B6e", 401)):
        got = labeler.post("/api/leases", json={}, headers={"X-Hone-Viewer": owner})
        assert got.status_code == status
    assert got.json() == {"error": "Ada is signed in here now.", "what_to_do": "Sign in again as Zöe."}
