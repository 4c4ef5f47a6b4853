"""A real server in its own process, and Debian's chromium driven by Playwright.

Where there is no browser these tests are left out and the run says so at its end (tests/conftest.py); with
``TWELVEFOLD_BROWSER=required`` in the environment, as ``.ci/run`` has it, they fail instead. Screenshots are left in
``TWELVEFOLD_SCREENSHOTS``, or ``build/screenshots``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SHOTS = Path(os.environ.get("TWELVEFOLD_SCREENSHOTS", ROOT / "build" / "screenshots"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("TWELVEFOLD_BROWSER") == "required"
LEFT_OUT = "no browser: install chromium (apt-get install chromium) to run the tests of the page"
ARGUMENTS = [
    "--no-sandbox",  # tests may run as root, which chromium's sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000
"""How long a thing may take to appear: the machine may be busy; nothing here waits for the clock otherwise."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None and not REQUIRED:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a ``twelvefold serve`` in a process of its own."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--set", "log_level=warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        line = next((line for line in server.stdout if line.startswith("http://")), None)
        assert line, "the server ended before it took questions"
        yield line.split()[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=40) == 0


@pytest.fixture(scope="session")
def load_samples() -> dict[str, dict[str, Any]]:
    """What ``samples.json`` says of each picture that ships."""
    text = (ROOT / "src" / "twelvefold" / "serving" / "samples" / "samples.json").read_text()
    return {one["name"]: one for one in json.loads(text)}


@pytest.fixture(scope="module")  # not the session: no test after it could start an event loop
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, LEFT_OUT
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """The page, in a window of its own: ``open_page(width=1280, dark=False)``. Whatever a test does with it, it asks
    no other host, and nothing is amiss in its console but what the test names (``expected=["status of 415"]``)."""
    pages: list[Page] = []
    asked: list[str] = []
    amiss: list[str] = []
    named: list[str] = []

    def open_one(*, width: int = 1280, dark: bool = False, expected: list[str] | None = None) -> Page:
        named.extend(expected or [])
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", has_touch=width < 500
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("request", lambda request: asked.append(_host(request)))
        page.on("pageerror", lambda error: amiss.append(str(error)))
        page.on("console", lambda message: amiss.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator(".tile.ready").first.wait_for()
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.context.close()
    assert set(asked) <= {address, "blob:", "data:"}
    assert [text for text in amiss if not any(one in text for one in named)] == []


def _host(request: Request) -> str:
    scheme = request.url.partition(":")[0]
    return f"{scheme}:" if scheme in ("blob", "data") else "/".join(request.url.split("/")[:3])


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Page, str], Path]:
    """Keep a picture of the page as an artefact, named after the test."""

    def take(page: Page, name: str = "") -> Path:
        SHOTS.mkdir(parents=True, exist_ok=True)
        stem = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "").replace("/", "-")
        path = SHOTS / f"{stem}{name and f'-{name}'}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return take


@pytest.fixture(scope="session")
def readable() -> Callable[[Page], list[str]]:
    """What is amiss with the page for eyes, screen readers and fingers (readable.js)."""
    check = (Path(__file__).parent / "readable.js").read_text()

    def problems(page: Page) -> list[str]:
        found: list[str] = page.evaluate(check)
        return found

    return problems
