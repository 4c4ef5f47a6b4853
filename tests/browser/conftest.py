"""A server in its own process, and Debian's chromium driven by Playwright.

Without a browser these tests are skipped, and the run reports it at its end (tests/conftest.py); with
``TWELVEFOLD_BROWSER=required`` in the environment, as in ``.ci/run``, they fail instead. Screenshots are saved in
``TWELVEFOLD_SCREENSHOTS`` or ``build/screenshots``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SHOTS = Path(os.environ.get("TWELVEFOLD_SCREENSHOTS", ROOT / "build" / "screenshots"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("TWELVEFOLD_BROWSER") == "required"
SKIP_REASON = "no browser: install chromium (apt-get install chromium) to run the tests of the page"
ARGUMENTS = [
    "--no-sandbox",  # tests may run as root, which chromium's sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 20_000
"""How long an element may take to appear on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None and not REQUIRED:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=SKIP_REASON))


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Return the address of a ``twelvefold serve`` in its own process."""
    with serve_model() as address:
        yield address


@contextmanager
def serve_model(*options: str) -> Iterator[str]:
    """Run ``twelvefold serve`` with these options in its own process; yield its address."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--set", "log_level=warning", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        line = next((line for line in server.stdout if line.startswith("http://")), None)
        assert line, "the server ended before it accepted requests"
        yield line.split()[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=40) == 0


@pytest.fixture(scope="session")
def samples() -> dict[str, dict[str, Any]]:
    """Return the entries of ``samples.json`` by name."""
    text = (ROOT / "src" / "twelvefold" / "serving" / "samples" / "samples.json").read_text()
    return {sample["name"]: sample for sample in json.loads(text)}


@pytest.fixture(scope="module")  # not the session: later tests could not start an event loop
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, SKIP_REASON
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Open the page in a new window: ``open_page(width=1280, dark=False)``.

    At the end, check that the page sent requests to no other host, and that its console has no errors except those in
    ``expected``, for example ``["status of 415"]``.
    """
    pages: list[Page] = []
    hosts: list[str] = []
    errors: list[str] = []
    expected_errors: list[str] = []

    def open_window(*, width: int = 1280, dark: bool = False, expected: list[str] | None = None) -> Page:
        expected_errors.extend(expected or [])
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", has_touch=width < 500
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("request", lambda request: hosts.append(_host(request)))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator(".tile.ready").first.wait_for()
        pages.append(page)
        return page

    yield open_window
    for page in pages:
        page.context.close()
    assert set(hosts) <= {address, "blob:", "data:"}
    assert [text for text in errors if not any(part in text for part in expected_errors)] == []


def _host(request: Request) -> str:
    scheme = request.url.partition(":")[0]
    return f"{scheme}:" if scheme in ("blob", "data") else "/".join(request.url.split("/")[:3])


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Page, str], Path]:
    """Save a screenshot of the page, named after the test."""

    def take(page: Page, name: str = "") -> Path:
        SHOTS.mkdir(parents=True, exist_ok=True)
        stem = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "").replace("/", "-")
        path = SHOTS / f"{stem}{name and f'-{name}'}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return take


@pytest.fixture(scope="session")
def readable() -> Callable[[Page], list[str]]:
    """Return a function that lists accessibility problems of a page (readable.js)."""
    check = (Path(__file__).parent / "readable.js").read_text()

    def problems(page: Page) -> list[str]:
        result: list[str] = page.evaluate(check)
        return result

    return problems
