"""What the judging page keeps in the browser's storage, when that storage is broken or blocked: a real browser."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, Route, expect
from starlette.requests import Request

from app.domain.preferences import WORDS
from app.domain.words import LabelerKind, Role
from app.services.people import Viewer
from app.settings import Settings
from app.web.contexts import ComparePage
from app.web.rendering import STATIC, environment, page
from tests.support.browser import chromium

pytestmark = pytest.mark.browser

HOME = "http://hone.test"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
BLOCKED = """
Object.defineProperty(window, "localStorage", { get() { throw new DOMException("blocked", "SecurityError"); } });
"""
FULL = 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };'
BROKEN = ["{", "", "null", "7", "[]", '"text"', '{"viewer": "Ada"}', '{"viewer": "Ada", "body": null, "path": "/x"}']


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


class Server:
    """Answers for Hone: the page, its files, and one pair after the other. `got` is what was posted."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.trouble: list[str] = []
        app = FastAPI()
        app.state.settings, app.state.jinja = Settings(), environment()
        scope = {"type": "http", "method": "GET", "path": "/label", "headers": [], "query_string": b"", "app": app}
        request = Request(scope | {"state": {"viewer": Viewer(1, "Ada", Role.LABELER, LabelerKind.HUMAN)}})
        context = ComparePage(ahead=1, scale=list(WORDS.items()), axes=[], reasons=[], concerns=[])
        self.html = bytes(page(request, "labeling/compare.html", context).body)

    def answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(HOME).partition("?")[0]
        if path == "/label":
            route.fulfill(body=self.html, content_type="text/html")
        elif path.startswith("/static/"):
            file = STATIC / path.removeprefix("/static/")
            route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])
        else:
            self.got.append((path, json.loads(route.request.post_data or "{}")))
            route.fulfill(json=self._said(path))

    def _said(self, path: str) -> dict[str, Any]:
        progress = {"mine_today": 0, "mine_total": 0}
        if path != "/api/leases":
            return {"status": "saved", "version": 1, "progress": progress}
        document = {"title": "A cat", "community": "cats", "text": "It sleeps."}
        summaries = [{"text": "It naps."}, {"text": "It is a cat."}]
        pair = {
            "showing": str(uuid4()),
            "task": "compare",
            "notes_first": False,
            "document": document,
            "summaries": summaries,
            "notes": [None, None],
            "practice": False,
            "expires_at": None,
            "answer": None,
        }
        return {"items": [pair], "before": None, "progress": progress}

    def sent(self) -> list[dict[str, Any]]:
        """The answers that arrived."""
        return [body for path, body in self.got if path == "/api/preferences"]


def opened(browser: Browser, script: str) -> tuple[Page, Server]:
    server = Server()
    tab = browser.new_context().new_page()
    tab.on("pageerror", lambda error: server.trouble.append(str(error)))
    tab.route("**/*", server.answer)
    tab.add_init_script(script)
    tab.goto(f"{HOME}/label")
    return tab, server


def judge(tab: Page) -> None:
    expect(tab.locator("#document-title")).to_have_text("A cat")
    tab.keyboard.press("2")
    tab.keyboard.press("Enter")
    expect(tab.locator("#status")).to_have_text("Saved")


def test_broken_entries_in_the_storage_do_not_kill_the_page(browser: Browser) -> None:
    unsent = {"showing": str(uuid4()), "key": str(uuid4()), "value": 9}
    whole = {"path": "/api/preferences", "body": unsent, "viewer": "Ada", "aside": False}
    held = {f"hone.{kind}.{number}": text for kind in ("unsent", "draft") for number, text in enumerate(BROKEN)}
    held |= {f"hone.unsent.{unsent['showing']}": json.dumps(whole)}
    script = f"for (const [name, text] of Object.entries({json.dumps(held)})) localStorage.setItem(name, text);"
    tab, server = opened(browser, script)
    judge(tab)
    assert [each["value"] for each in server.sent()] == [9, 2]
    assert server.trouble == []
    left = tab.evaluate("Object.keys(localStorage).filter((name) => !/^hone.unsent.[0-9]$/.test(name))")
    assert left == [], "what the page cannot read and did not write as an answer is thrown away"
    tab.context.close()


@pytest.mark.parametrize("script", [BLOCKED, FULL], ids=["blocked", "full"])
def test_a_storage_that_keeps_nothing_is_said_and_does_not_kill_the_page(browser: Browser, script: str) -> None:
    tab, server = opened(browser, script)
    expect(tab.get_by_text("This browser keeps nothing for this page.")).to_be_visible()
    judge(tab)
    assert [each["value"] for each in server.sent()] == [2]
    tab.locator("#show-keys").click()
    tab.locator("#use-keys").uncheck()
    assert server.trouble == []
    tab.context.close()


@pytest.mark.parametrize("script", [BLOCKED, FULL], ids=["blocked", "full"])
def test_what_only_the_page_itself_keeps_is_asked_about_before_it_is_lost(browser: Browser, script: str) -> None:
    tab, server = opened(browser, script)
    expect(tab.locator("#document-title")).to_have_text("A cat")
    tab.keyboard.press("e")
    tab.keyboard.type("A long thought.")
    with tab.expect_event("dialog") as asked:
        tab.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    expect(tab.locator("#explanation")).to_have_value("A long thought.")
    assert server.sent() == []
    tab.context.close()


def test_another_persons_drafts_and_answers_are_left_alone(browser: Browser) -> None:
    unsent = {"showing": str(uuid4()), "key": str(uuid4()), "value": 9}
    theirs = {"path": "/api/preferences", "body": unsent, "viewer": "Bob", "at": 1, "aside": False}
    name = f"hone.unsent.{unsent['showing']}"
    tab, server = opened(browser, f"localStorage.setItem({json.dumps(name)}, {json.dumps(json.dumps(theirs))});")
    judge(tab)
    assert [each["value"] for each in server.sent()] == [2]
    assert tab.evaluate("name => JSON.parse(localStorage.getItem(name)).viewer", name) == "Bob"
    tab.context.close()
