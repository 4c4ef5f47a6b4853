"""How a share and its evidence are said, in a terminal and on a page alike."""

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
"""The kinds of evidence, the surest first."""


def share(count: int, whole: int) -> str:
    """Percent without decimals, as in Table 1; a dot for none, and never 0 or 100 where there is a rest."""
    if not count:
        return "·"
    text = f"{100.0 * count / whole:.0f}"
    if text == "0":
        return "<1"
    return ">99" if text == "100" and count < whole else text


def by_evidence(counts: Mapping[Evidence, int]) -> str:
    """``70 by id, 7 by looks``."""
    return ", ".join(f"{count:,} {EVIDENCE[kind]}" for kind, count in counts.items() if count)
