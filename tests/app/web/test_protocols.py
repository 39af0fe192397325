"""An admin says what new batches ask, in percent, and is told what does not work out."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from app.domain.protocols import Protocol
from app.services import protocols
from app.services.projects import the_project
from app.store import corpus
from tests.conftest import Work
from tests.support import factories as make

FORM = {
    "shared_share": "15",
    "shared_opinions": "3",
    "sentinel": "",
    "sentinel_share": "0",
    "calibration_share": "2.5",
    "gold_share": "5",
}


def default(work: Work) -> protocols.Default:
    with work() as session:
        return protocols.default(session)


def baseline(work: Work, documents: int = 0) -> str:
    with work() as session:
        for _ in range(documents):
            make.summary(session, make.reference_document(session).id, policy="sup1")
        return str(corpus.policies_by_name(session, the_project(session).id, ["sup1"])["sup1"].id)


def values(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(\w+)" type="number" value="([^"]*)"', page))


def test_the_form_shows_what_is_in_force_and_saves_what_is_typed(admin: TestClient, work: Work) -> None:
    page = admin.get("/batches/protocol").text
    assert values(page) == {
        "shared_share": "0",
        "shared_opinions": "3",
        "sentinel_share": "0",
        "calibration_share": "0",
        "gold_share": "0",
    }
    for words in ("10 to 20 %", "Notes first", "Fixed baseline", "Researchers and gold"):
        assert words in page, words
    saved = admin.post("/batches/protocol", data={**FORM, "notes_first": "yes", "sentinel": baseline(work)})
    assert (saved.status_code, saved.headers["location"]) == (303, "/batches/protocol")
    told = default(work)
    assert told.protocol == Protocol(
        notes_first=True, shared_share=0.15, shared_opinions=3, calibration_share=0.025, gold_share=0.05
    )
    assert str(told.sentinel_policy_id) == baseline(work)
    page = admin.get("/batches/protocol").text
    assert "Saved." in page
    assert (values(page)["shared_share"], values(page)["calibration_share"]) == ("15", "2.5")
    assert re.search(r'name="notes_first" type="checkbox" value="yes" checked', page)
    assert f'value="{baseline(work)}" selected' in page


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("shared_share", "", "The share of the shared pool is not a number."),
        ("shared_share", "half", "The share of the shared pool is not a number."),
        ("shared_share", "51", "The share of the shared pool must be 0 to 50%."),
        ("shared_share", "-1", "The share of the shared pool must be 0 to 50%."),
        ("shared_share", "nan", "The share of the shared pool must be 0 to 50%."),
        ("shared_opinions", "1", "A shared pair needs 2 to 100 opinions."),
        ("shared_opinions", "2.5", "The number of labelers is not a whole number."),
        ("sentinel_share", "10", "Sentinel pairs need a baseline."),
        ("sentinel", "999999", "This policy cannot be the baseline."),
        ("sentinel", "x", "The policy is not a whole number."),
        ("calibration_share", "60", "The share for researchers must be 0 to 50%."),
        ("gold_share", "<b>", "The share of gold pairs is not a number."),
    ],
)
def test_what_cannot_be_is_refused_and_kept(admin: TestClient, work: Work, field: str, typed: str, words: str) -> None:
    answer = admin.post("/batches/protocol", data={**FORM, field: typed})
    assert answer.status_code == 422
    assert words in unescape(answer.text)
    assert "<b>" not in answer.text
    if field not in ("sentinel", "sentinel_share"):
        assert unescape(values(answer.text)[field]) == typed
    assert default(work).protocol == Protocol()


def test_percent_may_be_written_as_people_do(admin: TestClient, work: Work) -> None:
    for typed, share in (("12,5", 0.125), (" 20 % ", 0.2), ("7", 0.07)):
        assert admin.post("/batches/protocol", data={**FORM, "shared_share": typed}).status_code == 303
        assert default(work).protocol.shared_share == pytest.approx(share)


def test_it_warns_when_shared_pairs_would_wait_for_people(admin: TestClient, labeler: TestClient, work: Work) -> None:
    assert labeler
    assert "they wait" not in admin.get("/batches/protocol").text
    admin.post("/batches/protocol", data=FORM)
    page = admin.get("/batches/protocol").text
    assert "One person judges at present, and pairs of the shared pool ask 3: they wait" in page
    with work() as session:
        for _ in range(2):
            make.labeler(session)
    assert "they wait" not in admin.get("/batches/protocol").text


def test_it_says_when_there_is_nothing_to_make_sentinels_of(admin: TestClient, work: Work) -> None:
    admin.post("/batches/protocol", data={**FORM, "sentinel": baseline(work), "sentinel_share": "5"})
    assert "has written no summary of a document that has a reference yet" in admin.get("/batches/protocol").text
    baseline(work, documents=1)
    assert "has written no summary" not in admin.get("/batches/protocol").text


def test_new_batches_are_announced_with_what_the_protocol_adds(admin: TestClient, work: Work) -> None:
    assert "By the" not in admin.get("/batches").text
    admin.post(
        "/batches/protocol",
        data={**FORM, "notes_first": "yes", "sentinel": baseline(work), "sentinel_share": "4"},
    )
    page = admin.get("/batches").text
    for words in (
        "15 % ask 3 people each.",
        "4 % more set the fixed baseline against the reference.",
        "2.5 % are put before researchers&#39; accounts, too.",
        "5 % of what labelers are given meanwhile are gold pairs.",
    ):
        assert words in page, words
    assert re.search(r'name="notes_first" type="checkbox" value="yes" checked', page)


def test_only_admins_say_how_pairs_are_judged(
    admin: TestClient, researcher: TestClient, labeler: TestClient, nobody: TestClient, work: Work
) -> None:
    assert admin
    for client, status in ((researcher, 403), (labeler, 403), (nobody, 303)):
        assert client.get("/batches/protocol").status_code == status
        assert client.post("/batches/protocol", data=FORM).status_code in (status, 401)
    assert default(work).protocol == Protocol()
