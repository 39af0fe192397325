"""Documents are found and read; files are taken in safely and handed to a worker."""

import gzip
import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.domain.words import RunState, Split, Stage
from app.jobs import Job, run_job
from app.settings import Settings
from app.store import runs
from app.store.tables import Run
from app.web import uploads
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
LINE = json.dumps({"id": "t3_1", "subreddit": "cats", "title": "A cat", "post": "It slept.", "summary": "Cat slept."})


def send(
    client: TestClient, data: bytes = LINE.encode(), name: str = "posts.jsonl", form: str = "documents", **more: str
) -> tuple[int, str, str]:
    """Send a file: status, text, and where it leads."""
    answer = client.post("/documents/import", data={"form": form, **more}, files={"file": (name, data)})
    return answer.status_code, answer.text, answer.headers.get("location", "")


def kept(settings: Settings) -> list[Path]:
    """What lies in the uploads folder."""
    return sorted((settings.artifacts / uploads.FOLDER).glob("**/*"))


def asked(work: Work, run_id: int) -> Run:
    with work() as session:
        found = runs.run(session, run_id)
        assert found is not None
        return found


def test_an_empty_install_says_what_to_do(researcher: TestClient) -> None:
    page = researcher.get("/documents")
    assert (page.status_code, "No documents yet" in page.text, "/documents/import" in page.text) == (200, True, True)


def test_documents_are_found_by_words_and_split(researcher: TestClient, work: Work) -> None:
    with work() as session:
        factories.documents(session, [f"train-{n}" for n in range(60)])
        factories.documents(session, ["held-out", "100%_sure"], Split.VALIDATION)
    first = researcher.get("/documents").text
    assert "1 to 50 of 62" in first
    assert "/documents?from=50" in first
    second = researcher.get("/documents?from=50").text
    assert ("51 to 62 of 62" in second, 'rel="prev"' in second, 'rel="next"' in second) == (True, True, False)
    held = researcher.get("/documents", params={"split": "validation"}).text
    assert ("1 to 2 of 2" in held, "train-1" in held) == (True, False)
    assert "1 to 1 of 1" in researcher.get("/documents", params={"words": "0%_S"}).text, "signs of LIKE mean themselves"
    both = researcher.get("/documents", params={"words": "Title of train", "split": "train"}).text
    assert "/documents?words=Title+of+train&amp;split=train&amp;from=50" in both
    assert "Nothing found" in researcher.get("/documents", params={"words": "dog"}).text
    for odd in ({"words": "a\0b"}, {"split": "nonsense"}, {"from": "9999"}):
        assert researcher.get("/documents", params=odd).status_code == 200, odd
    assert researcher.get("/documents?from=-1").status_code == 422
    assert researcher.get("/documents/99999999999999999999").status_code == 422
    assert researcher.get("/documents/999").status_code == 404


def test_a_document_is_shown_with_everything_written_about_it(researcher: TestClient, work: Work) -> None:
    with work() as session:
        document = factories.document(session, EVIL)
        document.title, document.post, document.community = EVIL, f"{EVIL}\n\nSecond paragraph.", EVIL
        document.info = {"site": EVIL}
        factories.summary(session, document.id, f" Summary {EVIL}", "ref")
        factories.summary(session, document.id, " Another.", f"policy {EVIL}")
        bare = factories.document(session, "bare")
    page = researcher.get(f"/documents/{document.id}")
    listed = researcher.get("/documents", params={"words": EVIL})
    for text in (page.text, listed.text):
        assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in text
        assert "<script>alert" not in text
        assert "<img" not in text
    assert page.text.count("<article") == 3
    assert "Nothing yet" in researcher.get(f"/documents/{bare.id}").text


