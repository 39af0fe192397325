"""Comparing by keyboard: the next pair at once, a changed mind, skips and flags, two tabs, the way back."""

import pytest
from playwright.sync_api import Route, expect
from sqlalchemy import update

from app.services import guidelines
from app.store.tables import Slot
from tests.app.web.judging.conftest import Seat, come_back, fail_once, judge, ready, status
from tests.conftest import Work
from tests.support import factories as make

pytestmark = pytest.mark.browser


def put_up(work: Work, count: int) -> None:
    with work() as session:
        make.pairs(session, count)


def test_the_next_pair_is_there_before_the_answer_has_left(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    held: list[Route] = []
    page.route("**/api/preferences", lambda route: held.append(route))
    first = judge(page, "7")
    second = page.locator("#document-title").inner_text()
    assert (ada.answers(), second != first) == ([], True)
    status(page, "Saving…")
    expect(page.locator("#document-title")).to_be_focused()
    expect(page.locator("#scale input:checked")).to_have_count(0)
    held[0].continue_()
    status(page, "Saved")
    assert ada.answers() == [(first, 7, 1, None)]


def test_an_explanation_is_written_and_saved_by_keyboard(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("3")
    page.keyboard.press("e")
    page.keyboard.type("s, f and 9 are letters here")
    page.keyboard.press("Enter")
    page.keyboard.type("and so is this line")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    [(_, value, _, explanation)] = ada.answers()
    assert (value, explanation) == (4, "s, f and 9 are letters here\nand so is this line")
    [(seconds, steps)] = ada.rows("select seconds, steps from preference")
    assert steps.keys() == {"notes", "compare", "explain"}
    assert seconds == pytest.approx(sum(steps.values()))


def test_nothing_is_saved_without_a_choice(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("Enter")
    status(page, "Choose 1 to 9 first")
    page.keyboard.press("9")
    status(page, "")
    assert ada.answers() == []


def test_a_changed_answer_is_a_new_version_and_the_begun_pair_waits(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    first = judge(page, "2")
    second = page.locator("#document-title").inner_text()
    page.keyboard.press("8")
    page.keyboard.press("u")
    expect(page.locator("#changing")).to_be_visible()
    expect(page.locator("#document-title")).to_have_text(first)
    expect(page.locator("#scale input:checked")).to_have_value("2")
    page.keyboard.press("Escape")
    expect(page.locator("#document-title")).to_have_text(second)
    page.keyboard.press("u")
    page.keyboard.press("6")
    page.keyboard.press("Enter")
    status(page, "Saved, version 2")
    expect(page.locator("#document-title")).to_have_text(second)
    expect(page.locator("#scale input:checked")).to_have_value("8")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    assert ada.answers() == [(first, 2, 1, None), (first, 6, 2, None), (second, 8, 1, None)]


def test_after_a_reload_the_last_answer_is_asked_of_the_server(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    first = judge(page, "3")
    status(page, "Saved")
    page.reload()
    ready(page)
    page.keyboard.press("u")
    expect(page.locator("#document-title")).to_have_text(first)
    expect(page.locator("#scale input:checked")).to_have_value("3")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    status(page, "Saved, version 2")
    assert ada.answers() == [(first, 3, 1, None), (first, 1, 2, None)]
    assert ada.rows("select state from slot order by state") == [("done",), ("leased",)]


def test_there_is_nothing_to_change_before_the_first_answer(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("u")
    status(page, "There is no answer to change yet")


def test_a_skip_says_why_and_goes_on(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    ready(page)
    first = page.locator("#document-title").inner_text()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    expect(page.locator("#document-title")).to_have_text(first)
    page.keyboard.press("s")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("#document-title")).not_to_have_text(first)
    status(page, "Skipped")
    assert ada.rows("select reason, comment from skip") == [("unreadable", None)]


def test_a_skip_asked_for_again_before_the_browser_told_that_the_first_was_called_off(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    ready(page)
    first = page.locator("#document-title").inner_text()
    page.keyboard.press("s")
    # Both in one task, as when a busy browser takes the next key before it tells of the close.
    page.evaluate("""() => {
        document.getElementById("skip-dialog").close();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true }));
    }""")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("#document-title")).not_to_have_text(first)
    status(page, "Skipped")
    assert ada.rows("select reason, comment from skip") == [("unreadable", None)]


def test_a_flag_leaves_the_pair_where_it_is(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("7")
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("Is the second one cut?")
    page.get_by_role("button", name="Flag it").press("Enter")
    status(page, "Flagged: the researchers will see it")
    ready(page)
    expect(page.locator("#pair")).to_be_visible()
    expect(page.locator("#scale input:checked")).to_have_value("7")
    assert ada.rows("select reason, comment from flag") == [("question", "Is the second one cut?")]
    assert ada.rows("select state from slot") == [("leased",)]


def take_away(work: Work) -> None:
    """An admin voids all that is held."""
    with work() as session:
        session.execute(
            update(Slot).where(Slot.state == "leased").values(state="void", labeler_id=None, lease_expires_at=None)
        )


def test_a_flag_is_sent_although_its_pair_is_held_no_more(ada: Seat, work: Work) -> None:
    put_up(work, 4)
    page = ada.tab()
    ready(page)
    first = page.locator("#document-title").inner_text()
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("It names my neighbour.")
    take_away(work)
    come_back(page)
    expect(page.locator("#document-title")).to_have_text(first)
    page.get_by_role("button", name="Flag it").press("Enter")
    status(page, "That pair was given back; this is the next")
    assert ada.rows("select comment from flag") == [("It names my neighbour.",)]


def test_a_refused_flag_that_is_set_aside_leaves_the_pair_where_it_is(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.route("**/api/flags", lambda route: fail_once(route, 409))
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Set it aside and go on").press("Enter")
    come_back(page)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    assert [value for _, value, _, _ in ada.answers()] == [3]


def test_a_pair_that_was_given_back_goes_with_a_word_and_takes_no_key_along(ada: Seat, work: Work) -> None:
    put_up(work, 4)
    page = ada.context.new_page()
    page.clock.install()
    page.goto("/label")
    ready(page)
    first = page.locator("#document-title").inner_text()
    take_away(work)
    come_back(page)
    expect(page.locator("#document-title")).not_to_have_text(first)
    status(page, "That pair was given back; this is the next")
    page.keyboard.press("3")
    expect(page.locator("#scale input:checked")).to_have_count(0)
    page.clock.fast_forward(500)
    page.keyboard.press("3")
    expect(page.locator("#scale input:checked")).to_have_value("3")


def test_the_last_answer_is_the_last_of_every_tab(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    one, other = ada.tab(), ada.tab()
    judge(one, "2")
    status(one, "Saved")
    second = judge(other, "8")
    status(other, "Saved")
    one.keyboard.press("u")
    expect(one.locator("#changing")).to_be_visible()
    expect(one.locator("#document-title")).to_have_text(second)


def test_single_keys_can_be_switched_off(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("?")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    page.keyboard.press("f")
    expect(page.locator("#scale input:checked")).to_have_count(0)
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_second_tab_shows_the_same_and_moves_on(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    one, other = ada.tab(), ada.tab()
    first = one.locator("#document-title").inner_text()
    expect(other.locator("#document-title")).to_have_text(first)
    one.keyboard.press("2")
    expect(other.locator("#scale input:checked")).to_have_value("2")
    one.keyboard.press("Enter")
    status(one, "Saved")
    second = one.locator("#document-title").inner_text()
    expect(other.locator("#document-title")).to_have_text(second)
    status(other, "You answered that one in another tab; this is the next")
    # Not as what this tab has saved.
    expect(other.locator("#status")).to_have_attribute("data-kind", "")
    judge(other, "8")
    third = other.locator("#document-title").inner_text()
    expect(one.locator("#document-title")).to_have_text(third)
    one.keyboard.press("5")
    one.keyboard.press("Enter")
    expect(other.get_by_text("Nothing to judge right now")).to_be_visible()
    status(one, "Saved")
    assert ada.answers() == [(first, 2, 1, None), (second, 8, 1, None), (third, 5, 1, None)]


def test_what_is_typed_in_one_tab_is_not_written_over_by_the_other(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    one, other = ada.tab(), ada.tab()
    ready(one)
    one.keyboard.press("e")
    one.keyboard.type("A long thought.")
    expect(other.locator("#explanation")).to_have_value("A long thought.")
    other.locator("#question").click()
    other.keyboard.press("6")
    other.keyboard.press("Enter")
    expect(other.get_by_text("Nothing to judge right now")).to_be_visible()
    [(_, value, _, explanation)] = ada.answers()
    assert (value, explanation) == (6, "A long thought.")


def test_the_way_back_and_forth_loses_nothing(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.context.new_page()
    page.goto("/account")
    page.goto("/label")
    first = judge(page, "2")
    second = page.locator("#document-title").inner_text()
    page.keyboard.press("7")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Account")
    page.go_forward()
    ready(page)
    expect(page.locator("#document-title")).to_have_text(second)
    expect(page.locator("#scale input:checked")).to_have_value("7")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    assert ada.answers() == [(first, 2, 1, None), (second, 7, 1, None)]


def test_time_without_a_sign_of_life_is_taken_out(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.context.new_page()
    page.clock.install()
    page.goto("/label")
    ready(page)
    page.keyboard.press("5")
    page.clock.fast_forward(30_000)
    page.keyboard.press("e")
    page.clock.fast_forward(600_000)
    page.keyboard.press("Escape")
    page.clock.fast_forward(20_000)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    [(steps,)] = ada.rows("select steps from preference")
    assert steps["notes"] == 0
    assert steps["compare"] == pytest.approx(50, abs=8)
    assert steps["explain"] == pytest.approx(60, abs=8)


def test_words_are_marked_on_demand(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.context.new_page()

    def reworded(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["items"][0]["document"] = {
            "title": "Two cats",
            "community": "",
            "text": "The cat sat on a mat.\n\nIt ran.",
        }
        told["items"][0]["summaries"] = [{"text": "The CAT sat, and it ran."}, {"text": "The cat sat; the dog ran."}]
        route.fulfill(response=answer, json=told)

    page.route("**/api/leases", reworded)
    page.goto("/label")
    ready(page)
    page.keyboard.press("w")
    expect(page.get_by_role("button", name="Shared words")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#legend-shared")).to_be_visible()
    assert page.locator("#document mark.shared").all_inner_texts() == ["cat sat", "ran"]
    assert page.locator("#summary-a mark.shared").all_inner_texts() == ["CAT sat", "ran"]
    expect(page.locator("#document-text p")).to_have_text(["The cat sat on a mat.", "It ran."])
    page.keyboard.press("d")
    expect(page.locator("#document mark")).to_have_count(0)
    assert page.locator("#summary-a mark.differs").all_inner_texts() == ["and it"]
    assert page.locator("#summary-b mark.differs").all_inner_texts() == ["the dog"]
    page.keyboard.press("d")
    expect(page.locator("mark:visible")).to_have_count(0)
    expect(page.locator("#summary-b")).to_have_text("The cat sat; the dog ran.")


def test_what_has_to_be_done_first_is_said(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    with work() as session:
        guidelines.publish(session, make.admin(session), "# Judge with care", 1)
    page = ada.tab()
    expect(page.get_by_role("heading", name="Before you go on")).to_be_focused()
    expect(page.locator("#empty")).to_contain_text("The guidelines have changed")
    expect(page.get_by_role("link", name="Read what is new")).to_have_attribute("href", "/guidelines")
    page.keyboard.press("3")
    assert ada.rows("select id from showing") == []
