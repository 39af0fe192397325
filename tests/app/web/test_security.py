"""Who may go where, what a labeler can learn, and what every response carries."""

import re
from collections.abc import Iterable, Iterator
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import func, select, update
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from app.domain.words import Role
from app.main import create_app
from app.services import rounds
from app.settings import Settings
from app.store.session import Sessions
from app.store.tables import Labeler, Policy
from app.web.errors import answer
from app.web.security import Headed, SameSite
from tests.app.web.conftest import PASSWORD, Front
from tests.conftest import Work
from tests.support import factories

NOBODY, LABELER, RESEARCHER, ADMIN = "nobody", Role.LABELER, Role.RESEARCHER, Role.ADMIN
WHO = (NOBODY, LABELER, RESEARCHER, ADMIN)
OPEN = frozenset(WHO)
SIGNED_IN = frozenset({LABELER, RESEARCHER, ADMIN})
STAFF = frozenset({RESEARCHER, ADMIN})
ADMINS = frozenset({ADMIN})
JUDGES = frozenset({LABELER})

# Every route and who may pass. A route that is missing here, or no longer there, fails a test below.
MAY = {
    "GET /": SIGNED_IN,
    "GET /account": SIGNED_IN,
    "POST /account/password": SIGNED_IN,
    "POST /account/tokens": SIGNED_IN,
    "POST /account/tokens/{token_id}/revoke": SIGNED_IN,
    "GET /sign-in": OPEN,
    "POST /sign-in": OPEN,
    "POST /sign-out": OPEN,
    "GET /link/{token}": OPEN,
    "POST /link/{token}": OPEN,
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
    "GET /label": JUDGES,
    "POST /api/leases": JUDGES,
    "POST /api/preferences": JUDGES,
    "POST /api/skips": JUDGES,
    "POST /api/notes": JUDGES,
    "POST /api/ratings": JUDGES,
    "POST /api/flags": JUDGES,
    "GET /api/answers/last": JUDGES,
    "GET /api/answers/{showing}": JUDGES,
    "POST /api/heartbeats": JUDGES,
    "POST /api/tokens": SIGNED_IN,
    "POST /api/people": ADMINS,
    "GET /people": ADMINS,
    "GET /people/invite": ADMINS,
    "POST /people": ADMINS,
    "POST /people/{labeler_id}/reset": ADMINS,
    "POST /people/{labeler_id}/deactivate": ADMINS,
    "POST /people/{labeler_id}/activate": ADMINS,
    "GET /people/qualification": ADMINS,
    "POST /people/qualification": ADMINS,
    "GET /people/qualification/{labeler_id}": ADMINS,
    "POST /people/qualification/{labeler_id}/pass": ADMINS,
    "POST /people/qualification/{labeler_id}/again": ADMINS,
    "GET /guidelines": SIGNED_IN,
    "POST /guidelines/confirm": JUDGES,
    "GET /guidelines/edit": ADMINS,
    "POST /guidelines/preview": ADMINS,
    "POST /guidelines": ADMINS,
    "GET /guidelines/versions/{version}": STAFF,
    "GET /verdicts": STAFF,
    "GET /verdicts/{comparison_id}": STAFF,
    "POST /verdicts/{comparison_id}": STAFF,
    "POST /verdicts/{comparison_id}/use": STAFF,
    "POST /verdicts/{comparison_id}/retire": STAFF,
    "POST /verdicts/{comparison_id}/put-back": STAFF,
    "POST /verdicts/{comparison_id}/release": STAFF,
    "POST /verdicts/{comparison_id}/withdraw": STAFF,
    "GET /flags": STAFF,
    "GET /flags/{flag_id}": STAFF,
    "POST /flags/{flag_id}": STAFF,
    "GET /quality": STAFF,
    "GET /quality/labelers/{labeler_id}": STAFF,
    "GET /me": JUDGES,
    "POST /me/questions": JUDGES,
    "GET /documents": STAFF,
    "GET /documents/{document_id}": STAFF,
    "GET /documents/import": STAFF,
    "POST /documents/import": STAFF,
    "GET /documents/imports/{run_id}": STAFF,
    "POST /documents/imports/{run_id}/cancel": STAFF,
    "GET /batches": ADMINS,
    "GET /batches/{batch_id}": ADMINS,
    "GET /batches/protocol": ADMINS,
    "POST /batches/protocol": ADMINS,
    "POST /batches/ratings": ADMINS,
    "POST /batches/{batch_id}/opinions": ADMINS,
    "POST /batches/{batch_id}/protocol": ADMINS,
    "GET /batches/{batch_id}/comparisons": ADMINS,
    "GET /comparisons/{comparison_id}": ADMINS,
    "POST /comparisons/{comparison_id}/ask-again": ADMINS,
    "POST /comparisons/{comparison_id}/take-back": ADMINS,
    "POST /comparisons/{comparison_id}/void": ADMINS,
    "POST /comparisons/{comparison_id}/void-open": ADMINS,
    "POST /batches/{batch_id}/pause": ADMINS,
    "POST /batches/{batch_id}/continue": ADMINS,
    "POST /batches/{batch_id}/priority": ADMINS,
    "POST /batches/{batch_id}/people": ADMINS,
    "POST /batches/samples": ADMINS,
    "POST /batches/samples/{run_id}/cancel": ADMINS,
    "GET /exports": STAFF,
    "POST /exports": STAFF,
    "POST /exports/runs/{run_id}/cancel": STAFF,
    "GET /exports/{export_id}/preferences.jsonl": STAFF,
    "GET /api/runs/{run_id}": STAFF,
    "GET /overview": STAFF,
    "GET /rounds": STAFF,
    "POST /rounds": ADMINS,
    "GET /rounds/{number}": STAFF,
    "GET /rounds/{number}/events": STAFF,
    "GET /rounds/recipes/{recipe_id}": STAFF,
    "POST /rounds/continuous": ADMINS,
    "POST /rounds/continuous/off": ADMINS,
    "GET /api/continuous": STAFF,
    "POST /api/continuous": ADMINS,
    "POST /api/continuous/off": ADMINS,
    "POST /rounds/{number}/cancel": ADMINS,
    "POST /rounds/{number}/finish-labeling": ADMINS,
    "POST /rounds/{number}/pause": ADMINS,
    "POST /rounds/{number}/resume": ADMINS,
    "POST /rounds/{number}/again": ADMINS,
    "POST /api/rounds": ADMINS,
    "GET /api/rounds/{number}": STAFF,
    "POST /api/rounds/{number}/cancel": ADMINS,
    "POST /api/rounds/{number}/pause": ADMINS,
    "POST /api/rounds/{number}/resume": ADMINS,
    "POST /api/rounds/{number}/again": ADMINS,
    "GET /workers": ADMINS,
    "POST /api/recipes": ADMINS,
    "GET /rounds/recipes/{recipe_id}/edit": ADMINS,
    "POST /rounds/recipes/{recipe_id}/edit": ADMINS,
    "GET /policies": STAFF,
    "GET /policies/{policy_id}": STAFF,
    "GET /policies/compare": STAFF,
    "GET /policies/checkpoints/{checkpoint_id}": STAFF,
    "GET /policies/checkpoints/{checkpoint_id}/card.md": STAFF,
    "POST /policies/{policy_id}/promote": ADMINS,
    "POST /policies/{policy_id}/roll-back": ADMINS,
}
JSON = {
    "/api/rounds/{number}/again": {"position": 1},
    "/api/leases": {"ahead": 2},
    "/api/preferences": {"showing": str(uuid4()), "key": str(uuid4()), "value": 3},
    "/api/skips": {"showing": str(uuid4()), "key": str(uuid4()), "reason": "other"},
    "/api/notes": {"showing": str(uuid4()), "key": str(uuid4()), "notes": ["one", "two"]},
    "/api/ratings": {"showing": str(uuid4()), "key": str(uuid4()), "overall": 4},
    "/api/flags": {"showing": str(uuid4()), "key": str(uuid4()), "reason": "other"},
    "/api/heartbeats": {"showings": [str(uuid4())]},
    "/api/tokens": {"name": "x"},
    "/api/people": {"name": "Somebody new"},
    "/api/rounds": {"recipe": "no such recipe"},
    "/api/continuous": {"recipe": "no such recipe"},
    "/api/recipes": {"name": ""},
}
FORM = {"name": "", "old": "x", "password": "x", "recipe": "999999", "pairs": "0", "priority": "x", "role": ""}


