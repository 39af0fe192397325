"""What was said arrives once, whatever the network, the server, or a reload do to it."""

import json

import pytest
from playwright.sync_api import Page, Route, expect

from app.domain.words import Role
from app.store import people
from app.web import labeling
from tests.app.web.conftest import PASSWORD, Front
from tests.app.web.judging.conftest import Seat, come_back, fail_once, judge, ready, status
from tests.conftest import Work
from tests.support import factories as make

pytestmark = pytest.mark.browser

UNSENT = "Object.keys(localStorage).filter((name) => name.startsWith('hone.unsent.')).length"


def said(seat: Seat) -> list[tuple[str, int]]:
    """What arrived, in order."""
    return [(title, value) for title, value, _, _ in seat.answers()]


def put_up(work: Work, count: int) -> None:
    with work() as session:
        make.pairs(session, count)


def broken(page: Page, path: str) -> list[Route]:
    """The server answers 500 there, until `page.unroute` lets it answer itself; gives what was asked."""
    asked: list[Route] = []

    def answer(route: Route) -> None:
        asked.append(route)
        fail_once(route)

    page.route(path, answer)
    return asked


def test_the_next_pairs_come_with_the_answer(ada: Seat, work: Work) -> None:
    put_up(work, 6)
    page = ada.tab()
    ready(page)
    asked: list[tuple[str, int | None]] = []
    page.on(
        "request",
        lambda each: asked.append((each.url.partition("/api/")[2], (each.post_data_json or {}).get("ahead"))),
    )
    for key in ("8", "2", "7", "3"):
        judge(page, key)
        status(page, "Saved")
    assert asked == [("preferences", 3)] * 4, "one request each: it is kept, and as many are held as before"
    assert [value for _, value in said(ada)] == [8, 2, 7, 3]


@pytest.mark.parametrize("code", [500, 409])
def test_an_answer_that_got_into_trouble_is_sent_again_alone(ada: Seat, work: Work, code: int) -> None:
    """Whatever goes wrong with what is to be held next, the answer arrives."""
    put_up(work, 5)
    page = ada.tab()
    ready(page)
    asked: list[int | None] = []

    def answer(route: Route) -> None:
        ahead = (route.request.post_data_json or {}).get("ahead")
        asked.append(ahead)
        if ahead is None:
            route.continue_()
        else:
            fail_once(route, code)

    page.route("**/api/preferences", answer)
    page.route("**/api/leases", lambda route: fail_once(route))
    first = judge(page, "8")
    status(page, "Saved")
    second = judge(page, "3")
    expect(page.locator("#progress")).to_have_text("2 today, 2 in all")
    assert asked == [3, None, None], "not asked again while asking for leases alone does not go well either"
    assert said(ada) == [(first, 8), (second, 3)]


def test_ten_judgements_offline_arrive_once_and_in_order(
    ada: Seat, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeling, "AHEAD", 12)
    put_up(work, 14)
    page = ada.tab()
    ready(page)
    ada.context.set_offline(True)
    status(page, "Offline: you can go on with the 12 held here")
    keys = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "1"]
    given = [(judge(page, key), int(key)) for key in keys]
    status(page, "Offline: 10 kept here")
    assert said(ada) == []
    eleventh = page.locator("#document-title").inner_text()
    page.keyboard.press("7")
    ada.context.set_offline(False)
    status(page, "Saved")
    expect(page.locator("#progress")).to_have_text("10 today, 10 in all")
    assert said(ada) == given
    assert page.evaluate(UNSENT) == 0
    expect(page.locator("#document-title")).to_have_text(eleventh)
    expect(page.locator("#scale input:checked")).to_have_value("7")


def test_when_all_that_was_held_is_judged_the_page_says_what_it_waits_for(ada: Seat, work: Work) -> None:
    put_up(work, 4)
    page = ada.tab()
    ready(page)
    ada.context.set_offline(True)
    judge(page, "2")
    judge(page, "2")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No more pairs for now")).to_be_focused()
    expect(page.locator("#empty-words")).to_contain_text("3 to be sent")
    page.keyboard.press("u")
    expect(page.locator("#scale input:checked")).to_have_value("2")
    page.keyboard.press("9")
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_be_visible()
    ada.context.set_offline(False)
    ready(page)
    status(page, "Saved")
    assert [value for _, value in said(ada)] == [2, 2, 9]


