"""Chromium, as people have it: cookies of secure origins, and a passkey in hand where a test wants one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from infra.local.paths import LOCAL

SCREENSHOTS = LOCAL / "screenshots"
PATIENCE_MS = 120_000


@contextmanager
def open_browser() -> Iterator[BrowserContext]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            context = browser.new_context(viewport={"width": 900, "height": 900})
            # The first page of a cloud waits for a function that starts cold.
            context.set_default_timeout(PATIENCE_MS)
            yield context
        finally:
            browser.close()


def give_passkeys(page: Page) -> None:
    """Let the page's browser make passkeys and use them, its owner checked each time."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


class Camera:
    """Keeps pictures of pages, in order, and what the browser complained about."""

    def __init__(self, page: Page, name: str) -> None:
        self._page, self._folder, self._count = page, SCREENSHOTS / name, 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)

    def take(self, name: str) -> None:
        self._count += 1
        self._page.screenshot(path=self._folder / f"{self._count:02d}-{name}.png", full_page=True)

    def _note(self, message) -> None:
        # A refusal is a status, which Chromium writes down as an error of the page.
        if message.type == "error" and "status of 4" not in message.text:
            self.complaints.append(message.text)