def routes(held: Iterable[BaseRoute]) -> Iterator[str]:
    """Every method and path that is answered, but for the static files."""
    for route in held:
        if isinstance(route, Route):
            yield from (f"{method} {route.path}" for method in sorted(route.methods or ()) if method != "HEAD")
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from routes(router.routes)


def knock(client: TestClient, route: str, number: int) -> Response:
    method, path = route.split(" ")
    where = re.sub(r"\{\w+\}", str(number), path.replace("{showing}", str(uuid4())))
    if method == "GET":
        return client.get(where)
    return client.post(where, json=JSON[path]) if path in JSON else client.post(where, data=FORM)


def test_every_route_has_its_place(app: FastAPI) -> None:
    assert sorted(routes(app.routes)) == sorted(MAY)


def test_every_route_lets_in_exactly_who_may(
    nobody: TestClient, admin: TestClient, researcher: TestClient, labeler: TestClient, work: Work
) -> None:
    """Those who may not are turned away from things that are there; those who may from things that are not."""
    with work() as session:
        factories.everything(session)
    clients = {NOBODY: nobody, LABELER: labeler, RESEARCHER: researcher, ADMIN: admin}
    wrong = []
    for route, may in sorted(MAY.items(), key=lambda item: item[0] == "POST /sign-out"):
        for who, client in clients.items():
            got = knock(client, route, 1 if who not in may else 999_999)
            if who in may:
                right = got.status_code not in (401, 403) or route == "POST /sign-in"
                right &= got.status_code < 500 and not got.headers.get("location", "").startswith("/sign-in?")
            elif who != NOBODY:
                right = got.status_code == 403
            elif route.startswith("GET") and "/api/" not in route:
                right = (got.status_code, got.headers.get("location", "")[:14]) == (303, "/sign-in?next=")
            else:
                right = got.status_code == 401
            if not right:
                wrong.append((route, str(who), got.status_code))
    assert wrong == []