def test_a_file_is_kept_under_a_name_of_our_own_and_a_worker_is_rung(
    researcher: TestClient, settings: Settings, work: Work, sent: list[Job]
) -> None:
    status, _, where = send(researcher, name="../../../etc/passwd.jsonl", stop="yes")
    run_id = int(where.rsplit("/", 1)[1])
    assert (status, where) == (303, f"/documents/imports/{run_id}")
    run = asked(work, run_id)
    assert (run.stage, run.state) == (Stage.IMPORT, RunState.QUEUED)
    path = run.payload.pop("path")
    assert run.payload == {"form": "documents", "name": "passwd.jsonl", "stop": True}
    assert [settings.artifacts / path] == kept(settings)
    assert (settings.artifacts / path).read_text() == LINE
    assert sent == [run_job(Stage.IMPORT, run_id)]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("posts.jsonl", "posts.jsonl"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", ".."),
        ("a/", "a"),
        ("", "file"),
        (None, "file"),
        ("a\0b\nc\u202e.jsonl", "abc.jsonl"),
        (EVIL, "script><img src=x onerror=alert(1)>"),
        ("x" * 500, "x" * uploads.LONGEST_NAME),
    ],
)
def test_a_file_name_is_only_ever_shown(given: str | None, shown: str) -> None:
    assert uploads.shown_name(given) == shown


def test_odd_names_reach_no_path_and_no_markup(researcher: TestClient, settings: Settings) -> None:
    for name in ("../up.jsonl", "..", "/abs.jsonl", "nul\0.jsonl", f"{EVIL}.jsonl", "naïve 猫.jsonl"):
        status, _, where = send(researcher, name=name)
        assert status == 303, name
        assert "<img" not in researcher.get(where).text
    assert "<img" not in researcher.get("/documents/import").text
    names = [path.relative_to(settings.artifacts / uploads.FOLDER).as_posix() for path in kept(settings)]
    assert len(names) == 6
    assert all(len(name) == 38 and name.endswith(".jsonl") and name[:32].isalnum() for name in names)
    assert not (settings.artifacts / "up.jsonl").exists()


