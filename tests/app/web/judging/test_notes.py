"""Notes first: both summaries are read and written about before the text is anywhere in the browser."""

import pytest
from playwright.sync_api import Page, Response, expect

from app.domain.protocols import Protocol
from tests.app.web.judging.conftest import Seat, come_back, ready, status
from tests.conftest import Work
from tests.support import factories as make

pytestmark = pytest.mark.browser

NOTES = (
    "select n.version, n.after_reveal, n.text from note n join showing s on s.id = n.showing_id "
    "join comparison c on c.id = n.comparison_id "
    "order by n.version, (n.summary_id = c.second_summary_id) <> s.swapped"
)
TEXT = "A long story about the cat"


def put_up(work: Work, count: int) -> None:
    with work() as session:
        make.pairs(session, count, protocol=Protocol(notes_first=True))


def step(page: Page, name: str) -> None:
    """Wait for this step."""
    ready(page)
    expect(page.locator("#pair")).to_have_attribute("data-step", name)


def write(page: Page) -> None:
    """Both notes, by keyboard; the focus is in the first."""
    step(page, "notes")
    expect(page.get_by_label("My note on summary A")).to_be_focused()
    page.keyboard.type("A cat, s and f.")
    page.keyboard.press("Tab")
    expect(page.get_by_label("My note on summary B")).to_be_focused()
    page.keyboard.type("Another cat.")


