"""Convert the publishers' candidate boxes (x, y, width, height) to corner boxes that features can be pooled from.

Some published boxes begin one pixel outside the image (Visual7W), some end a fraction of a pixel outside (COCO): they
are clipped to the image. A box with no area inside the image is not a valid candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

from twelvefold import boxes
from twelvefold.datasets.reading.records import InvalidRecordError
from twelvefold.schema import Box

XYWH = tuple[float, float, float, float]


def clip_candidates(boxes_xywh: Sequence[XYWH], width: float = inf, height: float = inf) -> tuple[Box, ...]:
    """Return corner boxes clipped to the image.

    ``width`` and ``height`` of the image in pixels; where the file does not state them, boxes are clipped at 0 only.

    Raises:
        InvalidRecordError: there are no boxes, or one of them is not valid.
    """
    if not boxes_xywh:
        raise InvalidRecordError("expected boxes, got none")
    clipped = [boxes.clip_xywh(box, width, height) for box in boxes_xywh]
    candidates = tuple(box for box in clipped if box is not None)
    if len(candidates) < len(clipped):
        image = f"the image ({width:g} x {height:g})" if isfinite(width) else "the image"
        raise InvalidRecordError(
            f"expected a box of finite numbers with an area inside {image}, got x, y, width, height = "
            f"{list(boxes_xywh[clipped.index(None)])}"
        )
    return candidates
