"""Researchers look for comparisons, judge them blind, and put verdicts to use."""

import re
from uuid import uuid4

from sqlalchemy import update
from starlette.testclient import TestClient

from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, ComparisonKind
from app.store.tables import Batch, Comparison, Showing
from tests.conftest import Work
from tests.support import factories


def put_up(work: Work) -> int:
    """A comparison of two policies with telling names. Gives its id."""
    with work() as session:
        return factories.pairs(session).comparisons[0]


def give(client: TestClient, pair: int, value: str = "2", **more: str) -> int:
    """Send a verdict; the status."""
    data = {"value": value, "reason": "It says who.", "first": "yes"} | more
    return client.post(f"/verdicts/{pair}", data=data).status_code


def test_policies_show_after_the_verdict_and_not_before(researcher: TestClient, work: Work) -> None:
    pair = put_up(work)
    before = researcher.get(f"/verdicts/{pair}").text
    for told in ("by ref</span>", "by other</span>", "What others said", "ordinary pair"):
        assert told not in before
    assert re.search(r'name="value" value="9"', before)
    assert give(researcher, pair) == 303
    after = researcher.get(f"/verdicts/{pair}").text
    for told in ("by ref</span>", "by other</span>", "What others said", "A is clearly better", "It says who."):
        assert told in after
    assert "Use as gold" in after
    assert "Retire" not in after


def test_a_refused_verdict_keeps_what_was_typed(researcher: TestClient, work: Work) -> None:
    pair = put_up(work)
    for data, words in (
        ({"value": "", "reason": "Typed long."}, "Choose a point on the scale."),
        ({"value": "10", "reason": "Typed long."}, "Choose a point on the scale."),
        ({"value": "3", "reason": " "}, "Say why."),
    ):
        refused = researcher.post(f"/verdicts/{pair}", data=data | {"first": "yes"})
        assert (refused.status_code, words in refused.text) == (422, True)
        assert data["reason"].strip() in refused.text
        assert "by ref</span>" not in refused.text
    assert give(researcher, pair) == 303
    late = researcher.post(f"/verdicts/{pair}", data={"value": "8", "reason": "Mine.", "first": "yes"})
    assert (late.status_code, "meanwhile" in late.text, "Mine." in late.text) == (409, True, True)


def test_a_verdict_is_changed_released_and_used(researcher: TestClient, work: Work) -> None:
    pair = put_up(work)
    give(researcher, pair)
    changing = researcher.get(f"/verdicts/{pair}?change=yes").text
    assert 'value="2" required checked' in changing
    assert ">\nIt says who.</textarea>" in changing
    assert give(researcher, pair, "8", first="") == 303
    assert researcher.post(f"/verdicts/{pair}/release").status_code == 303
    assert "labelers see it" in researcher.get(f"/verdicts/{pair}").text
    assert researcher.post(f"/verdicts/{pair}/withdraw").status_code == 303
    assert "labelers see it" not in researcher.get(f"/verdicts/{pair}").text
    assert researcher.post(f"/verdicts/{pair}/use", data={"purpose": "gold"}).status_code == 303
    assert researcher.post(f"/verdicts/{pair}/use", data={"purpose": "gold"}).status_code == 409
    assert researcher.post(f"/verdicts/{pair}/use", data={"purpose": "ordinary"}).status_code == 422
    page = researcher.get(f"/verdicts/{pair}").text
    copy = re.search(r'href="/verdicts/(\d+)">Its copy as gold', page)
    assert copy is not None
    assert "Use as gold" not in page
    assert "Use as qualification" in page
    assert researcher.post(f"/verdicts/{pair}/retire").status_code == 409
    assert researcher.post(f"/verdicts/{copy[1]}/retire").status_code == 303
    assert "retired" in researcher.get("/verdicts?kind=gold").text
    assert "Put back" in researcher.get(f"/verdicts/{copy[1]}").text
    assert researcher.post(f"/verdicts/{copy[1]}/put-back").status_code == 303
    assert researcher.get("/verdicts/999999").status_code == 404


