"""WCAG 2.2 AA as far as a program can tell: axe-core on every page, in every look of LOOKS.

The list of pages is the application's own list of routes: a page that nobody added here fails the first test.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import text, update
from starlette.testclient import TestClient

from app.domain.words import ComparisonKind, FlagReason, LabelerKind, Role
from app.jobs import Job
from app.main import create_app
from app.quality import drift
from app.services import flags, guidelines, judging, quality, verdicts
from app.services.people import Viewer
from app.settings import Settings
from app.store import people
from app.store.session import Session, connect, unit_of_work
from app.store.tables import Comparison
from tests.app.web.conftest import Front
from tests.app.web.test_security import routes
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given
from tests.support.browser import chromium
from tests.support.served import served
from tests.support.servers import Template

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Look(NamedTuple):
    """How somebody has set up browser and screen. `forced`: high contrast, in colours of their own."""

    scheme: Literal["light", "dark"]
    width: int
    height: int = 900
    forced: Literal["none", "active"] = "none"

    def take(self, page: Page) -> None:
        """See the page this way from now on."""
        page.emulate_media(color_scheme=self.scheme, forced_colors=self.forced)
        page.set_viewport_size({"width": self.width, "height": self.height})


# The last one is a laptop at 200 %.
LOOKS = [
    Look("light", 1440),
    Look("dark", 1440),
    Look("light", 320),
    Look("dark", 320),
    Look("dark", 1440, forced="active"),
    Look("light", 640, 400),
]
# Not pages: what programs, health checks and downloads get.
NO_PAGE = re.compile(r"^/(api/|health/)|\.jsonl$|\.md$|/events$|^/$")
LABELERS = {"/label", "/guidelines", "/me"}
NOBODYS = {"/sign-in", "/link/{token}"}
# Forms that say what is wrong when they are sent empty.
FORMS = {
    "/sign-in": "nobody",
    "/link/{token}": "nobody",
    "/account": "labeler",
    "/people/invite": "admin",
    "/guidelines/edit": "admin",
    "/rounds/recipes/{recipe_id}/edit": "admin",
    "/verdicts/{pair}": "admin",
}
SEND_EMPTY = """() => {
  const form = document.querySelector("main form[method=post]");
  for (const field of form.querySelectorAll("input:not([type=hidden], [type=radio]), textarea")) field.value = "";
  form.submit();
}"""
# Where a row for an address comes from.
ROWS = {
    "batch_id": "select min(id) from batch",
    "checkpoint_id": "select max(id) from checkpoint",
    "comparison_id": "select min(id) from comparison",
    "document_id": "select min(id) from document",
    "flag_id": "select min(id) from flag",
    "labeler_id": "select min(labeler_id) from preference",
    "number": "select min(number) from round",
    "policy_id": "select max(id) from policy",
    "recipe_id": "select min(id) from recipe",
    "pair": "select max(id) from comparison",
    "run_id": "select min(id) from run where stage = 'import'",
    "version": "select min(version) from guideline",
}


@dataclass(frozen=True)
class House:
    """A furnished install that is served, and who is signed in."""

    app: FastAPI
    address: str
    link: str
    cookies: dict[str, str]
    rows: dict[str, Any]

    def path(self, route: str) -> str:
        """The route's address with ids of rows that are there."""
        return re.sub(r"\{(\w+)\}", lambda found: str(self.rows[found[1]]), route)

    def open(self, browser: Browser, who: str, look: Look) -> Page:
        """A tab of a browser in which this account is signed in, or nobody."""
        return opened(browser, self.address, self.cookies.get(who), look)


def opened(browser: Browser, address: str, cookie: str | None, look: Look) -> Page:
    """A tab of a browser in which whoever has this cookie is signed in."""
    context: BrowserContext = browser.new_context(base_url=address, bypass_csp=True)
    if cookie:
        context.add_cookies([{"name": "hone_session", "value": cookie, "url": address}])
    page = context.new_page()
    look.take(page)
    return page


def _pages(app: FastAPI) -> list[str]:
    found = (route.partition(" ") for route in routes(app.routes))
    return sorted(path for method, _, path in found if method == "GET" and not NO_PAGE.search(path))


