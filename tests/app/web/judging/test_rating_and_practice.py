"""Scores for one summary, and practice pairs that show at once what the researchers said: by keyboard."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from app.domain.protocols import Gate
from app.domain.words import BatchPurpose
from app.services.projects import the_project
from tests.app.web.judging.conftest import Seat, ready, status
from tests.conftest import Work
from tests.support import factories as make

pytestmark = pytest.mark.browser

RATINGS = "select version, coherence, accuracy, coverage, overall, comment from rating order by id"


def put_up(work: Work, count: int) -> None:
    with work() as session:
        make.to_rate(session, count)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_digits_score_one_axis_after_the_other(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    ready(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("How good is this summary?")
    press(page, "6", "5")
    status(page, "")
    press(page, "Enter")
    status(page, "Coverage has no score yet")
    press(page, "9", "7", "4")
    expect(page.get_by_role("button", name="Save")).to_be_focused()
    press(page, "Enter")
    status(page, "Saved")
    assert ada.rows(RATINGS) == [(1, 6, 5, 7, 4, None)]
    ready(page)
    expect(page.locator("#axes input:checked")).to_have_count(0)


def test_scores_are_arrows_and_tabs_too_and_can_be_changed(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.get_by_role("group", name="Coherence").get_by_role("radio").first.focus()
    press(page, "Space", "ArrowRight", "Tab", "Space", "Tab", "4", "3", "e")
    page.keyboard.type("Short.")
    press(page, "Control+Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    press(page, "u")
    expect(page.locator("#explanation")).to_have_value("Short.")
    page.get_by_role("group", name="Overall").get_by_role("radio", checked=True).focus()
    press(page, "7", "Enter")
    status(page, "Saved, version 2")
    assert ada.rows(RATINGS) == [(1, 2, 1, 4, 3, "Short."), (2, 2, 1, 4, 7, "Short.")]


def test_a_reload_keeps_the_scores(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    press(page, "2", "3")
    page.reload()
    ready(page)
    assert [each.get_attribute("name") for each in page.locator("#axes input:checked").all()] == [
        "coherence",
        "accuracy",
    ]
    press(page, "4", "5", "Enter")
    status(page, "Saved")
    assert ada.rows(RATINGS) == [(1, 2, 3, 4, 5, None)]


def practise(work: Work, count: int) -> None:
    with work() as session:
        make.standing(session, BatchPurpose.QUALIFICATION, count)
        the_project(session).gate = Gate(required=True).to_dict()


def learn(page: Page, key: str) -> dict[str, Any]:
    """Answer a practice pair; what the researchers said of it."""
    ready(page)
    expect(page.get_by_text("Practice", exact=True)).to_be_visible()
    page.keyboard.press(key)
    with page.expect_response("**/api/preferences") as answer:
        page.keyboard.press("Enter")
    feedback: dict[str, Any] = answer.value.json()["feedback"]
    return feedback


def test_a_practice_answer_is_held_to_the_researchers_at_once(ada: Seat, work: Work) -> None:
    practise(work, 2)
    page = ada.tab()
    said = learn(page, "1")
    title = page.get_by_role("heading", name="Your answer agrees" if said["agrees"] else "Your answer differs")
    expect(title).to_be_focused()
    expect(page.locator("#feedback-theirs")).to_contain_text(str(said["value"]))
    expect(page.locator("#feedback-yours")).to_have_text("1: A is much better")
    expect(page.locator("#feedback-reason")).to_have_text(said["reason"])
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("9")
    expect(page.locator("#scale input:checked")).to_have_value("1")
    page.keyboard.press("Enter")
    ready(page)
    expect(page.locator("#feedback")).to_be_hidden()
    expect(page.locator("#scale input:checked")).to_have_count(0)
    page.keyboard.press("u")
    status(page, "An answer in practice stays as it is")
    assert ada.rows("select version from preference") == [(1,)]


def test_a_practice_answer_on_its_way_is_not_changed_any_more(ada: Seat, work: Work) -> None:
    practise(work, 1)
    page = ada.tab()
    ready(page)
    held: list[Route] = []
    page.route("**/api/preferences", lambda route: held.append(route))
    press(page, "2", "Enter")
    status(page, "Saving…")
    press(page, "9")
    expect(page.locator("#scale input:checked")).to_have_value("2")
    held[0].continue_()
    expect(page.locator("#feedback-yours")).to_have_text("2: A is clearly better")


def test_a_practice_answer_that_was_sent_after_a_reload_still_teaches(ada: Seat, work: Work) -> None:
    practise(work, 1)
    page = ada.tab()
    ready(page)
    page.route("**/api/preferences", lambda route: route.fulfill(status=500, json={}))
    press(page, "2", "Enter")
    expect(page.get_by_text("The researchers' answer comes when the network is back.")).to_be_visible()
    page.unroute("**/api/preferences")
    page.reload()
    expect(page.locator("#feedback")).to_be_visible()
    expect(page.locator("#feedback-yours")).to_have_text("2: A is clearly better")
    expect(page.locator("#document-text")).to_contain_text("A long story")


def test_a_reload_before_the_lesson_was_read_shows_it_again(ada: Seat, work: Work) -> None:
    practise(work, 2)
    page = ada.tab()
    said = learn(page, "1")
    expect(page.locator("#feedback")).to_be_visible()
    shown = page.locator("#document-title").inner_text()
    page.reload()
    expect(page.locator("#feedback-title")).to_be_focused()
    expect(page.locator("#document-title")).to_have_text(shown)
    expect(page.locator("#feedback-yours")).to_have_text("1: A is much better")
    expect(page.locator("#feedback-reason")).to_have_text(said["reason"])
    page.get_by_role("button", name="Continue").press("Enter")
    ready(page)
    page.reload()
    ready(page)
    expect(page.locator("#feedback")).to_be_hidden()
    expect(page.locator("#document-title")).not_to_have_text(shown)
