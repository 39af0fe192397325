"""Admins say which pairs are given out, to whom and in which order, and ask for more."""

import re
from collections.abc import Sequence

from sqlalchemy import select
from starlette.testclient import TestClient

from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, Role, RunState, Stage
from app.jobs import Job, run_job
from app.services import rounds
from app.services.projects import the_project
from app.store import corpus, people, runs
from app.store.tables import Batch, BatchLabeler, Comparison, Run, Slot
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
    asked = admin.post(
        "/batches/samples", data={"pairs": "12", "recipe": recipe, "simulated": "yes", "notes_first": "yes"}
    )
    assert asked.headers["location"] == "/batches"
    (job,) = sent
    assert job.run_id is not None
    assert job == run_job(Stage.SAMPLE, job.run_id)
    with work() as session:
        run = runs.run(session, job.run_id)
        assert run is not None
        assert run.payload == {
            "for": "queue",
            "recipe_id": int(recipe),
            "pairs": 12,
            "with_simulated": True,
            "notes_first": True,
        }
    page = admin.get("/batches").text
    for words in ("12 pairs, tiny, notes first, with simulated labelers", "Waiting for a worker.", 'data-live="on"'):
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
    assert (busy.status_code, "Round 1 is about to put up its own pairs." in busy.text, sent) == (409, True, [])


# Opinions, protocol, ratings