def test_every_page_of_an_install_that_holds_everything_is_shown(
    admin: TestClient, researcher: TestClient, work: Work
) -> None:
    with work() as session:
        factories.everything(session)
        judge = session.scalars(select(Labeler.id).where(Labeler.role == Role.LABELER).limit(1)).one()
    for client in (admin, researcher):
        for route, may in MAY.items():
            who = ADMIN if client is admin else RESEARCHER
            if (
                who not in may
                or not route.startswith("GET")
                or route.endswith(("events", "jsonl", "/imports/{run_id}"))
            ):
                continue
            got = knock(client, route, judge if "labeler_id" in route else 1)
            assert got.status_code in (200, 303) or route == "GET /link/{token}", (route, got.status_code)


TELLING = ("polic", "reward", "score", "gold", "checkpoint", "sentinel", "calibration", "propensity", "hidden-writer")


def test_nothing_a_labeler_gets_tells_where_a_text_is_from(labeler: TestClient, work: Work) -> None:
    with work() as session:
        factories.everything(session)
        factories.pairs(session, 5)
        session.execute(update(Policy).values(name=func.concat("hidden-writer-", Policy.id)))
        session.execute(
            update(Labeler).where(Labeler.name != "Ada").values(name=func.concat("hidden-writer-l", Labeler.id))
        )
    held = labeler.post("/api/leases", json={"ahead": 3})
    items = held.json()["items"]
    assert len(items) == 3
    for item in items:
        assert item.keys() == {
            *("showing", "task", "notes_first", "document", "summaries", "notes", "practice", "expires_at", "answer")
        }
        assert item["document"].keys() == {"title", "community", "text"}
        assert [side.keys() for side in item["summaries"]] == [{"text"}, {"text"}]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", item["showing"])
    said = labeler.post("/api/preferences", json={"showing": items[0]["showing"], "key": str(uuid4()), "value": 2})
    skipped = labeler.post(
        "/api/skips", json={"showing": items[1]["showing"], "key": str(uuid4()), "reason": "unreadable"}
    )
    beat = labeler.post("/api/heartbeats", json={"showings": [items[2]["showing"]]})
    assert [each.status_code for each in (said, skipped, beat)] == [200, 200, 200]
    got = [held, said, skipped, beat]
    got += [knock(labeler, route, 1) for route in MAY if route != "POST /sign-out"]
    for each in got:
        own = {name: value for name, value in each.headers.items() if not name.endswith("policy")}
        told = f"{each.text} {own}".lower()
        assert [word for word in TELLING if word in told] == [], (each.request.url, told[:3000])


