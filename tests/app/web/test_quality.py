"""The pages of those who look after labelers: what they say with answers and without, and the same as JSON."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.domain.words import ComparisonKind, LabelerKind
from app.quality import drift
from app.services.people import Viewer
from app.store import people
from app.store.session import Session
from app.store.tables import Comparison, Labeler
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def _pool(session: Session, comparisons: int = 12) -> list[Viewer]:
    """Ada and Bob judge the same pairs and agree on two of three; a researcher's account sides with Ada."""
    ada, bob, judge = (make.labeler(session, name) for name in ("Ada Gold", "Bob", "judge"))
    session.execute(update(Labeler).where(Labeler.id == judge.id).values(calibrates=True))
    for place, comparison in enumerate(make.pairs(session, comparisons).comparisons):
        at = NOON + timedelta(hours=place * 5)
        given.answer(session, ada, comparison, 1, at=at)
        given.answer(session, bob, comparison, 2 if place % 3 else 9, at=at, seconds=50.0)
        given.answer(session, judge, comparison, 1, at=at)
    return [ada, bob, judge]


def test_before_anything_is_judged_the_page_says_what_to_do(admin: TestClient, researcher: TestClient) -> None:
    said = text_of(admin.get("/quality").text)
    assert "Nothing to compare yet" in said and "give a batch a shared pool" in said
    assert 'href="/batches"' in admin.get("/quality").text
    assert "Nothing to compare yet" in researcher.get("/quality").text
    assert '<a class="button" href="/batches">' not in researcher.get("/quality").text


def test_agreement_with_its_n_and_interval_beside_the_study(work: Work, researcher: TestClient) -> None:
    with work() as session:
        _pool(session)
    page = researcher.get("/quality").text
    said = text_of(page)
    assert re.search(r"Labelers with each other every two of them on the same pair 67 % \d+ to \d+, n 12", said)
    assert re.search(r"Labelers with researchers on ordinary batches 83 % \d+ to \d+, n 12", said)
    assert "Two researchers must judge the same pair." in said
    for study in ("72 %", "77 % ± 2", "73 % ± 4"):
        assert study in said
    assert re.search(
        r'<svg viewBox="0 0 320 \d+" role="img" aria-label="Agreement beside the study\. Labelers 67 %', page
    )
    assert "style=" not in page


def test_every_labeler_has_a_row_and_researchers_have_none(work: Work, admin: TestClient) -> None:
    with work() as session:
        ada, _, judge = _pool(session)
    page = admin.get("/quality").text
    assert page.count(f'href="/quality/labelers/{ada.id}"') == 2
    assert f"/quality/labelers/{judge.id}" not in page
    assert "30 s" in page and "50 s" in page


def test_one_labeler_at_length(work: Work, admin: TestClient) -> None:
    with work() as session:
        ada, bob, judge = _pool(session)
    page = admin.get(f"/quality/labelers/{bob.id}").text
    said = text_of(page)
    assert "<h1>Bob</h1>" in page
    assert "Answers at least 1 point away from 5 agree with researchers" not in said
    assert "At no confidence do answers agree with researchers 80 % of the time" in said
    for title in (
        "Use of the scale",
        "Agreement with researchers by confidence",
        "Answers per day",
        "Seconds per pair",
    ):
        assert re.search(rf"<figcaption><strong>{title}</strong>", page), title
    # 8 times 2 and 4 times 9 as shown.
    assert re.search(
        r"<th scope=\"row\">2</th><td class=\"number\">A is clearly better</td><td class=\"number\">8</td>", page
    )
    assert "There are not enough sentinel answers in the project yet" in said
    agreeing = text_of(admin.get(f"/quality/labelers/{ada.id}").text)
    assert "Answers at least 1 point away from 5 agree with researchers 100 % of the time (n 12)." in agreeing
    for nobody in (judge.id, 10**12):
        assert admin.get(f"/quality/labelers/{nobody}").status_code == 404