def test_a_refused_upload_keeps_what_was_chosen_and_nothing_else(
    researcher: TestClient, settings: Settings, sent: list[Job]
) -> None:
    for answer, words in (
        (send(researcher, name="", form="comparisons", stop="yes"), "There is no file."),
        (send(researcher, data=b"", form="comparisons", stop="yes"), "is empty"),
    ):
        assert (answer[0], words in answer[1]) == (422, True)
        assert 'value="comparisons" checked' in answer[1]
        assert 'value="yes" checked' in answer[1]
    status, text, _ = send(researcher, form="secrets")
    assert (status, "Say what the file holds." in text) == (422, True)
    plain = researcher.post("/documents/import", data={"form": "documents", "file": "not a file"})
    assert (plain.status_code, "There is no file." in plain.text) == (422, True)
    broken = researcher.post(
        "/documents/import", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code in (400, 422)
    two = researcher.post(
        "/documents/import", data={"form": "documents"}, files=[("file", ("a", b"1")), ("file", ("b", b"2"))]
    )
    assert two.status_code == 400
    assert (kept(settings), sent) == ([], [])


def test_a_file_over_the_limit_is_refused_before_it_is_read(
    researcher: TestClient, settings: Settings, sent: list[Job]
) -> None:
    status, text, _ = send(researcher, data=b"x" * 1_100_000)
    assert (status, "larger than 1 MB" in text, "hone import" in text) == (413, True, True)
    assert "<!doctype html>" in text
    assert (kept(settings), sent) == ([], [])
    unknown = researcher.post("/documents/import", content=iter([b"x"]), headers={"content-type": "text/plain"})
    assert unknown.status_code == 411


def test_who_may_not_import_is_refused_before_the_file_is_parsed(
    labeler: TestClient, nobody: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(uploads, "form_of")
    assert send(labeler)[0] == 403
    assert send(nobody)[0] == 401


def test_a_file_nobody_could_ask_for_is_removed(
    researcher: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.documents.ask_import", lambda *args, **more: 1 / 0)
    assert send(researcher)[0] == 500
    assert kept(settings) == []


def test_a_full_disk_is_said_in_words(researcher: TestClient, settings: Settings, sent: list[Job]) -> None:
    settings.artifacts.mkdir(parents=True)
    (settings.artifacts / uploads.FOLDER).write_text("in the way")
    status, text, _ = send(researcher)
    assert (status, "could not be kept" in text, sent) == (422, True, [])


def test_programs_import_and_follow_the_run(front: Front, researcher: TestClient, work: Work) -> None:
    program = front.program(researcher)
    packed = gzip.compress(LINE.encode())
    answer = program.post("/documents/import", data={"form": "documents"}, files={"file": ("posts.jsonl.gz", packed)})
    assert (answer.status_code, answer.json().keys()) == (200, {"run"})
    run_id = answer.json()["run"]
    told = program.get(f"/api/runs/{run_id}")
    assert told.json() == {
        "id": run_id,
        "stage": "import",
        "state": "queued",
        "words": "",
        "done": 0,
        "total": 0,
        "attempt": 1,
        "due_at": None,
        "trouble": None,
        "problem": None,
        "result": {},
        "conditions": {},
        "seconds": None,
    }
    bad = program.post("/documents/import", data={"form": "nonsense"}, files={"file": ("a", b"1")})
    assert (bad.status_code, bad.json()["error"]) == (422, "Say what the file holds.")
    assert program.get("/api/runs/999999").status_code == 404
    assert program.get("/api/runs/99999999999999999999").status_code == 422


def test_an_import_is_shown_in_every_state(researcher: TestClient, work: Work) -> None:
    _, _, where = send(researcher, name="posts.jsonl")
    run_id = int(where.rsplit("/", 1)[1])
    waiting = researcher.get(where).text
    assert ("Waiting for a worker." in waiting, 'data-live="on"' in waiting) == (True, True)
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in waiting
    assert f"{where}/cancel" in waiting
    assert where in researcher.get("/documents/import").text

    with work() as session:
        run = session.get_one(Run, run_id)
        runs.claim(session, run_id, "host:1", None, factories.LEASE, 5)
        run.done, run.total, run.words = 500, 1000, "500 lines read."
    going = researcher.get(where).text
    assert ('max="1000" value="500"' in going, "500 lines read." in going) == (True, True)

    assert researcher.post(f"{where}/cancel").headers["location"] == where
    stopping = researcher.get(where).text
    assert ("cancelling" in stopping, f"{where}/cancel" in stopping) == (True, False)

    with work() as session:
        run = session.get_one(Run, run_id)
        report = {
            "read": 12345,
            "added": 12000,
            "already": 200,
            "bad": 100,
            "clashes": 45,
            "splits": {"train": 11000, "validation": 1000},
            "problems": [f"line {n}, post: missing {EVIL}" for n in range(50)],
        }
        runs.end(session, run, RunState.SUCCEEDED, words="Done.", result=report)
    over = researcher.get(where).text
    for words in ("12,345", "11,000 train, 1,000 validation", "line 49, post: missing", "And 95 more like these"):
        assert words in over, words
    assert ('data-live="on"' in over, "http-equiv" in over, "<img" in over) == (False, False, False)

    with work() as session:
        run = session.get_one(Run, run_id)
        runs.end(session, run, RunState.FAILED, words="Failed.", problem=f"The file is broken. {EVIL}")
    failed = researcher.get(where).text
    assert ("The file is broken." in failed, "<img" in failed) == (True, False)


def test_only_imports_are_under_imports(researcher: TestClient, work: Work) -> None:
    with work() as session:
        other = factories.own_run(session, Stage.EXPORT).id
    assert researcher.get(f"/documents/imports/{other}").status_code == 404
    assert researcher.post(f"/documents/imports/{other}/cancel").status_code == 404


def test_a_waiting_import_is_cancelled_at_once(researcher: TestClient, work: Work, app: FastAPI) -> None:
    where = send(researcher)[2]
    researcher.post(f"{where}/cancel")
    page = researcher.get(where).text
    assert ("Cancelled before it began." in page, 'data-live="on"' in page) == (True, False)
