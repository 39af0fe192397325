"""A labeler at the judging page: a real Chromium against the real application on the test's own database.

Knows how a labeler comes to the page and what it says of itself. Knows nothing of any test.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from playwright.sync_api import TimeoutError as TookTooLong
from sqlalchemy import text

from app.domain.words import Role
from app.services.people import Viewer
from app.store import people
from tests.app.web.conftest import PASSWORD, Front
from tests.conftest import Work
from tests.support import factories as make
from tests.support.browser import chromium
from tests.support.served import served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a file."""
    with chromium() as one:
        yield one


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """Where the application answers."""
    with served(app) as where:
        yield where


@dataclass
class Seat:
    """A labeler's browser. `trouble` is what its console complained of; nothing may be left there at the end."""

    context: BrowserContext
    work: Work
    viewer: Viewer
    trouble: list[str] = field(default_factory=list)

    def tab(self) -> Page:
        """The judging page in a new tab, once it shows what is to be done first."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda said: self._heard(said.text))
        page.goto("/label")
        expect(page.locator("#judge")).not_to_have_attribute("data-state", "loading")
        return page

    def _heard(self, words: str) -> None:
        if "Content Security Policy" in words:
            self.trouble.append(words)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database holds."""
        with self.work() as session:
            return [tuple(row) for row in session.execute(text(query))]

    def answers(self) -> list[tuple[Any, ...]]:
        """Every version of every answer as it came: title, value as shown, version, explanation."""
        return self.rows(
            "select d.title, case when s.swapped then 10 - p.value else p.value end, p.version, p.explanation "
            "from preference p join showing s on s.id = p.showing_id join comparison c on c.id = p.comparison_id "
            "join document d on d.id = c.document_id order by p.id"
        )


@pytest.fixture
def ada(browser: Browser, address: str, front: Front, work: Work) -> Iterator[Seat]:
    """A labeler who has read the guidelines, signed in."""
    context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 900})
    assert context.request.post(front.link("Ada", Role.LABELER), form={"password": PASSWORD}).ok
    with work() as session:
        row = people.labeler_by_name(session, "Ada")
        assert row is not None
        make.has_read(session, row.id)
        viewer = Viewer(row.id, row.name, row.role, row.kind)
    seat = Seat(context, work, viewer)
    yield seat
    context.close()
    assert seat.trouble == []


def ready(page: Page) -> None:
    """Wait until there is something to do, and it was looked at: keys before are not taken."""
    expect(page.locator("#judge")).to_have_attribute("data-state", "judging")


def judge(page: Page, key: str) -> str:
    """Answer the pair on the screen by keyboard, and wait for the next; gives the title of the one answered."""
    ready(page)
    title = page.locator("#document-title").inner_text()
    page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#document-title")).not_to_have_text(title)
    return title


def status(page: Page, words: str) -> None:
    """Wait until the page says this of what was saved."""
    expect(page.locator("#status")).to_have_text(words)


def come_back(page: Page) -> None:
    """The labeler looks at the tab again, so that it looks at the server.

    Where it was just being answered, it does not ask again: then the labeler looks once more.
    """
    for last in (False, True):
        try:
            with page.expect_response("**/api/leases", timeout=30_000 if last else 5_000):
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        except TookTooLong:
            if last:
                raise
        else:
            return


def fail_once(route: Route, code: int = 500) -> None:
    """Answer in the server's place, this once."""
    route.fulfill(status=code, json={"error": "Broken.", "what_to_do": "Try again."})
