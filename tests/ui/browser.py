"""Chromium, and what is watched on each page: errors, dialogs, and requests to anywhere but the server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Playwright, Request

MISSING = "No Chromium was found; run: playwright install chromium   (or: apt install chromium)"
# Nothing but the pages of the tests may use the network or the processor.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What the core says, with us and without us: the pattern, and when.
CORE_SAYS = {
    r"Cannot read properties of undefined \(reading 'schema'\)[\s\S]*notebook_core": "Notebook 7 loads its settings",
    "Canceled future for create_subshell_request": "a kernel ends soon after a comm was opened",
    "Could not restore the debugger state: Canceled future": "a notebook is closed soon after it was opened",
}
# Calls of these mean that somebody else's script ran in the page.
TRAPS = """
window.hostile = [];
for (const name of ['alert', 'confirm', 'prompt', 'print', 'open'])
  window[name] = (...given) => { window.hostile.push(name + ' ' + given.join(' ')); return null; };
"""


class Watch:
    """What went wrong on the pages of one context."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.origin = origin
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.strangers: list[str] = []
        self.allowed: list[str] = []
        context.on("console", self._console)
        context.on("weberror", lambda error: self._error(f"{error.error.message}\n{error.error.stack}"))
        context.on("dialog", self._dialog)
        context.on("request", self._request)

    def allow(self, pattern: str) -> None:
        """Pass over errors of this test that fit a pattern; the caller says why."""
        self.allowed.append(pattern)

    def check(self) -> None:
        """Fail if anything happened since the last call."""
        errors = [e for e in self.errors if not any(re.search(p, e) for p in self.allowed)]
        found = {"errors": errors, "dialogs": self.dialogs, "requests to elsewhere": self.strangers}
        self.errors, self.dialogs, self.strangers, self.allowed = [], [], [], []
        for what, list_ in found.items():
            assert not list_, f"{what} in the browser:\n" + "\n".join(list_)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._error(f"{message.text} ({message.location.get('url', '')})")

    def _error(self, text: str) -> None:
        if not any(re.search(pattern, text) for pattern in CORE_SAYS):
            self.errors.append(text)

    def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":  # the core's, where changes are not saved
            dialog.accept()
        else:
            self.dialogs.append(f"{dialog.type}: {dialog.message}")
            dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:", "about:")):
            self.strangers.append(request.url)


def chromium(playwright: Playwright) -> Browser:
    """Start Chromium: the system's, or else playwright's own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None and not Path(playwright.chromium.executable_path).exists():
        pytest.fail(MISSING, pytrace=False)
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)


@contextmanager
def watched(browser: Browser, origin: str, **options: object) -> Iterator[tuple[BrowserContext, Watch]]:
    """Open a context of its own, like another browser."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    context.add_init_script(TRAPS)
    try:
        yield context, Watch(context, origin)
    finally:
        context.close()


def trapped(page: Page) -> list[str]:
    """Return which traps were sprung."""
    found: list[str] = page.evaluate("window.hostile")
    return found
