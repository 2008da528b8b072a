"""A real server with the bundle of the repository, and a real Chromium that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.local_server import ROOT

OUT = ROOT / "out" / "page"
# The browser talks to nobody but the server under test.
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
    """A browser; where none is installed, the tests that need it are skipped.

    Its driver holds the thread's event loop, which asynchronous tests of other modules need: it ends with the module.
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
    """A tab with a profile of its own; what its console says and whom it asks is kept."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.address = address
        self.context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **settings})
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda m: self.said.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.said.append(f"error: {e}"))
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
