"""The report in a browser: it fits phones and screens, and is accessible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from tests.reporting.run_files import write_run

from twelvefold.reporting.report import report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    write_run(folder)
    report(folder)
    return folder


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (768, True), (360, False)], ids=["1100", "768-dark", "360"])
def test_the_report_fits_and_is_accessible(
    browser: Browser,
    run: Path,
    shot: Callable[[Page, str], Path],
    readable: Callable[[Page], list[str]],
    width: int,
    dark: bool,
) -> None:
    with browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    ) as context:
        page = context.new_page()
        page.goto((run / "report.html").as_uri())
        shot(page, "report")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert readable(page) == []
