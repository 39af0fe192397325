"""Every state of the judging page: axe-core in light and dark, wide and at 320 pixels; what is in view."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.domain.protocols import Gate, Protocol
from app.domain.words import BatchPurpose
from app.services.projects import the_project
from tests.app.web.judging.conftest import Seat, ready
from tests.app.web.test_accessibility import LOOKS, violations
from tests.conftest import Work
from tests.support import factories as make

pytestmark = pytest.mark.browser


class Looks:
    """Collects what axe-core finds, by state."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []

    def at(self, state: str) -> None:
        """Look at the page as it is now."""
        self.wrong += [f"{state}: {each}" for each in violations(self.page)]
        if self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.wrong.append(f"{state}: scrolls sideways")

    def dialog(self, key: str) -> None:
        """Look at the dialog that this key opens, then close it."""
        self.page.keyboard.press(key)
        expect(self.page.locator("dialog[open]")).to_be_visible()
        self.at(f"dialog {key}")
        self.page.keyboard.press("Escape")
        expect(self.page.locator("dialog[open]")).to_have_count(0)


def seated(ada: Seat, scheme: Any, width: int) -> tuple[Page, Looks]:
    page = ada.tab()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    return page, Looks(page)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_comparing_and_rating(ada: Seat, work: Work, scheme: str, width: int) -> None:
    with work() as session:
        make.pairs(session, 1, priority=2)
        make.to_rate(session, 1)
    page, look = seated(ada, scheme, width)
    ready(page)
    look.at("compare")
    page.keyboard.press("7")
    page.keyboard.press("w")
    look.at("shared words")
    page.keyboard.press("d")
    look.at("differences")
    for key in ("s", "f", "?"):
        look.dialog(key)
    page.keyboard.press("e")
    page.keyboard.type("Because.")
    look.at("explain")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#pair")).to_have_attribute("data-step", "rate")
    page.keyboard.press("6")
    look.at("rate")
    page.keyboard.press("u")
    expect(page.locator("#changing")).to_be_visible()
    look.at("change")
    page.keyboard.press("Escape")
    ada.context.set_offline(True)
    look.at("offline")
    for key in "6666":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_be_visible()
    look.at("nothing held")
    assert look.wrong == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_notes_first(ada: Seat, work: Work, scheme: str, width: int) -> None:
    with work() as session:
        make.pairs(session, 1, protocol=Protocol(notes_first=True))
    page, look = seated(ada, scheme, width)
    ready(page)
    look.at("notes")
    page.keyboard.type("A cat.")
    page.keyboard.press("Tab")
    page.keyboard.type("Another.")
    ada.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#pending")).to_be_visible()
    look.at("waiting")
    ada.context.set_offline(False)
    expect(page.locator("#pair")).to_have_attribute("data-step", "compare")
    look.at("compare with notes")
    page.keyboard.press("n")
    look.at("changing notes")
    page.keyboard.press("Escape")
    page.route("**/api/preferences", lambda route: route.fulfill(status=409, json={"error": "No.", "what_to_do": ""}))
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    look.at("refused")
    assert look.wrong == []


@pytest.mark.parametrize(("scheme", "width"), [LOOKS[0], LOOKS[-1]])
def test_practice(ada: Seat, work: Work, scheme: str, width: int) -> None:
    with work() as session:
        make.standing(session, BatchPurpose.QUALIFICATION, 2)
        the_project(session).gate = Gate(required=True).to_dict()
    page, look = seated(ada, scheme, width)
    for key in ("1", "9"):
        ready(page)
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator("#feedback")).to_be_visible()
        look.at(f"feedback {key}")
        page.keyboard.press("Enter")
    assert look.wrong == []


def test_all_that_is_needed_is_in_view_on_a_laptop(ada: Seat, work: Work) -> None:
    with work() as session:
        make.pairs(session, 1, priority=1)
        make.to_rate(session, 1)
    page, _ = seated(ada, "light", 1440)
    ready(page)
    for needed in ("#document-title", "#summary-a", "#summary-b", "#scale", "#save"):
        expect(page.locator(needed)).to_be_in_viewport(ratio=1)
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    expect(page.locator("#pair")).to_have_attribute("data-step", "rate")
    for needed in ("#document-title", "#summary-a", "#axes", "#save"):
        expect(page.locator(needed)).to_be_in_viewport(ratio=1)


def test_what_has_the_focus_is_in_view_on_a_phone(ada: Seat, work: Work) -> None:
    with work() as session:
        make.pairs(session, 1)
    page, _ = seated(ada, "light", 320)
    page.set_viewport_size({"width": 320, "height": 640})
    ready(page)
    lengthen = "text => { for (let i = 0; i < 40; i++) text.append(text.firstElementChild.cloneNode(true)) }"
    page.locator("#document-text").evaluate(lengthen)
    page.keyboard.press("e")
    page.keyboard.type("Because.")
    expect(page.locator("#explanation")).to_be_in_viewport(ratio=1)
    expect(page.locator("#document-title")).to_be_in_viewport()
