"""Admins say which pairs are given out, to whom and in which order, and ask for more."""

import re
from collections.abc import Sequence

from sqlalchemy import select
from starlette.testclient import TestClient

from app.domain.words import LabelerKind, Role, RunState, Stage
from app.jobs import Job, run_job
from app.services import rounds
from app.store import people, runs
from app.store.tables import Batch, BatchLabeler, Run, Slot
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories

EVIL = "<script>alert(1)</script>"


def recipe_id(work: Work, name: str = "tiny") -> str:
    with work() as session:
        return next(str(row.id) for row in rounds.recipes(session) if row.name == name)


def given_to(client: TestClient, ahead: int = 3) -> int:
    answer = client.post("/api/leases", json={"ahead": ahead})
    assert answer.status_code == 200
    return len(answer.json()["items"])


def assigned(work: Work, batch_id: int) -> Sequence[int]:
    with work() as session:
        return session.scalars(select(BatchLabeler.labeler_id).where(BatchLabeler.batch_id == batch_id)).all()


def test_an_empty_queue_says_what_to_do(admin: TestClient, work: Work) -> None:
    assert "There are no training documents yet." in admin.get("/batches").text
    with work() as session:
        factories.document(session)
    assert "Sample pairs below, or launch a round" in admin.get("/batches").text


def test_batches_are_listed_with_their_counts(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, 4, opinions=2, name=f"first {EVIL}", for_kind=LabelerKind.HUMAN)
    assert given_to(labeler, 1) == 1
    row = re.search(r"<tbody>.*?</tbody>", admin.get("/batches").text, re.DOTALL)
    assert row is not None
    cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row[0], re.DOTALL)]
    assert cells[:8] == [
        f"first {EVIL}".replace("<", "&lt;").replace(">", "&gt;"),
        "4",
        "0",
        "8",
        "0",
        "all people",
        "",
        "open",
    ]
    assert EVIL not in row[0]