def test_requests_that_another_site_causes_do_nothing(front: Front, labeler: TestClient) -> None:
    own = front.address

    def post(client: TestClient, headers: dict[str, str], name: str = "x") -> int:
        client.headers.pop("sec-fetch-site", None)
        return client.post("/account/tokens", data={"name": name}, headers=headers).status_code

    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": own},
        {"sec-fetch-site": "nonsense"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{own}.evil.example"},
        {"origin": "http://127.0.0.1:8701"},
        {"origin": ""},
    ):
        assert post(labeler, headers, "never") == 403, headers
    assert "never" not in labeler.get("/account").text
    refused = labeler.post("/account/tokens", data={"name": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert "<!doctype html>" in refused.text
    assert "came from another site" in refused.text
    for headers in ({"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": own}, {}):
        assert post(labeler, headers) == 201, headers
    program = front.program(labeler)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert post(program, headers) == 201, "a page cannot add a bearer token"
    sign_in = {"name": "Ada", "password": PASSWORD}
    assert labeler.post("/sign-in", data=sign_in, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert labeler.get("/account", headers={"sec-fetch-site": "cross-site"}).status_code == 200


@pytest.mark.parametrize(("origin", "status"), [("https://hone.example", 200), ("https://evil.example", 403)])
def test_behind_a_proxy_the_public_address_counts(app: FastAPI, origin: str, status: int) -> None:
    async def fine(scope: object, receive: object, send: object) -> None:
        await PlainTextResponse("done")(scope, receive, send)  # type: ignore[arg-type]

    guarded = SameSite(fine, "https://hone.example/", 10, (), answer)
    client = TestClient(guarded, "http://10.0.0.7:8700", headers={"accept": "application/json"})
    assert client.post("/", headers={"origin": origin}).status_code == status


def test_a_bearer_word_opens_nothing_for_a_cookie(labeler: TestClient) -> None:
    headers = {"authorization": "Bearer nonsense", "sec-fetch-site": "cross-site"}
    assert labeler.post("/account/tokens", data={"name": "x"}, headers=headers).status_code == 401


def test_every_response_carries_the_headers(
    nobody: TestClient, admin: TestClient, settings: Settings, sessions: Sessions
) -> None:
    broken = create_app(settings, sessions, print)

    @broken.get("/broken")
    def _broken() -> None:
        raise RuntimeError

    with TestClient(broken, raise_server_exceptions=False) as failing:
        got = [failing.get("/broken"), failing.get("/broken", headers={"accept": "text/html"})]
    assert [each.status_code for each in got] == [500, 500]
    assert "RuntimeError" not in got[0].text + got[1].text
    for client, method, path, headers in (
        (nobody, "GET", "/sign-in", {}),
        (nobody, "GET", "/account", {}),
        (nobody, "POST", "/people", {}),
        (nobody, "POST", "/sign-in", {"sec-fetch-site": "cross-site"}),
        (nobody, "POST", "/sign-in", {"content-length": "9999999"}),
        (nobody, "GET", "/nowhere", {}),
        (nobody, "PUT", "/sign-in", {}),
        (nobody, "GET", "/static/hone.css", {}),
        (nobody, "GET", "/static/nowhere.css", {}),
        (nobody, "GET", "/static/../door.py", {}),
        (nobody, "GET", "/static/%2e%2e/door.py", {}),
        (nobody, "GET", "/health/ready", {}),
        (nobody, "GET", "/people/", {}),
        (nobody, "HEAD", "/sign-in", {}),
        (nobody, "HEAD", "/nowhere", {}),
        (admin, "GET", "/people", {}),
        (admin, "GET", "/people", {"accept": "application/json"}),
        (admin, "GET", "/documents/0", {}),
        (admin, "GET", "/api/runs/7", {}),
        (admin, "HEAD", "/people", {}),
        (admin, "OPTIONS", "/people", {}),
    ):
        got.append(client.request(method, path, headers=headers))
    for each in got:
        where = f"{each.request.method} {each.request.url} {each.status_code}"
        policy = each.headers["content-security-policy"]
        assert "default-src 'self'" in policy, where
        for directive in ("object-src 'none'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"):
            assert directive in policy, where
        assert "unsafe" not in policy
        assert each.headers["x-content-type-options"] == "nosniff", where
        assert each.headers["referrer-policy"] == "same-origin", where
        assert each.headers["cache-control"] == ("no-cache" if "hone.css" in where else "no-store"), where
        assert "server" not in each.headers
    outside = [each for each in got if "door.py" in str(each.request.url)]
    assert [each.status_code for each in outside] == [404, 404]


def test_head_is_answered_as_get_is(nobody: TestClient, admin: TestClient) -> None:
    for client in (nobody, admin):
        for path in ("/", "/sign-in", "/health/live", "/people", "/nowhere", "/static/hone.css", "/account"):
            got, head = client.get(path), client.head(path)
            assert head.status_code == got.status_code, path
            assert head.headers.get("location") == got.headers.get("location"), path
            assert head.headers.get("content-type") == got.headers.get("content-type"), path
            assert head.content == b"", path
    assert nobody.head("/sign-out").status_code == 405


def test_a_slash_too_many_is_no_page_and_leads_nowhere_else(admin: TestClient) -> None:
    for path in ("/people/", "/sign-in/", "/documents/1/", "/account/"):
        got = admin.get(path, headers={"host": "evil.example"})
        assert (got.status_code, got.headers.get("location")) == (404, None), path
        assert "There is no such page." in got.text, path


def test_the_addresses_are_not_listed(nobody: TestClient) -> None:
    assert [nobody.get(path).status_code for path in ("/openapi.json", "/docs", "/redoc")] == [404] * 3


@pytest.mark.parametrize("length", ["9" * 5000, "²", "-1", "+1", "1e3", "0x1", " "])
def test_a_content_length_that_makes_no_sense_is_refused(length: str) -> None:
    async def fine(scope: object, receive: object, send: object) -> None:
        await PlainTextResponse("done")(scope, receive, send)  # type: ignore[arg-type]

    guarded = TestClient(SameSite(fine, None, 10, (), answer), headers={"accept": "application/json"})
    headers = [(b"content-length", length.encode("latin-1"))]
    assert guarded.post("/", headers=headers).status_code == 413


def test_static_files_with_a_fingerprint_are_kept_by_caches(nobody: TestClient) -> None:
    sheet = re.search(r'href="(/static/hone\.css\?v=\w+)"', nobody.get("/sign-in").text)
    assert sheet is not None
    assert nobody.get(sheet[1]).headers["cache-control"] == "public, max-age=31536000, immutable"


def test_what_a_route_chose_itself_stays() -> None:
    got = TestClient(Headed(PlainTextResponse("x", headers={"cache-control": "max-age=1"}))).get("/")
    assert got.headers["cache-control"] == "max-age=1"
    assert got.headers["x-content-type-options"] == "nosniff"


def test_texts_of_labelers_and_names_are_text_everywhere(admin: TestClient, researcher: TestClient, work: Work) -> None:
    evil = "<script>alert(1)</script>"
    admin.post("/people", data={"name": evil, "role": "labeler", "kind": "human"})
    with work() as session:
        document = factories.document(session)
        document.title = evil
        factories.summary(session, document.id, evil, evil)
        batch = factories.pairs(session, 1, name=evil).batch_id
        boss = factories.admin(session, evil + "2")
        recipe = rounds.recipes(session)[0].id
        rounds.sample_pairs(session, boss, recipe, 1, with_simulated=False)
    paths = ("/people", "/people/qualification", "/documents", "/documents/1", "/batches", f"/batches/{batch}")
    for path in (*paths, "/verdicts", "/policies", "/overview"):
        page = admin.get(path)
        assert page.status_code == 200
        assert evil not in page.text, path
        assert "&lt;script&gt;" in page.text or path == "/overview", path
    notice = admin.post(f"/batches/{batch}/pause")
    assert "script" in notice.headers["set-cookie"]
    assert evil not in admin.get("/batches").text
    admin.cookies.set("hone_notice", f"bad|{evil}")
    assert evil not in admin.get("/account").text
    admin.cookies.set("hone_notice", f"nonsense{evil}|x")
    assert evil not in admin.get("/account").text
