"""Every state of the judging page: axe-core in every look, how long its lines are, what is in view."""

import pytest
from playwright.sync_api import Page, expect

from app.domain.protocols import Gate, Protocol
from app.domain.words import BatchPurpose
from app.services.projects import the_project
from tests.app.web.judging.conftest import Seat, fail_once, judge, ready
from tests.app.web.test_accessibility import LOOKS, Look, wrong_with
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
        self.wrong += wrong_with(self.page, state)

    def dialog(self, key: str) -> None:
        """Look at the dialog that this key opens, then close it."""
        self.page.keyboard.press(key)
        expect(self.page.locator("dialog[open]")).to_be_visible()
        self.at(f"dialog {key}")
        self.page.keyboard.press("Escape")
        expect(self.page.locator("dialog[open]")).to_have_count(0)


def seated(ada: Seat, look: Look) -> tuple[Page, Looks]:
    page = ada.tab()
    look.take(page)
    return page, Looks(page)


@pytest.mark.parametrize("look_of", LOOKS, ids=str)
def test_comparing_and_rating(ada: Seat, work: Work, look_of: Look) -> None:
    with work() as session:
        make.pairs(session, 1, priority=2)
        make.to_rate(session, 1)
    page, look = seated(ada, look_of)
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


@pytest.mark.parametrize("look_of", LOOKS, ids=str)
def test_notes_first(ada: Seat, work: Work, look_of: Look) -> None:
    with work() as session:
        make.pairs(session, 1, protocol=Protocol(notes_first=True))
    refusal = {"error": "No.", "what_to_do": ""}
    ada.context.route("**/api/preferences", lambda route: route.fulfill(status=409, json=refusal))
    page, look = seated(ada, look_of)
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
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    look.at("refused")
    page.get_by_role("button", name="Set it aside and go on").press("Enter")
    expect(page.locator("#aside")).to_be_visible()
    look.at("set aside")
    assert look.wrong == []


@pytest.mark.parametrize("look_of", LOOKS, ids=str)
def test_signed_out_where_the_browser_keeps_nothing(ada: Seat, work: Work, look_of: Look) -> None:
    with work() as session:
        make.pairs(session, 2)
    ada.context.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') }"
    )
    page, look = seated(ada, look_of)
    ready(page)
    expect(page.locator("#unkept")).to_be_visible()
    page.route("**/api/preferences", lambda route: fail_once(route, 401))
    judge(page, "4")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    look.at("signed out, nothing kept")
    assert look.wrong == []


@pytest.mark.parametrize("look_of", LOOKS, ids=str)
def test_practice(ada: Seat, work: Work, look_of: Look) -> None:
    with work() as session:
        make.standing(session, BatchPurpose.QUALIFICATION, 2)
        the_project(session).gate = Gate(required=True).to_dict()
    page, look = seated(ada, look_of)
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
    page, _ = seated(ada, LOOKS[0])
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
    page, _ = seated(ada, Look("light", 320, 640))
    ready(page)
    lengthen = "text => { for (let i = 0; i < 40; i++) text.append(text.firstElementChild.cloneNode(true)) }"
    page.locator("#document-text").evaluate(lengthen)
    page.keyboard.press("e")
    page.keyboard.type("Because.")
    expect(page.locator("#explanation")).to_be_in_viewport(ratio=1)
    expect(page.locator("#document-title")).to_be_in_viewport()


LONGEST_LINE = """id => {
  const text = document.getElementById(id).querySelector("p").firstChild;
  text.data = "They said that it was late and we all had to go on to the next town by foot. ".repeat(9);
  const letter = document.createRange();
  const tops = Array.from(text.data, (_, at) => {
    letter.setStart(text, at);
    letter.setEnd(text, at + 1);
    return letter.getBoundingClientRect().top;
  });
  return Math.max(...Map.groupBy(tops, (top) => top).values().map((line) => line.length));
}"""


@pytest.mark.parametrize("width", [700, 820, 950, 1024, 1240, 1280, 1440, 1920])
def test_lines_are_as_long_as_one_reads_well(ada: Seat, work: Work, width: int) -> None:
    with work() as session:
        make.pairs(session, 1, priority=1)
        make.to_rate(session, 1)
    page, _ = seated(ada, Look("light", width))
    # Where document and summaries stand side by side on little room, they share it.
    least = 50 if width == 1024 else 60
    for step, texts in (
        ("compare", ("document-text", "summary-a", "summary-b")),
        ("rate", ("document-text", "summary-a")),
    ):
        expect(page.locator("#pair")).to_have_attribute("data-step", step)
        lines = {name: page.evaluate(LONGEST_LINE, name) for name in texts}
        assert all(least <= letters <= 75 for letters in lines.values()), (step, lines)
        page.keyboard.press("5")
        page.keyboard.press("Enter")
