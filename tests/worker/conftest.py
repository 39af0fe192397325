"""What a worker is given: its environment over the test's database, and somebody who asks for runs."""

import json
from pathlib import Path

import pytest

from app import samples
from app.domain.words import LabelerKind, Role
from app.services import imports
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
def material(artifacts: Path, work: Work) -> None:
    """Documents, and some answers from before."""
    with samples.path().open("rb") as source:
        for chunk in imports.chunks(source, imports.DOCUMENTS, imports.Report(), stop=True):
            with work() as session:
                imports.DOCUMENTS.add(session, chunk, imports.Report(), None)
    records = [
        {
            "info": {"id": f"t3_{number}", "post": f"It sleeps {number} times.", "title": "A cat", "subreddit": "cats"},
            "split": "train" if number % 3 else "valid1",
            "summaries": [{"text": f" Cat sleeps {number}.", "policy": "sup1"}, {"text": " Dog.", "policy": "sup2"}],
            "choice": number % 2,
            "worker": "w1",
            "batch": "before",
        }
        for number in range(12)
    ]
    read = [imports.COMPARISONS.read(line, json.dumps(record)) for line, record in enumerate(records, start=1)]
    with work() as session:
        imports.COMPARISONS.add(session, read, imports.Report(), None)


@pytest.fixture
def admin(work: Work) -> Viewer:
    with work() as session:
        row = people.add_labeler(session, "grace", Role.ADMIN, LabelerKind.HUMAN)
        return Viewer(row.id, row.name, Role.ADMIN, LabelerKind.HUMAN)