def _cookie(browser: TestClient) -> str:
    value: str = browser.cookies["hone_session"]
    return value


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def house(furnished: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as open_:
        sessions = connect(open_.enter_context(furnished.fresh_database()), pool=5)
        open_.callback(sessions.kw["bind"].dispose)
        settings = Settings(data_dir=tmp_path_factory.mktemp("data"), port=8700, cookie_secure=False)
        jobs: list[Job] = []
        app = create_app(settings, sessions, jobs.append)
        work = Work(sessions, jobs)
        front = Front(app, work, settings.address)
        open_.callback(front.close)
        admin = front.signed_in("admin", Role.ADMIN)
        labeler = front.signed_in("Ada", Role.LABELER)
        researcher = front.signed_in("Rosa", Role.RESEARCHER)
        with work() as session:
            make.everything(session)
            make.pairs(session, 5)
        ran = admin.post(
            "/documents/import",
            data={"form": "documents"},
            files={"file": ("posts.jsonl", b'{"id": "a", "post": "A post.", "title": "T"}\n', "application/jsonl")},
            headers={"accept": "application/json"},
        )
        assert ran.status_code < 400, ran.text
        link = front.link("Newcomer", Role.LABELER)
        with unit_of_work(sessions, jobs.append) as session:
            rows = {name: session.scalar(text(query)) for name, query in ROWS.items()}
        rows["token"] = link.removeprefix("/link/")
        cookies = {"admin": _cookie(admin), "labeler": _cookie(labeler), "researcher": _cookie(researcher)}
        yield House(app, open_.enter_context(served(app)), link, cookies, rows)


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it stands: rule, and the first place."""
    page.evaluate(AXE)
    found = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}}).then(r => r.violations)", TAGS
    )
    return [f"{each['id']}: {each['help']} ({each['nodes'][0]['html'][:200]})" for each in found]


def wrong_with(page: Page, state: str) -> list[str]:
    """What is wrong with the page as it stands: what axe-core finds, and whether it scrolls sideways."""
    found = [f"{state}: {each}" for each in violations(page)]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append(f"{state}: scrolls sideways")
    return found


def test_every_address_has_a_row_to_show(house: House) -> None:
    assert len(_pages(house.app)) > 25
    assert {name for route in _pages(house.app) for name in re.findall(r"\{(\w+)\}", route)} <= house.rows.keys()
    assert [name for name, value in house.rows.items() if value is None] == []


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_page_has_a_violation(house: House, browser: Browser, look: Look) -> None:
    wrong = []
    for who in ("admin", "labeler", "nobody"):
        page = house.open(browser, who, look)
        for route in _pages(house.app):
            mine = "nobody" if route in NOBODYS else "labeler" if route in LABELERS else "admin"
            if who != mine:
                continue
            answer = page.goto(house.path(route))
            if answer is None or answer.status != 200:
                wrong.append(f"{route}: answered {answer and answer.status}")
                continue
            wrong += wrong_with(page, route)
        page.context.close()
    assert wrong == []


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_form_with_errors_has_a_violation(house: House, browser: Browser, look: Look) -> None:
    wrong = []
    for route, who in FORMS.items():
        page = house.open(browser, who, look)
        page.goto(house.path(route))
        with page.expect_navigation():
            page.evaluate(SEND_EMPTY)
        expect(page.locator("main").locator(".error, .notice.bad").first, route).to_be_visible()
        wrong += wrong_with(page, f"{route} with errors")
        page.context.close()
    assert wrong == []


def _differs(session: Session, ada: Viewer) -> UUID:
    """Three pairs on which researchers see it differently than she does; the showing of the newest."""
    boss = make.admin(session)
    for comparison in make.pairs(session, 3).comparisons:
        make.verdict(session, comparison, boss, 8)
        showing = given.answer(session, ada, comparison, 2, explanation="It has the point.")
        verdicts.release(session, boss, comparison)
    return showing


def _asks(session: Session, ada: Viewer, showing: UUID) -> None:
    """She asks about a pair, and is answered."""
    reason = FlagReason.QUESTION
    judging.flag(session, ada, showing_id=showing, key=uuid4(), reason=reason, comment="Why B?")
    [asked] = flags.listed(session, False, None)[0]
    flags.close(session, make.admin(session), asked.flag.id, "It keeps the question.")


def _drifts(session: Session, ada: Viewer) -> None:
    """Sentinel answers that move away from the first ten."""
    sentinels = make.pairs(session, 50).comparisons
    session.execute(update(Comparison).where(Comparison.id.in_(sentinels)).values(kind=ComparisonKind.SENTINEL))
    begun = datetime.now(UTC) - timedelta(days=2)
    for place, comparison in enumerate(sentinels):
        given.answer(session, ada, comparison, 2 if place < 10 else 8, at=begun + timedelta(minutes=place))


def _rewrites(session: Session, reader: Viewer) -> None:
    """New guidelines that change what the reader has confirmed in two places far apart."""
    boss, lines = make.admin(session), [f"Line {number}." for number in range(40)]
    first = guidelines.publish(session, boss, "\n\n".join(lines), 1)
    make.has_read(session, reader.id)
    lines[3], lines[30] = "Changed.", "Changed too."
    guidelines.publish(session, boss, "\n\n".join(lines), first)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_page_with_news_has_a_violation(
    app: FastAPI,
    admin: TestClient,
    labeler: TestClient,
    work: Work,
    browser: Browser,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 10)
    monkeypatch.setattr(quality, "DISAGREEMENTS_SHOWN", 2)
    with work() as session:
        row = people.labeler_by_name(session, "Ada")
        assert row is not None
        ada = Viewer(row.id, row.name, Role.LABELER, LabelerKind.HUMAN)
        showing = _differs(session, ada)
        _drifts(session, ada)
        _rewrites(session, ada)
    with work() as session:
        _asks(session, ada, showing)
    wrong = []
    with served(app) as address:
        page = opened(browser, address, _cookie(labeler), look)
        for path, news in (
            ("/me", "You asked about this pair"),
            ("/me?page=2", "3 to 3 of 3"),
            ("/guidelines", "Changed too."),
            ("/label", "Before you go on"),
        ):
            page.goto(path)
            expect(page.get_by_text(news).first).to_be_visible()
            wrong += wrong_with(page, path)
        page.context.close()
        page = opened(browser, address, _cookie(admin), look)
        for path in ("/quality", f"/quality/labelers/{ada.id}"):
            page.goto(path)
            expect(page.get_by_text("against a reference of 0 %").first).to_be_visible()
            expect(page.locator("figcaption", has_text="Sentinel drift")).to_be_visible()
            wrong += wrong_with(page, path)
        page.goto("/rounds")
        expect(page.get_by_role("button", name="Keep going")).to_be_visible()
        wrong += wrong_with(page, "/rounds, where continuous mode can be turned on")
        page.context.close()
    assert wrong == []


def test_an_error_page_has_no_violation(house: House, browser: Browser) -> None:
    page = house.open(browser, "admin", Look("dark", 320))
    page.goto("/nothing-here")
    assert violations(page) == []
    page.context.close()