def test_from_notes_to_an_answer_by_keyboard_alone(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    write(page)
    page.keyboard.press("Control+Enter")
    step(page, "compare")
    expect(page.locator("#document-title")).to_be_focused()
    expect(page.locator("#document-text")).to_contain_text(TEXT)
    expect(page.locator("#kept-a p")).to_have_text("A cat, s and f.")
    expect(page.locator("#kept-b p")).to_be_visible()
    assert ada.rows(NOTES) == [(1, False, "A cat, s and f."), (1, False, "Another cat.")]
    page.keyboard.press("8")
    page.keyboard.press("Enter")
    status(page, "Saved")
    step(page, "notes")
    expect(page.get_by_label("My note on summary A")).to_have_value("")
    [(value, steps)] = ada.rows(
        "select case when s.swapped then 10 - p.value else p.value end, steps from preference p "
        "join showing s on s.id = p.showing_id"
    )
    [(seconds,)] = ada.rows("select distinct seconds from note")
    assert (value, steps["notes"]) == (8, seconds)


def told(response: Response) -> str:
    """All that a response says; a 304 has no body."""
    body = response.body() if response.ok else b""
    return f"{response.url} {response.all_headers()} {body.decode('utf-8', 'replace')}"


def test_the_text_is_nowhere_before_the_notes_are_saved(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    page = ada.context.new_page()
    heard: list[Response] = []
    page.on("response", lambda response: heard.append(response))
    page.goto("/label")
    write(page)
    # A look at the server, as when the labeler comes back to the tab.
    come_back(page)
    said = [told(response) for response in heard]
    heard.clear()
    page.reload()
    step(page, "notes")
    said += [told(response) for response in heard]
    assert sum('"items"' in words for words in said) == 3
    assert [words for words in said if TEXT in words or "Title of" in words] == []
    assert TEXT not in page.content()
    assert TEXT not in page.evaluate("JSON.stringify(localStorage)")
    heard.clear()
    page.keyboard.press("Control+Enter")
    step(page, "compare")
    [reveal] = [response for response in heard if response.url.endswith("/api/notes")]
    assert TEXT in told(reveal)
    # A lease that is renewed may bring the text of the pair at hand again, never that of another that is held.
    shown = page.locator("#document-title").inner_text()
    others = [title for (title,) in ada.rows("select title from document") if title != shown]
    assert len(others) == 2
    assert [words for response in heard for title in others if title in (words := told(response))] == []


def test_both_notes_are_needed(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    step(page, "notes")
    page.keyboard.type("Only one.")
    page.keyboard.press("Control+Enter")
    status(page, "Write a note on each summary first")
    expect(page.get_by_label("My note on summary B")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    step(page, "notes")
    assert ada.rows(NOTES) == []


def test_a_reload_in_the_middle_of_a_note_keeps_it(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    step(page, "notes")
    page.keyboard.type("Half a th")
    page.reload()
    step(page, "notes")
    expect(page.get_by_label("My note on summary A")).to_have_value("Half a th")
    expect(page.get_by_label("My note on summary B")).to_be_focused()


def test_offline_the_notes_wait_and_the_text_comes_with_the_network(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    write(page)
    ada.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your notes are kept here. The document comes when the network is back.")).to_be_visible()
    page.get_by_role("button", name="Go on with another pair").press("Enter")
    write(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#pending")).to_be_visible()
    expect(page.locator("#go-on")).to_be_hidden()
    ada.context.set_offline(False)
    step(page, "compare")
    expect(page.locator("#document-text")).to_contain_text(TEXT)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    step(page, "compare")
    assert [version for version, _, _ in ada.rows(NOTES)] == [1, 1, 1, 1]


def test_notes_that_were_not_sent_survive_a_reload(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    write(page)
    page.route("**/api/notes", lambda route: route.fulfill(status=500, json={}))
    page.keyboard.press("Control+Enter")
    expect(page.locator("#pending")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="No more pairs for now")).to_be_visible()
    page.unroute("**/api/notes")
    step(page, "compare")
    expect(page.locator("#kept-a p")).to_have_text("A cat, s and f.")
    assert ada.rows(NOTES) == [(1, False, "A cat, s and f."), (1, False, "Another cat.")]


def test_ctrl_enter_saves_from_anywhere(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    write(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Control+Enter")
    step(page, "compare")


def test_offline_the_page_counts_on_no_text_that_it_does_not_hold(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    write(page)
    ada.context.set_offline(True)
    status(page, "Offline: write your notes; the text comes when the network is back")
    ada.context.set_offline(False)
    page.keyboard.press("Control+Enter")
    step(page, "compare")
    ada.context.set_offline(True)
    status(page, "Offline: you can go on with the 1 held here")


def test_changed_notes_are_a_new_version_after_the_reveal(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    write(page)
    page.keyboard.press("Control+Enter")
    step(page, "compare")
    page.keyboard.press("4")
    page.keyboard.press("n")
    expect(page.get_by_label("My note on summary A")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type(" Or not.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept-a p")).to_have_text("A cat, s and f. Or not.")
    status(page, "Saved")
    expect(page.locator("#scale input:checked")).to_have_value("4")
    assert ada.rows(NOTES) == [
        (1, False, "A cat, s and f."),
        (1, False, "Another cat."),
        (2, True, "A cat, s and f. Or not."),
        (2, True, "Another cat."),
    ]
    assert ada.rows("select id from preference") == []


def test_changed_notes_and_the_answer_both_wait_for_the_network(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    write(page)
    page.keyboard.press("Control+Enter")
    step(page, "compare")
    ada.context.set_offline(True)
    page.keyboard.press("n")
    page.keyboard.press("End")
    page.keyboard.type(" Or not.")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    status(page, "Offline: 2 kept here")
    ada.context.set_offline(False)
    status(page, "Saved")
    assert ada.rows(NOTES)[2:] == [(2, True, "A cat, s and f. Or not."), (2, True, "Another cat.")]
    assert [value for _, value, _, _ in ada.answers()] == [4]


def test_a_second_tab_that_still_writes_is_shown_the_text(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    one, other = ada.tab(), ada.tab()
    step(other, "notes")
    one.bring_to_front()
    write(one)
    one.keyboard.press("Control+Enter")
    step(one, "compare")
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    step(other, "compare")
    expect(other.locator("#kept-b p")).to_have_text("Another cat.")


def test_a_second_tab_that_sends_the_notes_of_the_first_shows_the_text_too(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    one, other = ada.tab(), ada.tab()
    step(other, "notes")
    one.bring_to_front()
    write(one)
    ada.context.set_offline(True)
    one.keyboard.press("Control+Enter")
    expect(one.locator("#pending")).to_be_visible()
    ada.context.set_offline(False)
    for tab in (one, other):
        step(tab, "compare")
        expect(tab.locator("#document-text")).to_contain_text(TEXT)
    other.bring_to_front()
    other.keyboard.press("7")
    other.keyboard.press("Enter")
    expect(other.get_by_text("Nothing to judge right now")).to_be_visible()
    assert [value for _, value, _, _ in ada.answers()] == [7]
    assert ada.rows(NOTES) == [(1, False, "A cat, s and f."), (1, False, "Another cat.")]
