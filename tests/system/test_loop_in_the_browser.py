"""A person goes round the loop in a real browser: judge by keyboard, launch, watch, judge the new policy, download."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from app.domain.preferences import turned
from app.domain.recipes import TINY
from app.store.session import Sessions, connect
from tests.support.browser import chromium
from tests.support.install import Install, running

PASSWORD = "correct horse battery"
PAIRS = 3
LOOK = 400_000


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    with running(tmp_path_factory.mktemp("install")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def sessions(install: Install) -> Iterator[Sessions]:
    factory = connect(install.database_url, pool=2)
    yield factory
    factory.kw["bind"].dispose()


def _come_in(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/link/" not in url)


def _judge_by_keyboard(page: Page, keys: list[str]) -> None:
    for number, key in enumerate(keys, start=1):
        # Keys before the next pair shows are not taken: nobody judges what they have not seen.
        expect(page.locator("#judge")).to_have_attribute("data-state", "judging")
        expect(page.locator("#document-title")).to_be_focused()
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text(f"{number} today")


@pytest.mark.system
@pytest.mark.browser
def test_a_person_goes_round_the_loop(install: Install, browser: Browser, sessions: Sessions, tmp_path: Path) -> None:
    link = install.until(r"http://\S+/link/\S+").group(0)
    admin = browser.new_context(base_url=install.address).new_page()
    violations: list[str] = []
    admin.on("console", lambda said: violations.append(said.text) if "Content Security Policy" in said.text else None)
    _come_in(admin, link)
    expect(admin.get_by_role("heading", level=1)).to_have_text("Overview")

    # A labeler is invited and comes in by a link of their own.
    admin.goto("/people/invite")
    admin.get_by_label("Name").fill("ada")
    admin.get_by_role("button", name="Make the link").click()
    labeler_link = admin.locator("#link").inner_text()
    labeler = browser.new_context(base_url=install.address).new_page()
    _come_in(labeler, labeler_link)
    labeler.get_by_role("link", name="Read the guidelines").click()
    labeler.get_by_role("button", name="Confirm that I have read this").click()
    expect(labeler.get_by_text("Nothing to judge right now")).to_be_visible()

    # Three pairs are sampled from the current policy, and judged with the keyboard alone.
    recipe = replace(TINY, name="three", pairing=replace(TINY.pairing, pairs=PAIRS, held_out_share=0.0))
    admin.request.post("/api/recipes", data=recipe.to_dict(), headers={"accept": "application/json"})
    admin.goto("/batches")
    admin.get_by_label("Pairs", exact=True).fill(str(PAIRS))
    admin.get_by_label("Recipe").select_option(label=_option(admin, "three"))
    admin.get_by_role("button", name="Sample pairs").click()
    expect(labeler.locator("#pair")).to_be_visible(timeout=LOOK)
    assert "base-" not in labeler.content()
    _judge_by_keyboard(labeler, ["1", "7", "5"])
    expect(labeler.get_by_text("Nothing to judge right now")).to_be_visible()

    # A round is launched and watched; it needs no more answers, and its policy writes the next pairs.
    admin.goto("/rounds")
    _choose_recipe(admin, "three")
    admin.get_by_role("button", name="Launch the round").click()
    expect(admin.get_by_role("heading", level=1)).to_have_text("Round 1")
    expect(admin.locator("#stages li.running").first).to_be_visible(timeout=LOOK)
    expect(admin.locator("#head")).to_contain_text("done", timeout=LOOK)
    expect(admin.locator("#stages li.succeeded")).to_have_count(7)
    expect(labeler.locator("#pair")).to_be_visible(timeout=LOOK)
    with sessions() as session:
        by = session.execute(
            text(
                "select p.name, count(*) from slot s join comparison c on c.id = s.comparison_id "
                "join summary t on t.id in (c.first_summary_id, c.second_summary_id) "
                "join policy p on p.id = t.policy_id "
                "where s.state in ('open', 'leased') group by p.name"
            )
        ).all()
    assert "round1-ppo" in {name for name, _ in by}
    assert "round1-ppo" not in labeler.content()

    # The export holds what the database holds: sides as shown, and no row for the answer 5.
    admin.goto("/exports")
    admin.get_by_role("button", name="Export what is there now").click()
    download_link = admin.get_by_role("link", name="Download")
    expect(download_link.first).to_be_visible(timeout=LOOK)
    with admin.expect_download() as waiting:
        download_link.first.click()
    file = tmp_path / "preferences.jsonl"
    waiting.value.save_as(file)
    exported = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with sessions() as session:
        rows = session.execute(
            text(
                "select d.source_id, p.value, s.swapped, a.text, b.text from preference p "
                "join showing s on s.id = p.showing_id join comparison c on c.id = p.comparison_id "
                "join document d on d.id = c.document_id join summary a on a.id = c.first_summary_id "
                "join summary b on b.id = c.second_summary_id order by p.id"
            )
        ).all()
    assert [turned(row[1], row[2]) for row in rows] == [1, 7, 5]
    expected = {
        (row[0], turned(row[1], row[2]), *((row[4], row[3]) if row[2] else (row[3], row[4])))
        for row in rows
        if row[1] != 5
    }
    assert {
        (each["info"]["id"], each["extra"]["confidence"], each["summaries"][0]["text"], each["summaries"][1]["text"])
        for each in exported
    } == expected
    assert {each["choice"] for each in exported} == {0, 1}
    assert violations == []


def _option(page: Page, name: str) -> str:
    options = page.get_by_label("Recipe").locator("option").all_text_contents()
    return next(option for option in options if name in option)


def _choose_recipe(page: Page, name: str) -> None:
    page.locator("#launch").get_by_role("radio", name=name).check()


@pytest.mark.system
def test_control_c_stops_everything_and_starting_again_continues(tmp_path: Path) -> None:
    with running(tmp_path / "data") as first:
        first.until(r"/link/\S+")
        assert first.interrupt() == 0
        assert "Nothing is running any more" in first.said[-1]
    with running(tmp_path / "data") as again:
        assert not any("sample documents" in line for line in again.said)
