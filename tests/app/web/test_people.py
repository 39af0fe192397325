"""Admins look after accounts."""

import re
from threading import Barrier, Thread

from starlette.testclient import TestClient

from app.domain.errors import NotSignedIn
from app.domain.words import LabelerKind, Role
from app.services import people
from app.store import people as store
from tests.app.web.conftest import PASSWORD, Front
from tests.conftest import Work
from tests.support import factories


def id_of(work: Work, name: str) -> int:
    with work() as session:
        row = store.labeler_by_name(session, name)
        assert row is not None
        return row.id


def link_in(page: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:8700(/link/[\w-]+)", page)
    assert found is not None
    return found[1]


def test_an_admin_invites_and_the_link_is_shown_once(front: Front, admin: TestClient) -> None:
    assert "Nobody judges yet" in admin.get("/people").text
    made = admin.post("/people", data={"name": " Ada ", "role": "labeler", "kind": "human"})
    assert made.status_code == 201
    link = link_in(made.text)
    listed = admin.get("/people").text
    assert link not in listed
    assert "invited" in listed
    assert "link open until" in listed
    ada = front.browser()
    assert "Ada" in ada.get(link).text
    assert ada.post(link, data={"password": PASSWORD}).status_code == 303
    assert ada.get("/").headers["location"] == "/label"
    assert "Nobody judges yet" not in admin.get("/people").text


TYPED: list[tuple[dict[str, str], int, str]] = [
    ({"name": "", "role": "labeler"}, 422, "1 to 120 visible characters"),
    ({"name": "a\nb", "role": "labeler"}, 422, "1 to 120 visible characters"),
    ({"name": "a\0b", "role": "labeler"}, 422, "1 to 120 visible characters"),
    ({"name": "import:7", "role": "labeler"}, 422, "belong to imported comparisons"),
    ({"name": "Ada", "role": ""}, 422, "Choose what the account is for"),
    ({"name": "Ada", "role": "root"}, 422, "Choose what the account is for"),
    ({"name": "Ada", "role": "labeler", "kind": "robot"}, 422, "Choose who stands behind"),
    ({"name": "Ada", "role": "admin", "kind": "simulated"}, 422, "has the role labeler"),
    ({"name": "Ada", "role": "researcher", "calibrates": "yes"}, 422, "with an account of the role labeler"),
    ({"name": "Ada", "role": "labeler", "kind": "simulated", "calibrates": "yes"}, 422, "as a person"),
    ({"name": "ADMIN", "role": "labeler"}, 409, "already an account"),
    ({"name": "<script>alert(1)</script>", "role": "nope"}, 422, "&lt;script&gt;alert(1)&lt;/script&gt;"),
]


def test_a_refused_invitation_keeps_what_was_typed(admin: TestClient) -> None:
    for typed, status, words in TYPED:
        answer = admin.post("/people", data=typed)
        assert (answer.status_code, words in answer.text) == (status, True), typed
        assert "<script>alert" not in answer.text
        if typed["name"].isprintable() and "<" not in typed["name"]:
            assert f'name="name" type="text" value="{typed["name"]}"' in answer.text
        if typed["role"] in list(Role):
            assert re.search(rf'value="{typed["role"]}" checked', answer.text)


def test_a_reset_ends_older_links_and_sessions(
    front: Front, admin: TestClient, labeler: TestClient, work: Work
) -> None:
    ada = id_of(work, "Ada")
    first = link_in(admin.post(f"/people/{ada}/reset").text)
    assert labeler.get("/account").status_code == 200, "until the link is used"
    second = link_in(admin.post(f"/people/{ada}/reset").text)
    other = front.browser()
    assert other.get(first).status_code == 404
    assert other.post(second, data={"password": "a wholly new password"}).status_code == 303
    assert labeler.get("/account").status_code == 303
    assert labeler.post("/sign-in", data={"name": "Ada", "password": PASSWORD}).status_code == 401


def test_a_deactivated_account_is_out_at_once(front: Front, admin: TestClient, labeler: TestClient, work: Work) -> None:
    ada = id_of(work, "Ada")
    program = front.program(labeler)
    assert admin.post(f"/people/{ada}/deactivate").headers["location"] == "/people"
    assert "Ada can no longer sign in." in admin.get("/people").text
    assert labeler.get("/account").status_code == 303
    assert program.post("/api/leases", json={}).status_code == 401
    assert labeler.post("/sign-in", data={"name": "Ada", "password": PASSWORD}).status_code == 401
    assert admin.post(f"/people/{ada}/reset").status_code == 409
    admin.post(f"/people/{ada}/activate")
    assert labeler.post("/sign-in", data={"name": "Ada", "password": PASSWORD}).status_code == 303


def test_nobody_puts_themselves_out(admin: TestClient, work: Work) -> None:
    own = id_of(work, "admin")
    refused = admin.post(f"/people/{own}/deactivate")
    assert (refused.status_code, "Ask another admin." in refused.text) == (409, True)
    assert f"/people/{own}/deactivate" not in admin.get("/people").text


def test_two_admins_cannot_put_each_other_out(work: Work) -> None:
    with work() as session:
        both = [factories.admin(session), factories.admin(session)]
    together = Barrier(2)
    refused: list[str] = []

    def put_out(actor: people.Viewer, other: people.Viewer) -> None:
        try:
            with work() as session:
                seen = store.labeler(session, actor.id)
                together.wait(10)
                assert seen is not None, "kept, so that the session holds a row that grows old"
                people.deactivate(session, actor, other.id)
        except NotSignedIn:
            refused.append(actor.name)

    threads = [Thread(target=put_out, args=pair) for pair in (both, both[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with work() as session:
        assert (len(refused), store.active_admins(session)) == (1, 1)


def test_a_researcher_gets_an_account_to_judge_with(front: Front, admin: TestClient, work: Work) -> None:
    invited = admin.post("/people", data={"name": "Rosa judges", "role": "labeler", "calibrates": "yes"})
    assert invited.status_code == 201
    program = front.program(admin)
    assert program.post("/api/people", json={"name": "Rolf judges", "calibrates": True}).status_code == 201
    assert program.post("/api/people", json={"name": "Bob"}).status_code == 201
    assert program.post("/api/people", json={"name": "x", "role": "admin", "calibrates": True}).status_code == 422
    with work() as session:
        rows = store.labelers_by_name(session, ["Rosa judges", "Rolf judges", "Bob"])
        assert {name: row.calibrates for name, row in rows.items()} == {
            "Rosa judges": True,
            "Rolf judges": True,
            "Bob": False,
        }
    assert admin.get("/people").text.count("labeler, a researcher") == 2


def test_unknown_and_imported_accounts_cannot_be_touched(admin: TestClient, work: Work) -> None:
    with work() as session:
        imported = store.add_labeler(session, "import:7", Role.LABELER, LabelerKind.HUMAN, active=False).id
    assert "import:7" not in admin.get("/people").text
    for labeler_id in (imported, 999_999):
        for what in ("reset", "deactivate", "activate"):
            assert admin.post(f"/people/{labeler_id}/{what}").status_code == 404
    assert admin.post("/people/99999999999999999999999/reset").status_code == 422


def test_programs_make_accounts(front: Front, admin: TestClient) -> None:
    program = front.program(admin)
    made = program.post("/api/people", json={"name": "Sim 1", "role": "labeler", "kind": "simulated"})
    assert made.status_code == 201
    assert made.json().keys() == {"id", "link"}
    simulated = front.browser()
    assert simulated.post(link_in(made.json()["link"]), data={"password": PASSWORD}).status_code == 303
    judge = front.program(simulated)
    assert judge.post("/api/leases", json={}).json()["items"] == []
    assert "simulated" in admin.get("/people").text
    assert program.post("/api/people", json={"name": "sim 1"}).status_code == 409
    half = program.post("/api/people", content=b'{"name": "\\ud800"}', headers={"content-type": "application/json"})
    assert half.status_code == 422
    assert program.post("/api/people", json={"name": "x", "role": "king"}).status_code == 422
    assert judge.post("/api/people", json={"name": "Eve", "role": "admin"}).status_code == 403