def test_a_paused_batch_gives_out_nothing_and_goes_on(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        batch = factories.pairs(session, 3).batch_id
    assert given_to(labeler, 1) == 1
    assert admin.post(f"/batches/{batch}/pause").headers["location"] == f"/batches/{batch}"
    page = admin.get(f"/batches/{batch}").text
    assert ("is paused" in page, "Continue" in page) == (True, True)
    assert given_to(labeler, 3) == 1, "what is held may be answered, nothing more is given out"
    admin.post(f"/batches/{batch}/continue")
    assert given_to(labeler, 3) == 3


def test_the_priority_decides_what_is_given_out_first(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.pairs(session, 1, name="first")
        late = factories.pairs(session, 1, name="late").batch_id
    assert admin.post(f"/batches/{late}/priority", data={"priority": " 7 "}).status_code == 303
    assert "late has the priority 7." in admin.get(f"/batches/{late}").text
    assert given_to(labeler, 1) == 1
    with work() as session:
        held = session.scalars(select(Slot.batch_id).where(Slot.labeler_id.is_not(None))).all()
    assert held == [late]
    for bad, words in (
        ("", "not a whole number"),
        ("1.5", "not a whole number"),
        ("9" * 5000, "not a whole number"),
        ("1001", "off the scale"),
        ("-1001", "off the scale"),
        (EVIL, "not a whole number"),
    ):
        answer = admin.post(f"/batches/{late}/priority", data={"priority": bad})
        assert answer.status_code == 422, bad[:20]
        if len(bad) <= 1000:
            assert words in answer.text
            assert f'value="{bad.replace("<", "&lt;").replace(">", "&gt;")}"' in answer.text
    with work() as session:
        assert session.get_one(Batch, late).priority == 7


def test_a_batch_is_for_the_people_chosen(front: Front, admin: TestClient, labeler: TestClient, work: Work) -> None:
    bob = front.signed_in("Bob", Role.LABELER)
    front.signed_in("Rosa", Role.RESEARCHER)
    front.signed_in("Sim", Role.LABELER, LabelerKind.SIMULATED)
    with work() as session:
        batch = factories.pairs(session, 2, for_kind=LabelerKind.HUMAN).batch_id
        ids = {name: row.id for name, row in people.labelers_by_name(session, ["Ada", "Bob", "Rosa", "Sim"]).items()}
    page = admin.get(f"/batches/{batch}").text
    offered = {int(each) for each in re.findall(r'name="people" type="checkbox" value="(\d+)"', page)}
    assert offered == {ids["Ada"], ids["Bob"]}, "labelers of the batch's kind, and nobody who sees policies"
    assert admin.post(f"/batches/{batch}/people", data={"people": [ids["Bob"]]}).status_code == 303
    assert (given_to(labeler), given_to(bob)) == (0, 2)
    assert re.search(rf'value="{ids["Bob"]}" checked', admin.get(f"/batches/{batch}").text)
    admin.post(f"/people/{ids['Bob']}/deactivate")
    page = admin.get(f"/batches/{batch}").text
    assert "(deactivated)" in page
    for bad in (str(ids["Rosa"]), str(ids["Sim"]), "999999", "9" * 30, "x"):
        assert admin.post(f"/batches/{batch}/people", data={"people": [bad]}).status_code == 422, bad
    assert assigned(work, batch) == [ids["Bob"]]
    assert admin.post(f"/batches/{batch}/people", data={}).status_code == 303
    assert assigned(work, batch) == []


def test_unknown_batches_and_runs_are_not_there(admin: TestClient, work: Work) -> None:
    with work() as session:
        other = factories.own_run(session, Stage.EXPORT).id
    for path in (
        "/batches/999/pause",
        "/batches/999/continue",
        "/batches/999/people",
        f"/batches/samples/{other}/cancel",
    ):
        assert admin.post(path).status_code == 404, path
    assert admin.post("/batches/999/priority", data={"priority": "1"}).status_code == 404
    assert admin.get("/batches/999").status_code == 404


def test_pairs_are_asked_for_and_followed(admin: TestClient, work: Work, sent: list[Job]) -> None:
    recipe = recipe_id(work)
    asked = admin.post("/batches/samples", data={"pairs": "12", "recipe": recipe, "simulated": "yes"})
    assert asked.headers["location"] == "/batches"
    (job,) = sent
    assert job.run_id is not None
    assert job == run_job(Stage.SAMPLE, job.run_id)
    with work() as session:
        run = runs.run(session, job.run_id)
        assert run is not None
        assert run.payload == {"for": "queue", "recipe_id": int(recipe), "pairs": 12, "with_simulated": True}
    page = admin.get("/batches").text
    for words in ("12 pairs, tiny, with simulated labelers", "Waiting for a worker.", 'data-live="on"'):
        assert words in page, words
    admin.post(f"/batches/samples/{job.run_id}/cancel")
    assert 'data-live="on"' not in admin.get("/batches").text
    with work() as session:
        failed = session.get_one(Run, job.run_id)
        runs.end(session, failed, RunState.FAILED, words="Failed.", problem=f"No model. {EVIL}")
    page = admin.get("/batches").text
    assert ("No model." in page, EVIL in page) == (True, False)


def test_refused_pairs_keep_what_was_typed(admin: TestClient, work: Work, sent: list[Job]) -> None:
    recipe = recipe_id(work)
    for pairs, chosen, words in (
        ("", recipe, "not a whole number"),
        ("many", recipe, "not a whole number"),
        ("0", recipe, "0 pairs cannot be sampled at once."),
        ("100001", recipe, "100001 pairs cannot be sampled at once."),
        ("5", "", "The recipe is not a whole number"),
    ):
        answer = admin.post("/batches/samples", data={"pairs": pairs, "recipe": chosen, "simulated": "yes"})
        assert (answer.status_code, words in answer.text) == (422, True), pairs
        assert f'name="pairs" type="number" value="{pairs}"' in answer.text
        assert 'value="yes" checked' in answer.text
    assert admin.post("/batches/samples", data={"pairs": "5", "recipe": "999999"}).status_code == 404
    with work() as session:
        factories.reference_document(session)
        boss = factories.admin(session)
        rounds.launch(session, boss, int(recipe), with_simulated=False)
    sent.clear()
    busy = admin.post("/batches/samples", data={"pairs": "5", "recipe": recipe})
    assert (busy.status_code, "Round 1 is going on" in busy.text, sent) == (409, True, [])
