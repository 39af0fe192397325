"""Flags are listed, answered and closed through the door."""

from uuid import uuid4

from starlette.testclient import TestClient

from tests.conftest import Work
from tests.support import factories


def raised(labeler: TestClient, work: Work, reason: str = "question", comment: str | None = "Is <this> right?") -> str:
    """A flag over the wire. Gives the path of its page."""
    with work() as session:
        factories.pairs(session)
    [item, *_] = labeler.post("/api/leases", json={"ahead": 1}).json()["items"]
    body = {"showing": item["showing"], "key": str(uuid4()), "reason": reason, "comment": comment}
    assert labeler.post("/api/flags", json=body).json() == {"status": "flagged"}
    return "/flags/1"


def test_a_question_is_answered(researcher: TestClient, labeler: TestClient, work: Work) -> None:
    assert "Nobody is waiting" in researcher.get("/flags").text
    path = raised(labeler, work)
    listed = researcher.get("/flags").text
    assert "Is &lt;this&gt; right?" in listed
    page = researcher.get(path).text
    for told in ("Is &lt;this&gt; right?", "Ada", "Summary A", "Summary B", "A long story about the cat"):
        assert told in page
    assert "/comparisons/1" not in page, "only admins void slots"
    assert "by ref</span>" not in page, "whoever gives a verdict next is still blind"
    empty = researcher.post(path, data={"reply": " "})
    assert (empty.status_code, "asked as a question" in empty.text) == (422, True)
    closed = researcher.post(path, data={"reply": "It is."})
    assert closed.headers["location"] == "/flags"
    assert "Nobody is waiting" in researcher.get("/flags").text
    assert "It is." in researcher.get("/flags?closed=yes").text
    again = researcher.get(path).text
    assert "Replace the reply" in again
    assert "Closed by Rosa" in again


def test_a_report_is_closed_without_a_word(admin: TestClient, labeler: TestClient, work: Work) -> None:
    path = raised(labeler, work, "cut_off", None)
    assert "A text is cut off" in admin.get("/flags").text
    assert 'href="/comparisons/1"' in admin.get(path).text
    assert admin.get("/comparisons/1").status_code == 200
    assert admin.post(path, data={"reply": ""}).status_code == 303
    assert admin.get("/flags/999").status_code == 404
    assert admin.post("/flags/999", data={"reply": "x"}).status_code == 404


def test_a_long_list_comes_in_pages(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session)
    [item] = labeler.post("/api/leases", json={"ahead": 1}).json()["items"]
    for number in range(32):
        body = {"showing": item["showing"], "key": str(uuid4()), "reason": "other", "comment": f"note {number}"}
        labeler.post("/api/flags", json=body)
    first = admin.get("/flags").text
    assert ("note 31" in first, "note 2<" in first, "note 1<" in first) == (True, True, False)
    older = admin.get("/flags?before=3").text
    assert ("note 1<" in older, "note 2<" in older) == (True, False)