def test_the_same_as_json(front: Front, work: Work, admin: TestClient) -> None:
    with work() as session:
        ada, bob, _ = _pool(session)
    program = front.program(admin)
    told = program.get("/quality").json()
    assert told["among_labelers"]["raw"]["value"] == pytest.approx(2 / 3)
    assert told["among_labelers"]["raw"]["n"] == told["among_labelers"]["pairings"] == 12
    assert [line["name"] for line in told["labelers"]] == ["Ada Gold", "Bob"]
    one = program.get(f"/quality/labelers/{bob.id}").json()
    assert (one["line"]["id"], len(one["steps"]), one["days"][0]["day"]) == (bob.id, 4, "2026-11-02")
    assert one["line"]["scale"]["counts"] == [0, 8, 0, 0, 0, 0, 0, 0, 4]
    assert program.get(f"/quality/labelers/{ada.id}").json()["line"]["threshold"]["confidence"] == 1


def test_simulated_labelers_come_in_by_a_switch(work: Work, admin: TestClient) -> None:
    with work() as session:
        ada = make.labeler(session, "Ada")
        robot = make.labeler(session, "Automaton", kind=LabelerKind.SIMULATED)
        for comparison in make.pairs(session, 3).comparisons:
            for viewer in (ada, robot):
                given.answer(session, viewer, comparison, 2)
    without = admin.get("/quality").text
    assert "Automaton" not in without and "Count simulated labelers too" in without
    page = admin.get("/quality?simulated=yes").text
    assert "Answers of simulated labelers are in these figures." in page
    assert f'href="/quality/labelers/{robot.id}?simulated=yes"' in page
    assert "100 %" in admin.get(f"/quality/labelers/{ada.id}?simulated=yes").text
    assert admin.get("/quality?simulated=perhaps").status_code == 422


def _drifting(work: Work, begun: datetime) -> Viewer:
    """Ada judges fifty sentinel pairs in two days, all but the first few the other way."""
    with work() as session:
        ada = make.labeler(session, "Ada")
        comparisons = make.pairs(session, 50).comparisons
        session.execute(update(Comparison).where(Comparison.id.in_(comparisons)).values(kind=ComparisonKind.SENTINEL))
        for place, comparison in enumerate(comparisons):
            value = 2 if place < 10 and place % 5 else 8
            given.answer(session, ada, comparison, value, at=begun + timedelta(hours=place))
    return ada


def test_an_alarm_is_no_news_after_a_month(work: Work, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 10)
    ada = _drifting(work, datetime.now(UTC) - timedelta(days=33))
    for path in ("/quality", f"/quality/labelers/{ada.id}"):
        page = admin.get(path).text
        assert "on which the baseline is preferred rose" not in text_of(page)
        assert "Alarms at answers" in page, "the plot still has it"
    assert "badge paused" not in admin.get("/quality").text


def test_an_alarm_stands_on_top(work: Work, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 10)
    ada = _drifting(work, datetime.now(UTC) - timedelta(days=20))
    said = text_of(admin.get("/quality").text)
    assert "All labelers : The share of sentinel pairs on which the baseline is preferred rose" in said
    assert "against a reference of 20 %" in said
    assert re.search(r"Ada : The share of sentinel pairs on which the baseline is preferred rose", said)
    assert "the baseline was preferred in 20 %; since then in 100 % of 40" in said
    one = admin.get(f"/quality/labelers/{ada.id}").text
    assert "<figcaption><strong>Sentinel drift</strong>" in one
    assert "The baseline is preferred in 100 % of 40 sentinel answers, against a reference of 20 %." in text_of(one)


def test_labelers_and_strangers_see_nothing_of_it(work: Work, labeler: TestClient, nobody: TestClient) -> None:
    with work() as session:
        row = people.labeler_by_name(session, "Ada")
        assert row is not None
        own = row.id
    for path in ("/quality", f"/quality/labelers/{own}"):
        assert labeler.get(path).status_code == 403
        assert nobody.get(path).status_code == 303


def test_a_name_is_text(work: Work, admin: TestClient) -> None:
    with work() as session:
        evil = make.labeler(session, "<script>alert(1)</script>")
        given.answer(session, evil, make.pairs(session).comparisons[0], 2)
    for path in ("/quality", f"/quality/labelers/{evil.id}"):
        page = admin.get(path).text
        assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
