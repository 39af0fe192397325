"""The judging page's JSON: what it takes, however odd, and what it says."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.domain.preferences import WORDS, turned
from app.domain.protocols import Gate, Protocol
from app.domain.ratings import AXES
from app.domain.words import BatchPurpose, Role
from app.services.projects import the_project
from app.settings import Settings
from app.store import guidelines, qualifications
from app.store.session import Sessions
from app.store.tables import (
    Document,
    Flag,
    Note,
    Preference,
    Rating,
    Showing,
    Skip,
    Slot,
    Summary,
    Verdict,
)
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories

NOTES_FIRST = Protocol(notes_first=True)


def held(labeler: TestClient, work: Work) -> str:
    """The showing of a pair that the labeler holds."""
    with work() as session:
        factories.pairs(session)
    showing = labeler.post("/api/leases", json={"ahead": 1}).json()["items"][0]["showing"]
    assert isinstance(showing, str)
    return showing


def said(labeler: TestClient, path: str, **body: Any) -> dict[str, Any]:
    """What the server says to a request that it takes; the key is made for it where none is given."""
    if path not in ("/api/leases", "/api/heartbeats"):
        body = {"key": str(uuid4()), **body}
    answer = labeler.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def items(labeler: TestClient, ahead: int = 1) -> list[dict[str, Any]]:
    """What the labeler holds."""
    held: list[dict[str, Any]] = said(labeler, "/api/leases", ahead=ahead)["items"]
    return held


def post(labeler: TestClient, path: str, body: dict[str, Any]) -> int:
    """The status for a body as a browser may have written it, half signs and odd numbers included."""
    return labeler.post(path, content=json.dumps(body), headers={"content-type": "application/json"}).status_code


def test_what_is_held_next_comes_with_an_answer_for_who_asks(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, 5)
    first, *others = items(labeler, 3)
    told = said(labeler, "/api/preferences", showing=first["showing"], value=8, ahead=3)
    assert (told["status"], told["held"]["before"]) == ("saved", None)
    assert [each["showing"] for each in told["held"]["items"]][:2] == [each["showing"] for each in others]
    assert told["held"]["items"] == items(labeler, 3), "the third was claimed with the answer"
    again = said(labeler, "/api/skips", showing=others[0]["showing"], reason="other", ahead=2)
    assert len(again["held"]["items"]) == 2 and again["status"] == "skipped"
    for odd in (0, 21, True, "three", [3], None):
        held = said(labeler, "/api/preferences", showing=first["showing"], value=7, ahead=odd)["held"]
        assert held is None, "what comes beside an answer never costs it"
    key = str(uuid4())
    one, same = (
        said(labeler, "/api/preferences", key=key, showing=others[1]["showing"], value=2, ahead=1) for _ in range(2)
    )
    assert one == same, "sent twice"


def test_an_answer_that_others_made_surplus_brings_nothing(labeler: TestClient, front: Front, work: Work) -> None:
    """A slot that came back in the claim might count it, and what was said of it would be wrong."""
    showing = held(labeler, work)
    with work() as session:
        factories.run_out(session)
    other = front.signed_in("Bo", Role.LABELER)
    [item] = items(other)
    with work() as session:
        factories.run_out(session)
    told = said(labeler, "/api/preferences", showing=showing, value=8, ahead=1)
    assert (told["status"], told["held"]) in {("surplus", None)}
    assert said(labeler, "/api/leases", ahead=1)["items"] == []
    with work() as session:
        assert session.scalars(select(Slot.state)).all() == ["done"]
        assert item["showing"] != showing


@pytest.mark.parametrize(
    ("explanation", "kept"),
    [
        ("x" * 5000, "x" * 4000),
        ("half \ud83d a sign", "half ? a sign"),
        ("\ude00", "?"),
        ("a\0b", "ab"),
        ("", None),
        (None, None),
        (7, None),
        (["x"], None),
        ({"x": "\ud83d"}, None),
        (True, None),
    ],
)
def test_words_never_cost_an_answer_or_a_skip(labeler: TestClient, work: Work, explanation: Any, kept: str) -> None:
    showing = held(labeler, work)
    answer = {"showing": showing, "key": str(uuid4()), "value": 2, "explanation": explanation}
    assert post(labeler, "/api/preferences", answer) == 200
    other = held(labeler, work)
    skip = {"showing": other, "key": str(uuid4()), "reason": "other", "comment": explanation}
    assert post(labeler, "/api/skips", skip) == 200
    with work() as session:
        assert session.scalars(select(Preference.explanation)).one() == kept
        assert session.scalars(select(Skip.comment)).one() == kept


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        (12.5, 12.5),
        (12, 12.0),
        (0, 0.0),
        (86_400, 86_400.0),
        (86_401, None),
        (-1, None),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        ("12", None),
        ([], None),
        (None, None),
    ],
)
def test_seconds_never_cost_an_answer(labeler: TestClient, work: Work, seconds: Any, kept: float | None) -> None:
    answer = {"showing": held(labeler, work), "key": str(uuid4()), "value": 2, "seconds": seconds}
    assert post(labeler, "/api/preferences", answer) == 200
    with work() as session:
        assert session.scalars(select(Preference.seconds)).one() == kept


@pytest.mark.parametrize("value", [0, 10, 2.5, "much better", None])
def test_a_value_off_the_scale_is_refused(labeler: TestClient, work: Work, value: Any) -> None:
    assert (
        post(labeler, "/api/preferences", {"showing": held(labeler, work), "key": str(uuid4()), "value": value}) == 422
    )


def test_progress_is_the_labelers_own(labeler: TestClient, work: Work) -> None:
    showing = held(labeler, work)
    assert said(labeler, "/api/preferences", showing=showing, value=2) == {
        "status": "saved",
        "version": 1,
        "feedback": None,
        "progress": {"mine_today": 1, "mine_total": 1},
        "held": None,
    }


def test_the_page_speaks_of_the_scale_in_the_domains_words(labeler: TestClient) -> None:
    html = labeler.get("/label").text
    for value, words in WORDS.items():
        assert f'value="{value}" data-words="{words}"' in html


def test_the_page_shows_the_axes_and_says_how_many_to_hold(labeler: TestClient) -> None:
    html = labeler.get("/label").text
    assert 'data-ahead="3"' in html
    for axis in AXES:
        assert all(words in html for words in (axis.title, axis.question, axis.one, axis.four, axis.seven))


# The shape of it


def test_a_pair_to_compare_on_the_wire(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session)
    told = said(labeler, "/api/leases")
    assert (told["before"], told["progress"]) == (None, {"mine_today": 0, "mine_total": 0})
    [item] = told["items"]
    with work() as session:
        document, showing = session.scalars(select(Document)).one(), session.scalars(select(Showing)).one()
        texts = [text.strip() for text in session.scalars(select(Summary.text).order_by(Summary.id))]
        until = session.scalar(select(Slot.lease_expires_at).where(Slot.lease_expires_at.is_not(None)))
    assert until is not None
    assert item == {
        "showing": str(showing.id),
        "task": "compare",
        "notes_first": False,
        "document": {"title": document.title, "community": document.community, "text": document.post},
        "summaries": [{"text": text} for text in (reversed(texts) if showing.swapped else texts)],
        "notes": [None, None],
        "practice": False,
        "expires_at": until.isoformat().replace("+00:00", "Z"),
        "answer": None,
    }


def test_three_are_held_unless_more_are_asked_for(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, 30)
    assert len(said(labeler, "/api/leases")["items"]) == 3
    held = items(labeler, 20)
    assert len(held) == 20
    assert said(labeler, "/api/heartbeats", showings=[one["showing"] for one in held])["expires_at"] is not None
    assert labeler.post("/api/leases", json={"ahead": 21}).status_code == 422
    assert labeler.post("/api/leases", json={"ahead": 0}).status_code == 422
    assert post(labeler, "/api/heartbeats", {"showings": [str(uuid4()) for _ in range(21)]}) == 422
    assert said(labeler, "/api/heartbeats", showings=[str(uuid4())]) == {"expires_at": None}


def test_a_pair_with_notes_first_on_the_wire(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, protocol=NOTES_FIRST)
    [item] = items(labeler)
    assert (item["notes_first"], item["document"], item["notes"]) == (True, None, [None, None])
    early = labeler.post("/api/preferences", json={"showing": item["showing"], "key": str(uuid4()), "value": 2})
    assert (early.status_code, early.json()["error"]) == (409, "The document was not shown yet.")
    notes, key = [" A says. ", "B says."], str(uuid4())
    told = said(labeler, "/api/notes", showing=item["showing"], key=key, notes=notes, seconds=31.5)
    with work() as session:
        document = session.scalars(select(Document)).one()
        assert session.scalar(select(func.count()).select_from(Preference)) == 0
        assert {(note.text, note.seconds, str(note.key)) for note in session.scalars(select(Note))} == {
            ("A says.", 31.5, key),
            ("B says.", 31.5, key),
        }
    shown = {"title": document.title, "community": document.community, "text": document.post}
    assert told == {"document": shown, "progress": {"mine_today": 0, "mine_total": 0}}
    assert said(labeler, "/api/notes", showing=item["showing"], key=key, notes=["Other.", "Words."]) == told
    [again] = items(labeler)
    assert (again["document"], again["notes"]) == (shown, ["A says.", "B says."])
    saved = said(
        labeler,
        "/api/preferences",
        showing=item["showing"],
        value=2,
        seconds=50,
        steps={"notes": 31.5, "compare": 12, "explain": "?"},
    )
    assert saved["status"] == "saved"
    with work() as session:
        assert session.scalars(select(Preference.steps)).one() == {"notes": 31.5, "compare": 12.0}


@pytest.mark.parametrize(
    "notes", [["", "Two."], ["One.", "  "], ["One."], [], ["One.", None], ["One.", 2], ["x" * 4001, "Two."], None]
)
def test_both_notes_are_needed(labeler: TestClient, work: Work, notes: Any) -> None:
    with work() as session:
        factories.pairs(session, protocol=NOTES_FIRST)
    [item] = items(labeler)
    assert post(labeler, "/api/notes", {"showing": item["showing"], "key": str(uuid4()), "notes": notes}) == 422
    assert items(labeler) == [item]


def test_odd_signs_and_times_never_cost_a_note(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, protocol=NOTES_FIRST)
    [item] = items(labeler)
    body = {"showing": item["showing"], "key": str(uuid4()), "notes": ["half \ud83d", "a\0b"], "seconds": "soon"}
    assert post(labeler, "/api/notes", body) == 200
    assert items(labeler)[0]["notes"] == ["half ?", "ab"]


def test_a_summary_to_rate_on_the_wire(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.to_rate(session)
    [item] = items(labeler)
    with work() as session:
        text = session.scalars(select(Summary.text)).one()
    assert (item["task"], item["summaries"], item["notes"]) == ("rate", [{"text": text.strip()}], [None])
    assert item["document"]["text"].startswith("A long story")
    key, progress = str(uuid4()), {"mine_today": 1, "mine_total": 1}
    scores: dict[str, Any] = {"coherence": 7, "accuracy": None, "overall": 1, "comment": "half \ud83d", "seconds": []}
    body = {"showing": item["showing"], "key": key, **scores}
    assert post(labeler, "/api/ratings", body) == 200
    told = said(labeler, "/api/ratings", showing=item["showing"], key=key, overall=4)
    assert told == {"status": "saved", "version": 1, "progress": progress, "held": None}
    assert said(labeler, "/api/ratings", showing=item["showing"], coverage=4)["version"] == 2
    with work() as session:
        rows = session.scalars(select(Rating).order_by(Rating.version))
        assert [(row.coherence, row.accuracy, row.coverage, row.overall, row.comment) for row in rows] == [
            (7, None, None, 1, "half ?"),
            (None, None, 4, None, None),
        ]


@pytest.mark.parametrize(
    "scores", [{}, {"overall": None}, {"overall": 0}, {"overall": 8}, {"coherence": "7!"}, {"accuracy": 2.5}]
)
def test_a_rating_needs_a_score_on_the_scale(labeler: TestClient, work: Work, scores: dict[str, Any]) -> None:
    with work() as session:
        factories.to_rate(session)
    [item] = items(labeler)
    assert post(labeler, "/api/ratings", {"showing": item["showing"], "key": str(uuid4()), **scores}) == 422


def test_a_flag_on_the_wire(labeler: TestClient, work: Work) -> None:
    showing, key = held(labeler, work), str(uuid4())
    for _ in range(2):
        told = said(labeler, "/api/flags", showing=showing, key=key, reason="personal_data", comment="A name.")
        assert told == {"status": "flagged"}
    said(labeler, "/api/preferences", showing=showing, value=2)
    assert post(labeler, "/api/flags", {"showing": showing, "key": str(uuid4()), "reason": "question"}) == 200
    assert post(labeler, "/api/flags", {"showing": showing, "key": str(uuid4()), "reason": "boredom"}) == 422
    with work() as session:
        flags = session.execute(select(Flag.reason, Flag.comment).order_by(Flag.id)).all()
    assert [tuple(row) for row in flags] == [("personal_data", "A name."), ("question", None)]


def test_an_answer_is_opened_again_after_the_page_was_loaded_anew(labeler: TestClient, work: Work) -> None:
    assert labeler.get("/api/answers/last").json() == {"item": None, "feedback": None}
    with work() as session:
        factories.pairs(session, protocol=NOTES_FIRST)
        factories.to_rate(session)
    pair, summary = items(labeler, 2)
    said(labeler, "/api/notes", showing=pair["showing"], notes=["One.", "Two."])
    said(labeler, "/api/preferences", showing=pair["showing"], value=8, explanation="Because.")
    item = labeler.get("/api/answers/last").json()["item"]
    assert item["answer"] == {"value": 8, "explanation": "Because."}
    assert (item["showing"], item["notes"], item["summaries"]) == (pair["showing"], ["One.", "Two."], pair["summaries"])
    assert (item["document"] is not None, item["expires_at"]) == (True, None)
    said(labeler, "/api/ratings", showing=summary["showing"], accuracy=3, comment="Meh.")
    item = labeler.get("/api/answers/last").json()["item"]
    scores = {"coherence": None, "accuracy": 3, "coverage": None, "overall": None, "comment": "Meh."}
    assert (item["showing"], item["answer"]) == (summary["showing"], scores)
    item = labeler.get(f"/api/answers/{pair['showing']}").json()["item"]
    assert item["answer"]["value"] == 8
    assert said(labeler, "/api/preferences", showing=item["showing"], value=1)["version"] == 2
    assert labeler.get("/api/answers/last").json()["item"]["answer"]["value"] == 1
    assert labeler.get(f"/api/answers/{uuid4()}").status_code == 404
    assert labeler.get("/api/answers/1").status_code == 422


def test_the_lesson_of_a_practice_answer_can_be_asked_for_again(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.standing(session, BatchPurpose.QUALIFICATION)
        the_project(session).gate = Gate(required=True).to_dict()
    [pair] = items(labeler, 1)
    told = said(labeler, "/api/preferences", showing=pair["showing"], value=2)["feedback"]
    assert told is not None
    again = labeler.get(f"/api/answers/{pair['showing']}").json()
    assert (again["item"]["answer"]["value"], again["feedback"]) == (2, told)


def test_who_has_to_read_first_is_told_where(labeler: TestClient, work: Work) -> None:
    showing = held(labeler, work)
    with work() as session:
        guidelines.add(session, the_project(session).id, 1_000, "Read this, too.", None)
    told = said(labeler, "/api/leases")
    assert ([each["showing"] for each in told["items"]], told["before"]["href"]) == ([showing], "/guidelines")
    assert said(labeler, "/api/preferences", showing=showing, value=2)["status"] == "saved"


def test_practice_pairs_are_marked_and_answered_with_what_the_researchers_said(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, 3)
        factories.standing(session, BatchPurpose.QUALIFICATION, 2, value=2)
        qualifications.set_gate(session, the_project(session).id, Gate(required=True).to_dict())
    held_now = items(labeler, 5)
    assert [item["practice"] for item in held_now] == [True, True]
    for item, value in zip(held_now, (2, 5), strict=True):
        with work() as session:
            swapped = session.get_one(Showing, UUID(item["showing"])).swapped
            comparison_id = session.scalars(
                select(Slot.comparison_id).where(Slot.showing_id == UUID(item["showing"]))
            ).one()
            reason = session.scalars(select(Verdict.reason).where(Verdict.comparison_id == comparison_id)).one()
        told = said(labeler, "/api/preferences", showing=item["showing"], value=turned(value, swapped))
        agrees = None if value == 5 else True
        assert told["feedback"] == {"value": turned(2, swapped), "reason": reason, "agrees": agrees}


def test_nobody_else_sees_or_changes_what_a_labeler_holds(labeler: TestClient, front: Front, work: Work) -> None:
    other = front.signed_in("Bo", Role.LABELER)
    with work() as session:
        factories.pairs(session, protocol=NOTES_FIRST)
        factories.to_rate(session)
    pair, summary = (item["showing"] for item in items(labeler, 2))
    key = str(uuid4())
    asked = [
        ("/api/notes", {"showing": pair, "key": key, "notes": ["One.", "Two."]}),
        ("/api/preferences", {"showing": pair, "key": key, "value": 2}),
        ("/api/ratings", {"showing": summary, "key": key, "overall": 2}),
        ("/api/skips", {"showing": pair, "key": key, "reason": "other"}),
        ("/api/flags", {"showing": pair, "key": key, "reason": "other"}),
    ]
    assert {post(other, path, body) for path, body in asked} == {404}
    assert other.get(f"/api/answers/{pair}").status_code == 404
    assert said(other, "/api/heartbeats", showings=[pair, summary]) == {"expires_at": None}
    assert [item["document"] is None for item in items(labeler, 2)] == [True, False]
    for each in (front.signed_in("Rosa", Role.RESEARCHER), front.signed_in("admin", Role.ADMIN)):
        assert {post(each, path, body) for path, body in asked} == {403}
        assert each.get("/api/answers/last").status_code == 403


def test_200_leases_and_answers_at_once_on_a_pool_of_5(
    app: FastAPI, settings: Settings, sessions: Sessions, front: Front, work: Work
) -> None:
    assert sessions.kw["bind"].pool.size() == 5
    browsers = [front.signed_in(f"labeler {number}", Role.LABELER) for number in range(10)]
    with work() as session:
        factories.pairs(session, 120, opinions=2)
    held_by = [items(browser, 10) for browser in browsers]

    async def all_at_once() -> list[int]:
        door = httpx2.ASGITransport(app, raise_app_exceptions=False)
        clients = [
            httpx2.AsyncClient(transport=door, base_url=settings.address, cookies=dict(each.cookies))
            for each in browsers
        ]
        asked = [
            each
            for client, held_now in zip(clients, held_by, strict=True)
            for item in held_now
            for each in (
                client.post("/api/preferences", json={"showing": item["showing"], "key": str(uuid4()), "value": 3}),
                client.post("/api/leases", json={"ahead": 10}),
            )
        ]
        answers = await asyncio.gather(*asked)
        for client in clients:
            await client.aclose()
        return [answer.status_code for answer in answers]

    got = asyncio.run(all_at_once())
    assert (len(got), set(got)) == (200, {200})
    with work() as session:
        assert session.scalar(select(func.count()).select_from(Preference).where(~Preference.surplus)) == 100
    assert sessions.kw["bind"].pool.checkedout() == 0
