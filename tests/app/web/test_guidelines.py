"""Guidelines are read, confirmed, written, previewed and published through the door."""

import re

import pytest
from fastapi import FastAPI
from playwright.sync_api import expect
from starlette.testclient import TestClient

from app.domain.words import Role
from tests.app.web.conftest import PASSWORD, Front
from tests.app.web.test_markdown import EVIL
from tests.conftest import Work
from tests.support import factories
from tests.support.browser import chromium
from tests.support.served import served


def test_a_newcomer_is_sent_to_the_guidelines_and_confirms_them(front: Front, work: Work) -> None:
    with work() as session:
        factories.pairs(session)
    newcomer = front.signed_in("Ada", Role.LABELER, reads=False)
    told = newcomer.post("/api/leases", json={"ahead": 1}).json()
    assert told["items"] == []
    assert told["before"] == {
        "words": "Please read the guidelines before you begin.",
        "href": "/guidelines",
        "label": "Read the guidelines",
    }
    shown = newcomer.get("/guidelines").text
    assert "Confirm that I have read this" in shown
    assert '<h2 id="part-1">What this work is</h2>' in shown
    version = re.search(r'name="version" value="(\d+)"', shown)
    assert version is not None
    confirmed = newcomer.post("/guidelines/confirm", data={"version": version[1]})
    assert (confirmed.status_code, confirmed.headers["location"]) == (303, "/label")
    assert newcomer.post("/api/leases", json={"ahead": 1}).json()["before"] is None
    again = newcomer.get("/guidelines").text
    assert "Confirm that I have read this" not in again
    assert 'href="/guidelines" aria-current="page"' in again, "they can be read at any time"
    assert "Write a new version" not in again


def test_a_version_is_written_previewed_and_published(admin: TestClient, labeler: TestClient) -> None:
    written = admin.get("/guidelines/edit").text
    assert "Version 2 of the guidelines" in written
    assert "Publish version" not in written, "nothing is published that was not looked at"
    shown = admin.post("/guidelines/preview", data={"text": "# New\n\nBe **kind**.", "after": 1}).text
    assert '<h2 id="part-1">New</h2>' in shown
    assert "<strong>kind</strong>" in shown
    assert "Removed: </span># What this work is</del>" in shown
    assert "Publish version 2" in shown
    assert "Version 1" in admin.get("/guidelines").text
    assert "Version 2" not in admin.get("/guidelines").text, "a preview keeps nothing"
    published = admin.post("/guidelines", data={"text": "# New\r\n\r\nBe **kind**.", "after": 1})
    assert published.headers["location"] == "/guidelines"
    page = admin.get("/guidelines").text
    assert "Version 2 is published." in page
    assert "<strong>kind</strong>" in page
    assert "came with Hone" in page
    told = labeler.get("/guidelines").text
    assert "There is a new version." in told
    assert "Added: </span>Be **kind**.</ins>" in told
    assert "came with Hone" not in told
    old = admin.get("/guidelines/versions/1")
    assert (old.status_code, "A worked example" in old.text) == (200, True)
    assert "Added: </span>Be **kind**.</ins>" in admin.get("/guidelines/versions/2").text
    assert admin.get("/guidelines/versions/3").status_code == 404


def test_what_is_refused_keeps_what_was_typed(admin: TestClient) -> None:
    empty = admin.post("/guidelines/preview", data={"text": "  ", "after": 1})
    assert (empty.status_code, "There is nothing to publish." in empty.text) == (422, True)
    admin.post("/guidelines", data={"text": "Second.", "after": 1})
    late = admin.post("/guidelines", data={"text": "Mine, typed for an hour.", "after": 1})
    assert (late.status_code, "another version meanwhile" in late.text) == (409, True)
    assert "Mine, typed for an hour." in late.text
    stale = front_page(admin)
    assert "Second." in stale


def front_page(client: TestClient) -> str:
    """The guidelines as this reader sees them."""
    return client.get("/guidelines").text


def test_a_confirmation_of_an_older_version_is_refused(admin: TestClient, labeler: TestClient) -> None:
    admin.post("/guidelines", data={"text": "Second.", "after": 1})
    late = labeler.post("/guidelines/confirm", data={"version": 1})
    assert (late.status_code, "newer version was published" in late.text) == (409, True)
    assert labeler.post("/guidelines/confirm", data={"version": 2}).status_code == 303


@pytest.mark.browser
def test_nothing_in_guidelines_runs_or_loads(app: FastAPI, front: Front, admin: TestClient, work: Work) -> None:
    """Everything evil at once, in a real browser: no request leaves for another host, nothing runs, nothing breaks."""
    text = "# Before\n\n" + "\n\n".join(EVIL) + "\n\n# After\n"
    assert admin.post("/guidelines", data={"text": text, "after": 1}).status_code == 303
    links = {name: front.link(name, role) for name, role in (("Ada", Role.LABELER), ("Bo", Role.ADMIN))}
    asked: list[str] = []
    trouble: list[str] = []
    with served(app) as address, chromium() as browser:
        for name, paths in (("Ada", ["/guidelines"]), ("Bo", ["/guidelines", "/guidelines/versions/2"])):
            page = browser.new_context(base_url=address).new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("dialog", lambda dialog: trouble.append(dialog.message))
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("console", lambda said: trouble.append(said.text))
            page.goto(links[name])
            page.get_by_label("Password").fill(PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/link/" not in url)
            for path in paths:
                page.goto(path)
                expect(page.get_by_role("heading", name="After", exact=True)).to_be_visible()
                expect(page.locator(".prose")).to_contain_text("<script>alert(1)</script>")
                assert page.locator(".prose").locator("img, script, svg, iframe, form, input, style, link").count() == 0
                hrefs = page.locator(".prose a").evaluate_all("(links) => links.map((link) => link.protocol)")
                assert set(hrefs) <= {"http:", "https:", "mailto:", ":"}, "the last one leads nowhere"
            if name == "Bo":
                page.goto("/guidelines/edit")
                page.get_by_label("Text").fill(text + "More.")
                page.get_by_role("button", name="Preview").click()
                expect(page.locator(".prose").get_by_text("More.")).to_be_visible()
    assert trouble == []
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
