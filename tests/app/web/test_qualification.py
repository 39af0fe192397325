"""Admins set the gate, see who passed and why, and decide by hand."""

from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from app.domain.words import BatchPurpose, Role
from app.services.projects import the_project
from app.store import people as store
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories

GATE = {"required": "yes", "agreement": "75", "seconds": "60"}


def id_of(work: Work, name: str) -> int:
    with work() as session:
        row = store.labeler_by_name(session, name)
        assert row is not None
        return row.id


def practice(work: Work, count: int) -> list[int]:
    with work() as session:
        return factories.standing(session, BatchPurpose.QUALIFICATION, count)


def answer_all(labeler: TestClient, work: Work, value: int) -> list[dict[str, object]]:
    """Answer what the labeler is given, `value` in the comparison's own frame; the feedback on each."""
    told = []
    while items := labeler.post("/api/leases", json={"ahead": 1}).json()["items"]:
        showing = items[0]["showing"]
        with work() as session:
            swapped = factories.shown(session, showing).swapped
        body = {"showing": showing, "key": str(uuid4()), "value": 10 - value if swapped else value, "seconds": 9}
        said = labeler.post("/api/preferences", json=body)
        assert said.status_code == 200, said.text
        told.append(said.json()["feedback"])
    return told


def test_a_newcomer_practises_over_the_wire_and_begins(admin: TestClient, labeler: TestClient, work: Work) -> None:
    practice(work, 3)
    assert admin.post("/people/qualification", data=GATE).status_code == 303
    [item] = labeler.post("/api/leases", json={"ahead": 1}).json()["items"]
    assert item["practice"] is True
    told = answer_all(labeler, work, 1)
    assert [each and each["agrees"] for each in told] == [True] * 3
    assert all(each and "Because of" in str(each["reason"]) for each in told)
    page = admin.get("/people/qualification").text
    assert "On the researchers&#39; side in 3 of 3 pairs (100%), 9 seconds for the median pair." in page
    with work() as session:
        factories.pairs(session, 1)
    [ordinary] = labeler.post("/api/leases", json={"ahead": 1}).json()["items"]
    assert ordinary["practice"] is False
    assert ordinary.keys() == item.keys()


def test_who_does_not_pass_waits_until_an_admin_decides(admin: TestClient, labeler: TestClient, work: Work) -> None:
    practice(work, 2)
    with work() as session:
        factories.pairs(session, 1)
    admin.post("/people/qualification", data=GATE)
    answer_all(labeler, work, 9)
    before = labeler.post("/api/leases", json={"ahead": 1}).json()["before"]
    assert (before["href"], "Thank you" in before["words"]) == ("/guidelines", True)
    ada = id_of(work, "Ada")
    page = admin.get(f"/people/qualification/{ada}").text
    assert "where 75% is asked for" in page
    assert page.count("<strong>no</strong>") == 2
    refused = admin.post(f"/people/qualification/{ada}/pass", data={"reason": " "})
    assert (refused.status_code, "Say why." in refused.text) == (422, True)
    full = admin.post(f"/people/qualification/{ada}/again", data={"reason": "Once more."})
    assert (full.status_code, "Put up new ones first" in full.text, "Once more." in full.text) == (409, True, True)
    practice(work, 1)
    again = admin.post(f"/people/qualification/{ada}/again", data={"reason": "Once more."})
    assert again.status_code == 303
    assert "may try again" in admin.get("/people/qualification").text
    [item] = labeler.post("/api/leases", json={"ahead": 5}).json()["items"]
    assert item["practice"] is True
    passed = admin.post(f"/people/qualification/{ada}/pass", data={"reason": "We talked."})
    assert passed.headers["location"] == f"/people/qualification/{ada}"
    assert "admin: We talked." in admin.get("/people/qualification").text


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"agreement": "x"}, "The least agreement is not a number."),
        ({"agreement": "101"}, "The least agreement must be 0 to 100%."),
        ({"agreement": "-1"}, "The least agreement must be 0 to 100%."),
        ({"agreement": "nan"}, "The least agreement must be 0 to 100%."),
        ({"seconds": ""}, "The longest time is not a number."),
        ({"seconds": "0"}, "The longest time must be 1 to 3600 seconds."),
        ({"seconds": "inf"}, "The longest time must be 1 to 3600 seconds."),
        ({"seconds": "9" * 30}, "The longest time is not a number."),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_and_kept_as_typed(
    admin: TestClient, work: Work, typed: dict[str, str], words: str
) -> None:
    practice(work, 1)
    refused = admin.post("/people/qualification", data=GATE | typed)
    assert (refused.status_code, words in refused.text) == (422, True)
    for value in (GATE | typed).values():
        assert f'value="{value}"' in refused.text or value == ""
    with work() as session:
        assert the_project(session).gate == {}


def test_a_gate_without_practice_pairs_is_refused(admin: TestClient, work: Work) -> None:
    refused = admin.post("/people/qualification", data=GATE)
    assert (refused.status_code, "nobody could pass" in refused.text) == (422, True)
    opened = admin.post("/people/qualification", data=GATE | {"required": ""})
    assert opened.status_code == 303
    with work() as session:
        assert the_project(session).gate == {"required": False, "agreement": 0.75, "seconds": 60.0}


def test_accounts_that_are_not_asked_have_no_page(admin: TestClient, front: Front, work: Work) -> None:
    front.signed_in("Rosa", Role.RESEARCHER)
    invited = {"name": "Rosa judges", "role": "labeler", "kind": "human", "calibrates": "yes"}
    assert admin.post("/people", data=invited).status_code == 201
    for name in ("admin", "Rosa", "Rosa judges"):
        assert admin.get(f"/people/qualification/{id_of(work, name)}").status_code == 404
    page = admin.get("/people/qualification").text
    assert "a researcher&#39;s account, not asked" in page or "a researcher's account, not asked" in page
