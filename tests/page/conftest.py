"""Fixtures: a real Chromium, and visits of the page of a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.local_server import ROOT

OUT = ROOT / "out" / "page"
# The browser connects to the server under test only.
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1360, "height": 860}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; without one, the tests that need it are skipped.

    The browser's driver occupies the thread's event loop, which asynchronous tests of other modules need. So the driver
    ends with the module.
    """
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class Visit:
    """A tab with its own profile, which records the console's messages and the requested addresses."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.address = address
        self.context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **settings})
        self.page = self.context.new_page()
        self.console: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda m: self.console.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.console.append(f"error: {e}"))
        self.page.on("request", lambda r: self.requested.append(r.url))
        self.page.goto(address)
        self.page.wait_for_selector("#status[data-kind=ready]")

    def open_sample(self) -> Any:
        self.page.click("#sample")
        self.page.wait_for_selector("#work:not([hidden])")
        return self.page

    def fill(self) -> Any:
        self.open_sample()
        self.page.click("#run")
        self.page.wait_for_selector("#take:not([hidden])", timeout=60_000)
        return self.page

    def text(self, selector: str) -> str:
        found: str = self.page.inner_text(selector)
        return found

    def picture(self, name: str) -> Path:
        """A screenshot of the whole page, in out/page."""
        OUT.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=OUT / f"{name}.png", full_page=True)
        return OUT / f"{name}.png"


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Visit]:
    """A visit of the page on a desktop."""
    with_page = Visit(chromium, address)
    yield with_page
    with_page.context.close()