def test_the_list_tells_nothing_of_a_pair_before_its_verdict(admin: TestClient, work: Work) -> None:
    with work() as session:
        pairs = factories.pairs(session, 2, opinions=2, name="some")
        session.execute(update(Comparison).values(kind=ComparisonKind.SENTINEL))
        for value in (1, 9):
            worker = factories.labeler(session)
            for showing in factories.hold(session, worker, 2):
                session.execute(update(Showing).where(Showing.id == showing).values(swapped=False))
                session.expire_all()
                factories.say(session, worker, showing, value)
        factories.verdict(session, pairs.comparisons[0], factories.admin(session))
    without, given = re.findall(r"<tr>\s*<th scope=.row.*?</tr>", admin.get("/verdicts").text, re.DOTALL)
    assert f"/verdicts/{pairs.comparisons[0]}" in given
    assert ("sentinel" in given, "disagree" in given) == (True, True)
    assert ("sentinel" in without, "agree" in without) == (False, False)
    listed = re.findall(r'href="/verdicts/(\d+)"', admin.get("/verdicts?kind=sentinel").text)
    assert listed == [str(pairs.comparisons[0])]


def test_the_list_is_searched(admin: TestClient, work: Work) -> None:
    assert "No comparisons yet" in admin.get("/verdicts").text
    with work() as session:
        factories.pairs(session, 55, name="many")
        one = factories.pairs(session, 1, name="one")
        [gold] = factories.standing(session, BatchPurpose.GOLD)
    first = admin.get("/verdicts").text
    older = re.search(r'href="(/verdicts\?before=\d+)" rel="next"', first)
    assert older is not None
    assert len(re.findall(r'<th scope="row"', first)) == 50
    assert len(re.findall(r'<th scope="row"', admin.get(older[1]).text)) == 8
    assert re.findall(r'href="/verdicts/(\d+)"', admin.get(f"/verdicts?batch={one.batch_id}").text) == [
        str(one.comparisons[0])
    ]
    assert re.findall(r'href="/verdicts/(\d+)"', admin.get("/verdicts?kind=gold").text) == [str(gold)]
    assert "Nothing found" in admin.get("/verdicts?only=disagreed").text
    for odd in ("batch=x", "batch=-1", f"batch={'9' * 20}", "kind=x", "only=x", "before=²", "before=0"):
        assert admin.get(f"/verdicts?{odd}").status_code == 200, odd


def test_gold_is_like_any_other_pair_on_the_wire(labeler: TestClient, work: Work) -> None:
    with work() as session:
        gold = factories.standing(session, BatchPurpose.GOLD, 6)
        batch = factories.pairs(session, 20).batch_id
        session.get_one(Batch, batch).protocol = Protocol(gold_share=0.4).to_dict()
    held = labeler.post("/api/leases", json={"ahead": 12})
    items = held.json()["items"]
    assert len(items) == 12
    shapes, kinds = set(), set()
    for item in items:
        with work() as session:
            slot = factories.slot_of(session, item["showing"])
            is_gold = slot.comparison_id in gold
            assert (slot.for_labeler_id is not None) is is_gold
        answer = {"showing": item["showing"], "key": str(uuid4()), "value": 3, "seconds": 4}
        said = labeler.post("/api/preferences", json=answer)
        opened = labeler.get(f"/api/answers/{item['showing']}")
        assert said.json()["feedback"] is None
        kinds.add(is_gold)
        shapes.add(
            (
                item["task"],
                item["practice"],
                item["notes_first"],
                tuple(sorted(item)),
                tuple(sorted(item["document"])),
                tuple(tuple(sorted(side)) for side in item["summaries"]),
                item["expires_at"],
                said.status_code,
                tuple(sorted(said.json())),
                tuple(sorted(said.headers)),
                tuple(sorted(opened.json()["item"])),
            )
        )
    assert kinds == {True, False}
    assert len(shapes) == 1, "nothing tells them apart"
    assert "gold" not in held.text


def test_the_slot_of_a_gold_pair_is_made_and_leased_in_one_request(labeler: TestClient, work: Work) -> None:
    with work() as session:
        gold = factories.standing(session, BatchPurpose.GOLD, 4)
        batch = factories.pairs(session, 8).batch_id
        session.get_one(Batch, batch).protocol = Protocol(gold_share=0.5).to_dict()
    labeler.post("/api/leases", json={"ahead": 8})
    with work() as session:
        states = [state for pair in gold for state in factories.slot_states(session, pair)]
        assert set(states) == {"leased"}
