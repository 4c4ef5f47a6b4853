"""Formatting of values on the page."""

from __future__ import annotations

import pytest

from twelvefold.reporting.html import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.26, "4.3 s"), (48.0, "48 s"), (552.0, "9 min 12 s"), (5460.0, "1 h 31 min"), (59.7, "1 min 00 s")],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
