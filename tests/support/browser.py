"""A real Chromium for tests.

Knows which executable and which switches. Knows nothing of Hone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

# Without these, Chromium knocks on its maker's servers at every start.
SWITCHES = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
)

# A busy machine is slow, not wrong.
expect.set_options(timeout=20_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; HONE_TEST_CHROMIUM names the executable, without it Playwright's own is used."""
    switches = [*SWITCHES, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("HONE_TEST_CHROMIUM") or None, args=switches
        )
        try:
            yield browser
        finally:
            browser.close()
