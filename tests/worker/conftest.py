"""What a worker is given: its environment over the test's database, and somebody who asks for runs."""

from pathlib import Path

import pytest

from app.domain.words import LabelerKind, Role
from app.services.people import Viewer
from app.store import people
from tests.conftest import Work
from tests.support.servers import Servers


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch, database_url: str, servers: Servers, tmp_path: Path) -> Path:
    """The environment of a worker over this test's database; gives the artifact directory."""
    monkeypatch.setenv("HONE_DATABASE_URL", database_url)
    monkeypatch.setenv("HONE_BROKER_URL", servers.empty_broker())
    monkeypatch.setenv("HONE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HONE_BASE_MODEL", "tiny")
    return tmp_path / "artifacts"


@pytest.fixture
def admin(work: Work) -> Viewer:
    with work() as session:
        row = people.add_labeler(session, "grace", Role.ADMIN, LabelerKind.HUMAN)
        return Viewer(row.id, row.name, Role.ADMIN, LabelerKind.HUMAN)
