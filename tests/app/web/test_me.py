"""A labeler's own page: what it tells, and all that it must not."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from app.domain.words import BatchPurpose, LabelerKind, Role
from app.services import flags, quality, verdicts
from app.services.people import Viewer
from app.store import people
from app.store.session import Session
from app.store.tables import Policy
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def _ada(session: Session) -> Viewer:
    row = people.labeler_by_name(session, "Ada")
    assert row is not None
    return Viewer(row.id, row.name, Role.LABELER, LabelerKind.HUMAN)


def _apart(session: Session, viewer: Viewer, *, released: bool = True) -> tuple[int, UUID]:
    """A pair on which the labeler says the opposite of the verdict; the comparison and the showing."""
    boss = make.admin(session)
    [comparison] = make.pairs(session).comparisons
    make.verdict(session, comparison, boss, 8)
    showing = given.answer(session, viewer, comparison, 2, explanation="It has the point.")
    if released:
        verdicts.release(session, boss, comparison)
    return comparison, showing


def test_a_newcomer_is_told_what_will_stand_here(labeler: TestClient) -> None:
    said = text_of(labeler.get("/me").text)
    assert "Judged today 0 0 in all" in said
    assert "Nothing is released yet" in said
    assert "nothing to compare yet" in said


def test_where_somebody_and_the_researchers_differ(work: Work, labeler: TestClient) -> None:
    with work() as session:
        comparison, _ = _apart(session, _ada(session))
    page = labeler.get("/me").text
    said = text_of(page)
    assert "A is clearly better. It has the point." in said
    assert f"B is clearly better. Because of {comparison}." in said
    assert "A long story about the cat" in said
    assert "With the researchers 0 %" in said
    assert "Answers per day" in said


def test_agreeing_on_everything_that_is_released(work: Work, labeler: TestClient) -> None:
    with work() as session:
        ada, boss = _ada(session), make.admin(session)
        [comparison] = make.pairs(session).comparisons
        make.verdict(session, comparison, boss, 2)
        given.answer(session, ada, comparison, 1)
        verdicts.release(session, boss, comparison)
    said = text_of(labeler.get("/me").text)
    assert "On every released pair that you judged" in said and "With the researchers 100 %" in said


def test_nothing_of_others_of_policies_or_of_what_is_not_released(
    front: Front, work: Work, labeler: TestClient
) -> None:
    with work() as session:
        ada, bob, boss = _ada(session), make.labeler(session, "Bob"), make.admin(session, "Boss")
        for policy in session.query(Policy):
            policy.name = f"secret-{policy.name}"
        shown, _ = _apart(session, ada)
        kept, _ = _apart(session, ada, released=False)
        unanswered = make.pairs(session).comparisons[0]
        make.verdict(session, unanswered, boss, 8)
        given.answer(session, bob, unanswered, 2)
        given.answer(session, bob, shown, 8, explanation="What Bob thinks.")
        verdicts.release(session, boss, unanswered)
        [gold] = make.standing(session, BatchPurpose.GOLD)
        given.answer(session, ada, gold, 9)
        verdicts.release(session, boss, gold)
    for text in (labeler.get("/me").text, front.program(labeler).get("/me").text):
        assert f"Because of {shown}." in text
        for secret in (
            f"Because of {kept}.",
            f"Because of {unanswered}.",
            "What Bob thinks.",
            "Bob",
            "Boss",
            "secret-",
        ):
            assert secret not in text, secret
        assert "gold" not in text.lower().replace("golden", "")
    told = front.program(labeler).get("/me").json()
    assert told.keys() == {"progress", "pace", "days", "agreement", "released", "apart", "disagreements", "flags"}
    assert (told["released"], told["agreement"]["n"]) == (2, 2)
    assert told["disagreements"][0].keys().isdisjoint({"comparison_id", "kind", "policies", "id"})


def test_one_click_asks_about_a_pair_and_the_reply_stands_here(work: Work, labeler: TestClient) -> None:
    with work() as session:
        _, showing = _apart(session, _ada(session))
    page = labeler.get("/me").text
    form = dict(re.findall(r'<input type="hidden" name="(showing|key)" value="([^"]+)">', page))
    assert form["showing"] == str(showing)
    for _ in range(2):
        asked = labeler.post("/me/questions", data={**form, "comment": "Why B?"})
        assert (asked.status_code, asked.headers["location"]) == (303, "/me")
    said = text_of(labeler.get("/me").text)
    assert "Asked. The reply will stand on this page." in said
    assert said.count("A question: Why B?") == 1 and "waits for a reply" in said
    assert "You asked about this pair" in said and "Ask about this pair" not in said
    with work() as session:
        [flag] = flags.listed(session, False, None)[0]
        assert flag.flag.reason == "question"
        flags.close(session, make.admin(session), flag.flag.id, "It keeps the question.")
    assert "Reply: It keeps the question." in text_of(labeler.get("/me").text)


def test_every_pair_on_which_they_differ_can_be_reached(
    work: Work, labeler: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "DISAGREEMENTS_SHOWN", 2)
    with work() as session:
        pairs = [_apart(session, _ada(session))[0] for _ in range(3)]
    path, seen = "/me", []
    for shown in ("1 to 2 of 3", "3 to 3 of 3"):
        page = labeler.get(path).text
        assert shown in text_of(page)
        seen += [int(number) for number in re.findall(r"Because of (\d+)\.", page)]
        path = next(iter(re.findall(r'href="(/me\?page=\d+)" rel="next"', page)), "")
    assert (sorted(seen), path) == (sorted(pairs), "")
    assert "There are none here." in labeler.get("/me?page=9").text
    assert labeler.get("/me?page=0").status_code == 422


def test_a_question_without_a_word_is_a_question(work: Work, labeler: TestClient) -> None:
    with work() as session:
        _, showing = _apart(session, _ada(session))
    assert labeler.post("/me/questions", data={"showing": str(showing), "key": str(uuid4())}).status_code == 303
    assert "A question " in text_of(labeler.get("/me").text)


def test_nobody_asks_about_what_they_were_not_shown(work: Work, labeler: TestClient, admin: TestClient) -> None:
    with work() as session:
        _, foreign = _apart(session, make.labeler(session))
    form = {"showing": str(foreign), "key": str(uuid4())}
    assert labeler.post("/me/questions", data=form).status_code == 404
    assert labeler.post("/me/questions", data={"showing": "x", "key": "y"}).status_code == 422
    assert admin.post("/me/questions", data=form).status_code == 403
    assert admin.get("/me").status_code == 403
    with work() as session:
        assert flags.waiting(session) == 0


def test_a_pair_is_shown_with_the_sides_on_which_it_was_judged(work: Work, labeler: TestClient) -> None:
    with work() as session:
        ada, boss = _ada(session), make.admin(session)
        [comparison] = make.pairs(session).comparisons
        make.verdict(session, comparison, boss, 8)
        given.answer(session, ada, comparison, 9, swapped=True, at=datetime.now(UTC) - timedelta(days=1))
        verdicts.release(session, boss, comparison)
    page = labeler.get("/me").text
    sides = re.findall(r"<h4>Summary ([AB])</h4><p>([^<]+)</p>", page)
    assert [(side, text.split()[-1]) for side, text in sides] == [("A", "other."), ("B", "ref.")]
    assert "B is much better." in text_of(page) and "A is clearly better. Because of" in text_of(page)
