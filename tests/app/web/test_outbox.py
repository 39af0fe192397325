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
        self.html = bytes(page(request, "labeling/compare.html", ComparePage(list(WORDS.items()), [])).body)

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
        pair = {"showing": str(uuid4()), "document": document, "summaries": summaries, "expires_at": None}
        return {"items": [pair], "progress": progress}

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
    held = {f"hone.unsent.{number}": text for number, text in enumerate(BROKEN)}
    held |= {"hone.unsent.whole": json.dumps(whole)}
    script = f"for (const [name, text] of Object.entries({json.dumps(held)})) localStorage.setItem(name, text);"
    tab, server = opened(browser, script)
    judge(tab)
    assert [each["value"] for each in server.sent()] == [9, 2]
    assert server.trouble == []
    tab.context.close()


def test_a_blocked_storage_does_not_kill_the_page(browser: Browser) -> None:
    tab, server = opened(browser, BLOCKED)
    judge(tab)
    assert [each["value"] for each in server.sent()] == [2]
    assert server.trouble == []
    tab.locator("#show-keys").click()
    tab.locator("#use-keys").uncheck()
    assert server.trouble == []
    tab.context.close()


def test_a_full_storage_does_not_kill_the_page(browser: Browser) -> None:
    script = 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };'
    tab, server = opened(browser, script)
    judge(tab)
    tab.locator("#show-keys").click()
    tab.locator("#use-keys").uncheck()
    assert ([each["value"] for each in server.sent()], server.trouble) == ([2], [])
    tab.context.close()
