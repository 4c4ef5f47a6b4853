"""Candidate boxes as the publishers write them (x, y, width, height), made fit for pooling features from them.

Some true boxes begin one pixel outside the picture (Visual7W), some end a fraction of one outside (COCO): they are
moved inside. A box of which nothing is left is no candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

from twelvefold import boxes
from twelvefold.schema import Box

XYWH = tuple[float, float, float, float]


def inside(boxes_xywh: Sequence[XYWH], width: float = inf, height: float = inf) -> tuple[tuple[Box, ...], str]:
    """Corner boxes cut to the picture, and why one of them cannot be used (empty where all can).

    ``width`` and ``height`` are left out where the file does not tell them: then only the upper left is cut.
    """
    if not boxes_xywh:
        return (), "expected boxes, got none"
    found = [boxes.inside(box, width, height) for box in boxes_xywh]
    candidates = tuple(box for box in found if box is not None)
    if len(candidates) < len(found):
        picture = f"the picture ({width:g} x {height:g})" if isfinite(width) else "the picture"
        return (), f"expected a box of finite numbers with an area inside {picture}, got x, y, width, height = " + (
            f"{list(boxes_xywh[found.index(None)])}"
        )
    return candidates, ""
