"""Exports are asked for, followed and downloaded; nothing outside the artifacts is ever sent."""

import re
from pathlib import Path

from starlette.testclient import TestClient

from app.domain.words import RunState, Stage
from app.jobs import Job, run_job
from app.settings import Settings
from app.store import runs
from app.store.tables import Export, Run
from tests.conftest import Work
from tests.support import factories

EVIL = "<script>alert(1)</script>"


def written(work: Work, path: str, run_id: int | None = None) -> int:
    """An export whose file is said to lie at `path`."""
    with work() as session:
        run = session.get_one(Run, run_id) if run_id else factories.own_run(session)
        run.payload = run.payload or {"splits": ["train"], "with_ties": False, "with_simulated": False}
        row = Export(project_id=run.project_id, run_id=run.id, path=path, digest="ab" * 32, rows=1234, bytes=5_600_000)
        runs.add_export(session, row)
        runs.end(session, run, RunState.SUCCEEDED, words="1234 preferences written.")
        return row.id


def test_an_export_is_asked_for_and_downloaded(
    researcher: TestClient, settings: Settings, work: Work, sent: list[Job]
) -> None:
    assert "No exports yet" in researcher.get("/exports").text
    asked = researcher.post("/exports", data={"splits": ["train", "test"], "ties": "yes"})
    assert asked.headers["location"] == "/exports"
    (job,) = sent
    assert job.run_id is not None
    assert job == run_job(Stage.EXPORT, job.run_id)
    with work() as session:
        payload = session.get_one(Run, job.run_id).payload
    assert payload == {"splits": ["train", "test"], "with_ties": True, "with_simulated": False, "up_to": 0}
    page = researcher.get("/exports").text
    for words in ("train, test, with ties", "by Rosa", "Waiting for a worker.", 'data-live="on"', "queued"):
        assert words in page, words

    file = settings.artifacts / "exports" / "1" / "preferences.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('{"info": "naïve"}\n')
    export = written(work, "exports/1/preferences.jsonl", job.run_id)
    page = researcher.get("/exports").text
    for words in ("1,234", "5.6 MB", "ab" * 32, f"/exports/{export}/preferences.jsonl"):
        assert words in page, words
    assert 'data-live="on"' not in page
    got = researcher.get(f"/exports/{export}/preferences.jsonl")
    assert (got.status_code, got.text) == (200, '{"info": "naïve"}\n')
    assert got.headers["content-disposition"] == f'attachment; filename="hone-preferences-{export}.jsonl"'
    assert got.headers["content-type"] == "application/jsonl"
    assert got.headers["cache-control"] == "no-store"


def test_an_export_of_nothing_is_refused_and_keeps_what_was_chosen(researcher: TestClient, sent: list[Job]) -> None:
    for splits in ([], ["nonsense", EVIL]):
        answer = researcher.post("/exports", data={"splits": splits, "simulated": "yes"})
        assert (answer.status_code, "Choose at least one." in answer.text) == (422, True)
        assert re.search(r'name="simulated" type="checkbox" value="yes" checked', answer.text)
        assert not re.search(r'name="splits"[^>]* checked', answer.text)
    assert sent == []


def test_files_outside_the_artifacts_are_never_sent(
    researcher: TestClient, settings: Settings, work: Work, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    settings.artifacts.mkdir(parents=True)
    (settings.artifacts / "link").symlink_to(secret)
    (settings.artifacts / "folder").mkdir()
    for path in ("../secret.txt", str(secret), "link", "x/../../secret.txt", "folder", "", "gone/preferences.jsonl"):
        answer = researcher.get(f"/exports/{written(work, path)}/preferences.jsonl")
        assert (answer.status_code, "is gone" in answer.text) == (404, True), path
        assert "the secret" not in answer.text
    for path in ("/exports/999/preferences.jsonl", "/exports/../preferences.jsonl", "/exports/0/preferences.jsonl"):
        assert researcher.get(path).status_code in (404, 422), path


def test_an_export_can_be_cancelled_or_fail(researcher: TestClient, work: Work, sent: list[Job]) -> None:
    researcher.post("/exports", data={"splits": ["train"], "simulated": "yes"})
    run_id = sent[0].run_id
    researcher.post(f"/exports/runs/{run_id}/cancel")
    page = researcher.get("/exports").text
    assert ("Cancelled before it began." in page, "with simulated" in page) == (True, True)
    with work() as session:
        run = session.get_one(Run, run_id)
        runs.end(session, run, RunState.FAILED, words="Failed.", problem=f"The disk is full. {EVIL}")
        other = factories.own_run(session, Stage.IMPORT).id
    page = researcher.get("/exports").text
    assert ("The disk is full." in page, EVIL in page) == (True, False)
    assert researcher.post(f"/exports/runs/{other}/cancel").status_code == 404
