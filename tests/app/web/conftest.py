"""The application through its front door: a browser per role, signed in by a real one-time link.

Knows how people come in. Knows nothing of any page.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.domain.words import LabelerKind, Role
from app.jobs import Job
from app.main import create_app
from app.services import people
from app.services.people import Viewer
from app.settings import Settings
from app.store import people as store
from app.store.session import Sessions, connect
from tests.conftest import Work
from tests.support import factories
from tests.support.servers import Servers

PASSWORD = "four unrelated words here"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a small install with files of its own."""
    return Settings(
        data_dir=tmp_path, artifacts_dir=None, public_url=None, cookie_secure=False, port=8700, upload_megabytes=1
    )


@pytest.fixture(scope="session")
def built(servers: Servers) -> FastAPI:
    """The web process, put together once: it takes longer than most tests."""
    return create_app(Settings(port=8700, upload_megabytes=1), connect(servers.database_url("postgres")), print)


@pytest.fixture
def app(built: FastAPI, settings: Settings, sessions: Sessions, sent: list[Job]) -> FastAPI:
    """The web process over this test's files and database; jobs land in `sent`."""
    built.state.settings, built.state.sessions, built.state.send = settings, sessions, sent.append
    return built


class Front:
    """Lets browsers and programs in. `address` is where they think they are."""

    def __init__(self, app: FastAPI, work: Work, address: str) -> None:
        self.app, self.work, self.address = app, work, address
        self._open = ExitStack()

    def browser(self) -> TestClient:
        """A browser in which nobody is signed in: it says where its requests come from and asks for pages."""
        client = TestClient(
            self.app,
            self.address,
            raise_server_exceptions=False,
            follow_redirects=False,
            headers={"accept": "text/html", "sec-fetch-site": "same-origin", "user-agent": "Test/1"},
        )
        self._open.callback(client.close)
        return client

    def link(self, name: str, role: Role, kind: LabelerKind = LabelerKind.HUMAN) -> str:
        """The path of a one-time link: the first admin's for `admin`, an invitation by them for everybody else."""
        with self.work() as session:
            first = people.first_admin_link(session)
            if name == "admin":
                return f"/link/{first}"
            row = store.labeler_by_name(session, "admin")
            assert row is not None
            actor = Viewer(row.id, row.name, Role.ADMIN, LabelerKind.HUMAN)
            return f"/link/{people.invite(session, actor, name, role, kind)[1]}"

    def signed_in(
        self, name: str, role: Role, kind: LabelerKind = LabelerKind.HUMAN, *, reads: bool = True
    ) -> TestClient:
        """A browser in which a new account is signed in; a labeler has read the guidelines, unless told not to."""
        client = self.browser()
        answer = client.post(self.link(name, role, kind), data={"password": PASSWORD})
        assert answer.status_code == 303, answer.text
        if reads and role is Role.LABELER:
            with self.work() as session:
                row = store.labeler_by_name(session, name)
                assert row is not None
                factories.has_read(session, row.id)
        return client

    def program(self, browser: TestClient) -> TestClient:
        """A program with an API token of the account in this browser."""
        token = browser.post("/api/tokens", json={"name": "a program"}).json()["token"]
        client = TestClient(
            self.app,
            self.address,
            raise_server_exceptions=False,
            follow_redirects=False,
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
        )
        self._open.callback(client.close)
        return client

    def close(self) -> None:
        """Close every browser."""
        self._open.close()


@pytest.fixture
def front(app: FastAPI, work: Work, settings: Settings) -> Iterator[Front]:
    """The front door."""
    assert urlsplit(settings.address).hostname == "127.0.0.1"
    door = Front(app, work, settings.address)
    yield door
    door.close()


@pytest.fixture
def nobody(front: Front) -> TestClient:
    """A browser in which nobody is signed in."""
    return front.browser()


@pytest.fixture
def admin(front: Front) -> TestClient:
    """The first admin's browser."""
    return front.signed_in("admin", Role.ADMIN)


@pytest.fixture
def researcher(front: Front) -> TestClient:
    """A researcher's browser."""
    return front.signed_in("Rosa", Role.RESEARCHER)


@pytest.fixture
def labeler(front: Front) -> TestClient:
    """A labeler's browser."""
    return front.signed_in("Ada", Role.LABELER)