def test_a_500_is_tried_again_while_the_labeler_goes_on(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    page = ada.tab()
    asked = broken(page, "**/api/preferences")
    first = judge(page, "4")
    status(page, "Not saved yet, retrying: 1 kept here")
    second = judge(page, "6")
    page.unroute("**/api/preferences")
    status(page, "Saved")
    assert said(ada) == [(first, 4), (second, 6)]
    keys = {json.loads(route.request.post_data or "")["key"] for route in asked}
    assert len(keys) == 1, "the same answer is sent again with the same key, and the next waits behind it"


def test_an_answer_whose_acknowledgement_was_lost_counts_once(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()

    arrived: list[int] = []

    def swallow(route: Route) -> None:
        arrived.append(route.fetch().status)
        fail_once(route, 502)

    page.route("**/api/preferences", swallow, times=1)
    first = judge(page, "4")
    status(page, "Saved")
    assert (arrived, said(ada)) == ([200], [(first, 4)])


def test_a_reload_sends_what_was_not_sent_and_does_not_ask_again(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    broken(page, "**/api/preferences")
    first = judge(page, "4")
    second = page.locator("#document-title").inner_text()
    status(page, "Not saved yet, retrying: 1 kept here")
    page.reload()
    ready(page)
    expect(page.locator("#document-title")).to_have_text(second)
    page.unroute("**/api/preferences")
    page.reload()
    status(page, "Saved")
    ready(page)
    expect(page.locator("#document-title")).to_have_text(second)
    assert said(ada) == [(first, 4)]


def test_a_reload_in_the_middle_of_an_answer_keeps_it(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("8")
    page.keyboard.press("e")
    page.keyboard.type("Because it")
    page.reload()
    ready(page)
    expect(page.locator("#scale input:checked")).to_have_value("8")
    expect(page.locator("#explanation")).to_have_value("Because it")
    page.keyboard.press("e")
    page.keyboard.type(" says so.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Nothing to judge right now")).to_be_visible()
    assert ada.rows("select explanation from preference") == [("Because it says so.",)]
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('hone.draft.')).length") == 0


def test_a_refused_answer_is_kept_and_can_be_set_aside(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    page.route("**/api/preferences", lambda route: fail_once(route, 409))
    judge(page, "4")
    expect(page.get_by_role("alert")).to_contain_text("Broken. Try again.")
    page.get_by_role("button", name="Set it aside and go on").press("Enter")
    expect(page.locator("#trouble")).to_be_hidden()
    page.unroute("**/api/preferences")
    second = judge_last(page, "6")
    assert said(ada) == [(second, 6)]
    assert page.evaluate(UNSENT) == 1


def test_what_was_set_aside_can_be_sent_after_all(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    page.route("**/api/preferences", lambda route: fail_once(route, 409))
    first = judge(page, "4")
    page.get_by_role("button", name="Set it aside and go on").press("Enter")
    page.unroute("**/api/preferences")
    page.reload()
    expect(page.get_by_text("1 answer was refused and set aside.")).to_be_visible()
    page.get_by_role("button", name="Send it again").press("Enter")
    status(page, "Saved")
    expect(page.locator("#aside")).to_be_hidden()
    assert (said(ada), page.evaluate(UNSENT)) == ([(first, 4)], 0)


def test_an_answer_that_is_saved_hides_no_refused_one(ada: Seat, work: Work) -> None:
    put_up(work, 4)
    page = ada.tab()
    refused: list[str] = []

    def answer(route: Route) -> None:
        showing = json.loads(route.request.post_data or "")["showing"]
        if showing in refused or not refused:
            refused[:] = [showing]
            fail_once(route, 409)
        else:
            route.continue_()

    page.route("**/api/preferences", answer)
    judge(page, "4")
    expect(page.get_by_role("alert")).to_be_visible()
    second = judge(page, "6")
    expect(page.locator("#progress")).to_have_text("1 today, 1 in all")
    status(page, "Not saved")
    expect(page.get_by_role("alert")).to_be_visible()
    assert said(ada) == [(second, 6)]


def test_what_is_typed_does_not_hide_that_answers_wait(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    page = ada.tab()
    ready(page)
    ada.context.set_offline(True)
    judge(page, "4")
    status(page, "Offline: 1 kept here")
    page.keyboard.press("6")
    expect(page.locator("#scale input:checked")).to_have_value("6")
    status(page, "Offline: 1 kept here")
    page.keyboard.press("u")
    expect(page.locator("#changing")).to_be_visible()
    status(page, "Offline: 1 kept here")


def test_an_answer_on_its_way_is_not_taken_for_the_one_before_it(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    page = ada.tab()
    judge(page, "2")
    status(page, "Saved")
    broken(page, "**/api/preferences")
    judge(page, "8")
    page.reload()
    ready(page)
    page.keyboard.press("u")
    status(page, "Your last answer is still on its way")
    expect(page.locator("#changing")).to_be_hidden()


def test_nothing_goes_out_under_the_name_of_whoever_signed_in_since(ada: Seat, work: Work, front: Front) -> None:
    put_up(work, 6)
    page = ada.tab()
    broken(page, "**/api/preferences")
    first = judge(page, "4")
    cookies = ada.context.cookies()
    ada.context.clear_cookies()
    assert ada.context.request.post(front.link("Bob", Role.LABELER), form={"password": PASSWORD}).ok
    with work() as session:
        bob = people.labeler_by_name(session, "Bob")
        assert bob is not None
        make.has_read(session, bob.id)
    page.unroute("**/api/preferences")
    come_back(page)
    expect(page.get_by_role("alert")).to_contain_text("Bob is signed in here now.")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    expect(page.locator("#set-aside")).to_be_hidden()
    assert ada.rows("select distinct labeler_id from slot where state = 'leased'") == [(ada.viewer.id,)]
    assert said(ada) == []
    ada.context.clear_cookies()
    ada.context.add_cookies([{**each} for each in cookies])  # type: ignore[typeddict-item]
    page.get_by_role("button", name="Try again").press("Enter")
    status(page, "Saved")
    assert ada.rows("select distinct labeler_id from preference") == [(ada.viewer.id,)]
    assert said(ada) == [(first, 4)]


def test_a_newer_answer_of_another_tab_outlives_the_older_one_of_this(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    held: list[Route] = []
    page.route("**/api/preferences", lambda route: held.append(route))
    judge(page, "4")
    # What another tab writes is in the storage before this one is told.
    newer = page.evaluate(
        """() => {
          const name = Object.keys(localStorage).find((name) => name.startsWith("hone.unsent."));
          const entry = JSON.parse(localStorage.getItem(name));
          entry.body.key = "00000000-0000-4000-8000-000000000001";
          localStorage.setItem(name, JSON.stringify(entry));
          return name;
        }"""
    )
    held[0].continue_()
    status(page, "Saved")
    assert newer in page.evaluate("Object.keys(localStorage)")


def test_that_an_older_answer_was_sent_elsewhere_costs_this_tab_nothing(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    broken(page, "**/api/preferences")
    first = judge(page, "4")
    status(page, "Not saved yet, retrying: 1 kept here")
    page.evaluate(
        """() => {
          const key = Object.keys(localStorage).find((name) => name.startsWith("hone.unsent."));
          const older = JSON.parse(localStorage.getItem(key));
          older.body.key = "00000000-0000-4000-8000-000000000001";
          dispatchEvent(new StorageEvent("storage", { key, oldValue: JSON.stringify(older), newValue: null }));
        }"""
    )
    page.unroute("**/api/preferences")
    status(page, "Saved")
    assert said(ada) == [(first, 4)]


def test_a_clock_that_is_put_right_costs_no_draft(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.context.new_page()
    page.clock.install(time="2020-01-01T00:00:00Z")
    page.goto("/label")
    ready(page)
    page.keyboard.press("e")
    page.keyboard.type("A long thought.")
    page.clock.set_system_time("2026-11-23T00:00:00Z")
    page.reload()
    ready(page)
    expect(page.locator("#explanation")).to_have_value("A long thought.")


def test_a_draft_of_what_is_held_no_more_is_gone_after_two_loads(ada: Seat, work: Work) -> None:
    put_up(work, 1)
    page = ada.tab()
    ready(page)
    page.keyboard.press("8")
    drafts = "Object.keys(localStorage).filter((name) => name.startsWith('hone.draft.'))"
    [held] = page.evaluate(drafts)
    page.evaluate("name => localStorage.setItem('hone.draft.other', localStorage.getItem(name))", held)
    for left in ([held, "hone.draft.other"], [held], [held]):
        with page.expect_response("**/api/leases"):
            page.reload()
        ready(page)
        assert sorted(page.evaluate(drafts)) == sorted(left)
    expect(page.locator("#scale input:checked")).to_have_value("8")


def judge_last(page: Page, key: str) -> str:
    """Answer the last pair there is."""
    ready(page)
    title = page.locator("#document-title").inner_text()
    page.keyboard.press(key)
    page.keyboard.press("Enter")
    status(page, "Saved")
    return title


def test_who_is_signed_out_goes_on_and_loses_nothing(ada: Seat, work: Work) -> None:
    put_up(work, 2)
    page = ada.tab()
    ready(page)
    cookies = ada.context.cookies()
    ada.context.clear_cookies()
    first = judge(page, "4")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    ada.context.add_cookies([{**each} for each in cookies])  # type: ignore[typeddict-item]
    page.get_by_role("button", name="Try again").press("Enter")
    status(page, "Saved")
    expect(page.locator("#trouble")).to_be_hidden()
    assert said(ada) == [(first, 4)]


def test_a_tab_that_was_closed_offline_is_heard_through_another(ada: Seat, work: Work) -> None:
    put_up(work, 3)
    one, other = ada.tab(), ada.tab()
    ready(other)
    ada.context.set_offline(True)
    first = judge(one, "4")
    status(other, "You answered that one in another tab; this is the next")
    one.close()
    ada.context.set_offline(False)
    status(other, "Saved")
    assert said(ada) == [(first, 4)]
