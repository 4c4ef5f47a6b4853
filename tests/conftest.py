"""What a run says at its end."""

from __future__ import annotations

import pydantic  # noqa: F401 - cyclopts then checks the type of every argument, in each process of the tests alike
import pytest

pytest_plugins = ("tests.vilbert_checkpoints",)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, and why: a test that is skipped in silence is taken for one that passed."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] = reasons.get(reason.removeprefix("Skipped: "), 0) + 1
    if reasons:
        terminalreporter.section("left out", yellow=True)
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} test{'s' if count > 1 else ''} left out: {reason}")
