"""Promote and roll back with a real browser: one click, one sentence to confirm, and it is undone the same way."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient

from app.services import policies
from tests.conftest import Work
from tests.support import factories, pretended
from tests.support.browser import chromium
from tests.support.served import served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def confirm(page: Page, action: str, question: str) -> None:
    """Press a button, read the question, and press it again."""
    page.get_by_role("button", name=action, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(question)
    dialog.get_by_role("button", name=action, exact=True).click()


def test_what_waits_is_promoted_rolled_back_and_brought_back(
    app: FastAPI, work: Work, admin: TestClient, browser: Browser
) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        pretended.improve(session, number, kl={"value": 60.0, "n": 4, "low": 55.0, "high": 65.0})
    with served(app) as address, browser.new_context(base_url=address) as context:
        cookie = {"name": "hone_session", "value": admin.cookies["hone_session"], "url": address}
        context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        page.goto("/policies")
        current = page.locator("tr", has=page.get_by_text("current", exact=True)).get_by_role("rowheader")
        expect(current).to_contain_text("round1-sft")
        page.get_by_role("button", name="Promote round1-ppo").click()
        page.get_by_role("dialog").get_by_role("button", name="Go back").click()
        expect(current).to_contain_text("round1-sft")
        confirm(page, "Promote round1-ppo", "Let round1-ppo write the next pairs?")
        expect(page.get_by_role("status")).to_contain_text("round1-ppo writes the next pairs. Roll back to undo it.")
        expect(current).to_contain_text("round1-ppo")
        confirm(page, "Roll back to round1-sft", "instead of round1-ppo?")
        expect(current).to_contain_text("round1-sft")
        confirm(page, "Roll back to round1-ppo", "instead of round1-sft?")
        expect(current).to_contain_text("round1-ppo")


def test_the_next_document_is_one_key_away(app: FastAPI, work: Work, admin: TestClient, browser: Browser) -> None:
    with work() as session:
        for document in ("one", "two"):
            about = factories.document(session, document)
            for writer in ("ref", "other"):
                factories.summary(session, about.id, f" {document} by {writer}.", writer)
        ids = [row.id for row in policies.policies(session) if row.name in ("ref", "other")]
    with served(app) as address, browser.new_context(base_url=address) as context:
        cookie = {"name": "hone_session", "value": admin.cookies["hone_session"], "url": address}
        context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        page.goto(f"/policies/compare?a={ids[0]}&b={ids[1]}")
        expect(page.get_by_text("one by other.")).to_be_visible()
        page.get_by_role("link", name="Next").press("Enter")
        expect(page.get_by_text("two by other.")).to_be_visible()
        page.get_by_role("link", name="Previous").press("Enter")
        expect(page.get_by_text("one by ref.")).to_be_visible()
