"""Format percentages and evidence, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Mapping

from twelvefold.schema import Evidence

EVIDENCE: Mapping[Evidence, str] = {
    "ids": "by id",
    "bytes": "by equal files",
    "pixels": "by equal pixels",
    "looks": "by looks",
    "features": "by features",
}
"""Labels of the evidence for a duplicate, the strongest first."""


def format_percent(count: int, total: int) -> str:
    """Return a percentage without decimals, as in Table 1: a dot for none, ``<1`` and ``>99`` close to 0 and 100."""
    if not count:
        return "·"
    text = f"{100.0 * count / total:.0f}"
    if text == "0":
        return "<1"
    return ">99" if text == "100" and count < total else text


def format_evidence(counts: Mapping[Evidence, int]) -> str:
    """Return counts with their evidence: ``70 by id, 7 by looks``."""
    return ", ".join(f"{count:,} {EVIDENCE[evidence]}" for evidence, count in counts.items() if count)
