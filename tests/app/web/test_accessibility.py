"""WCAG 2.2 AA as far as a program can tell: axe-core on every page, in light and dark, wide and at 320 pixels.

The list of pages is the application's own list of routes: a page that nobody added here fails the first test.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy import text
from starlette.testclient import TestClient

from app.domain.words import Role
from app.jobs import Job
from app.main import create_app
from app.settings import Settings
from app.store.session import connect, unit_of_work
from tests.app.web.conftest import Front
from tests.app.web.test_security import routes
from tests.conftest import Work
from tests.support import factories as make
from tests.support.browser import chromium
from tests.support.served import served
from tests.support.servers import Template

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = [("light", 1440), ("dark", 1440), ("light", 320), ("dark", 320)]
# Not pages: what programs, health checks and downloads get.
NO_PAGE = re.compile(r"^/(api/|health/)|\.jsonl$|/events$|^/$")
LABELERS = {"/label", "/guidelines", "/me"}
NOBODYS = {"/sign-in", "/link/{token}"}
# Where a row for an address comes from.
ROWS = {
    "batch_id": "select min(id) from batch",
    "comparison_id": "select min(id) from comparison",
    "document_id": "select min(id) from document",
    "flag_id": "select min(id) from flag",
    "labeler_id": "select min(labeler_id) from preference",
    "number": "select min(number) from round",
    "policy_id": "select max(id) from policy",
    "recipe_id": "select min(id) from recipe",
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

    def open(self, browser: Browser, who: str, scheme: Any, width: int) -> BrowserContext:
        """A browser in which this account is signed in, or nobody."""
        context = browser.new_context(
            base_url=self.address, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
        )
        if who in self.cookies:
            context.add_cookies([{"name": "hone_session", "value": self.cookies[who], "url": self.address}])
        return context


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


def test_every_address_has_a_row_to_show(house: House) -> None:
    assert len(_pages(house.app)) > 25
    assert {name for route in _pages(house.app) for name in re.findall(r"\{(\w+)\}", route)} <= house.rows.keys()
    assert [name for name, value in house.rows.items() if value is None] == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_no_page_has_a_violation(house: House, browser: Browser, scheme: str, width: int) -> None:
    wrong = []
    for who in ("admin", "labeler", "nobody"):
        context = house.open(browser, who, scheme, width)
        page = context.new_page()
        for route in _pages(house.app):
            mine = "nobody" if route in NOBODYS else "labeler" if route in LABELERS else "admin"
            if who != mine:
                continue
            answer = page.goto(house.path(route))
            if answer is None or answer.status != 200:
                wrong.append(f"{route}: answered {answer and answer.status}")
                continue
            wrong += [f"{route}: {each}" for each in violations(page)]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{route}: scrolls sideways")
        context.close()
    assert wrong == []


def test_an_error_page_has_no_violation(house: House, browser: Browser) -> None:
    context = house.open(browser, "admin", "dark", 320)
    page = context.new_page()
    page.goto("/nothing-here")
    assert violations(page) == []
    context.close()
