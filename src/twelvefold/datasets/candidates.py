"""Candidate boxes as the publishers write them (x, y, width, height), made fit for pooling features from them.

Some true boxes begin one pixel outside the picture (Visual7W), some end a fraction of one outside (COCO): they are
moved inside. A box of which nothing is left is no candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twelvefold import boxes
from twelvefold.schema import Box

XYWH = tuple[float, float, float, float]


def inside(boxes_xywh: Sequence[XYWH], width: float = np.inf, height: float = np.inf) -> tuple[tuple[Box, ...], str]:
    """Corner boxes cut to the picture, and why one of them cannot be used (empty where all can).

    ``width`` and ``height`` are left out where the file does not tell them: then only the upper left is cut.
    """
    if not boxes_xywh:
        return (), "expected boxes, got none"
    with np.errstate(over="ignore"):  # what grows past all numbers is refused below
        corners = boxes.xywh_to_xyxy(boxes_xywh)
    cut = boxes.clip(corners, width, height)
    good = np.isfinite(corners).all(axis=1) & (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
    if not good.all():
        first = int(np.argmin(good))
        picture = f"the picture ({width:g} x {height:g})" if np.isfinite(width) else "the picture"
        return (), f"expected a box of finite numbers with an area inside {picture}, got x, y, width, height = " + (
            f"{list(boxes_xywh[first])}"
        )
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in cut.tolist()), ""