def test_a_batch_is_asked_of_more_people_or_fewer(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        batch = factories.pairs(session, 3).batch_id
    assert admin.post(f"/batches/{batch}/opinions", data={"opinions": " 2 "}).status_code == 303
    page = admin.get(f"/batches/{batch}").text
    assert "It asks for 2 opinions each. 3 more are open. The rest waits: 1 person judges at present." in page
    assert 'name="opinions" type="number" value="2"' in page
    assert "0 given, 6 open" in page
    assert given_to(labeler, 3) == 3
    admin.post(f"/batches/{batch}/opinions", data={"opinions": "1"})
    page = admin.get(f"/batches/{batch}").text
    assert "It asks for 1 opinion each. 3 open ones became void." in page
    assert "0 given, 3 open" in page
    for bad, words in (("", "not a whole number"), ("0", "0 opinions cannot be asked for."), ("101", "101 opinions")):
        answer = admin.post(f"/batches/{batch}/opinions", data={"opinions": bad})
        assert (answer.status_code, words in answer.text) == (422, True), bad
        assert f'name="opinions" type="number" value="{bad}"' in answer.text
    assert admin.post("/batches/999/opinions", data={"opinions": "1"}).status_code == 404


def test_a_batch_says_how_its_pairs_are_judged(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        batch = factories.pairs(session, 2).batch_id
    before = labeler.post("/api/leases", json={"ahead": 1}).json()["items"]
    changed = admin.post(f"/batches/{batch}/protocol", data={"notes_first": "yes", "gold_share": "7.5"})
    assert changed.status_code == 303
    page = admin.get(f"/batches/{batch}").text
    assert 'name="gold_share" type="number" value="7.5"' in page
    assert re.search(r'name="notes_first" type="checkbox" value="yes" checked', page)
    items = labeler.post("/api/leases", json={"ahead": 2}).json()["items"]
    assert [(each["showing"] == before[0]["showing"], each["notes_first"]) for each in items] == [
        (True, False),
        (False, True),
    ]
    assert [each["document"] is None for each in items] == [False, True]
    refused = admin.post(f"/batches/{batch}/protocol", data={"gold_share": "51"})
    assert (refused.status_code, "must be 0 to 50%" in refused.text) == (422, True)
    assert 'name="gold_share" type="number" value="51"' in refused.text
    with work() as session:
        assert session.get_one(Batch, batch).protocol["gold_share"] == 0.075


def test_a_batch_tells_its_kinds_of_pairs(admin: TestClient, work: Work) -> None:
    with work() as session:
        pairs = factories.pairs(session, 3, protocol=Protocol(shared_share=0.5, shared_opinions=4))
        session.get_one(Comparison, pairs.comparisons[0]).kind = ComparisonKind.SHARED
        session.get_one(Comparison, pairs.comparisons[1]).kind = ComparisonKind.SENTINEL
    page = re.sub(r"\s+", " ", admin.get(f"/batches/{pairs.batch_id}").text)
    for words in (
        "<dt>ordinary</dt><dd>1, 1 opinion each</dd>",
        "<dt>shared pool</dt><dd>1, 4 opinions each</dd>",
        "<dt>sentinel</dt><dd>1, the fixed baseline against the reference</dd>",
    ):
        assert words in page, words


def test_standing_pairs_are_paused_and_nothing_else(admin: TestClient, work: Work) -> None:
    with work() as session:
        gold = factories.standing(session, BatchPurpose.GOLD, 2)
        batch = session.get_one(Comparison, gold[0]).batch_id
    page = admin.get(f"/batches/{batch}").text
    assert ("2 gold pairs" in page, "each labeler once" in page, "standing" in page) == (True, True, True)
    for path in ("opinions", "protocol", "priority", "people"):
        assert f'action="/batches/{batch}/{path}"' not in page, path
    assert f'action="/batches/{batch}/pause"' in page
    assert admin.post(f"/batches/{batch}/opinions", data={"opinions": "2"}).status_code == 409
    assert admin.post(f"/batches/{batch}/protocol", data={"gold_share": "1"}).status_code == 409


def test_summaries_are_put_up_for_rating(admin: TestClient, labeler: TestClient, work: Work) -> None:
    assert "Nobody has written a summary yet." in admin.get("/batches").text
    with work() as session:
        for _ in range(3):
            factories.summary(session, factories.document(session).id, policy=f"sup1 {EVIL}")
        name = f"sup1 {EVIL}"
        policy = str(corpus.policies_by_name(session, the_project(session).id, [name])[name].id)
    assert EVIL not in admin.get("/batches").text
    form = {"policy": policy, "documents": "2", "opinions": "2"}
    put_up = admin.post("/batches/ratings", data=form)
    assert put_up.status_code == 303
    page = admin.get(put_up.headers["location"]).text
    assert ("2 summaries are up for rating." in page, "2 summaries to rate" in page) == (True, True)
    assert "/comparisons" not in page
    assert "How a pair is judged" not in page
    batch = int(put_up.headers["location"].rsplit("/", 1)[1])
    assert [each["task"] for each in labeler.post("/api/leases", json={"ahead": 3}).json()["items"]] == ["rate"] * 2
    row = re.search(r"<tbody>.*?</tbody>", admin.get("/batches").text, re.DOTALL)
    assert row is not None and "to rate" in row[0]
    assert admin.post(f"/batches/{batch}/priority", data={"priority": "3"}).status_code == 303
    assert admin.post(f"/batches/{batch}/pause").status_code == 303
    admin.post("/batches/ratings", data=form)
    none_left = admin.post("/batches/ratings", data=form)
    assert (none_left.status_code, "no summary that was not put up" in none_left.text) == (409, True)
    for field, bad in (("policy", ""), ("policy", "999"), ("documents", "0"), ("documents", "x"), ("opinions", "101")):
        answer = admin.post("/batches/ratings", data={**form, field: bad})
        assert (answer.status_code, f'href="#field-{field}"' in answer.text) == (422, True), (field, bad)


def test_batches_are_listed_page_by_page(admin: TestClient, work: Work) -> None:
    with work() as session:
        ids = [factories.pairs(session, 0).batch_id for _ in range(60)][::-1]

    def shown(path: str) -> list[int]:
        return [int(each) for each in re.findall(r'<th scope="row"><a href="/batches/(\d+)"', admin.get(path).text)]

    assert shown("/batches") == ids[:50]
    [older] = re.findall(r'href="([^"]*)" rel="next"', admin.get("/batches").text)
    assert shown(older) == ids[50:]
    [newer] = re.findall(r'href="([^"]*)" rel="prev"', admin.get(older).text)
    assert newer == "/batches"
    assert admin.get("/batches?before=0").status_code in (400, 404, 422)
