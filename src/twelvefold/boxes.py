"""The only overlap and the only box conversions of the project. Boxes are x1, y1, x2, y2.

Three conventions for "how wide is a box" live in this field, and they disagree near a threshold, so the
convention is a named argument of the one IoU (``official_files`` of the publishers; see ``Convention``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twelvefold.schema import Box

Floats = NDArray[np.float64]

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

Convention = Literal["continuous", "publishers", "original"]
"""How a corner box is measured.

``continuous``: width is x2 - x1 (torchvision, the detector).
``publishers``: the refer toolkit: the right edge of a box given as x, y, w, h lies at x + w - 1, and both edges
count, so a width is again w; intersections count pixels: (right - 1) - left + 1. Hit at >= 0.5.
``original``: the original 12-in-1 project: corners at x + w, and one is added to every side. Hit at > 0.5.
"""


def xywh_to_xyxy(boxes: ArrayLike) -> Floats:
    """(..., 4) x, y, width, height -> x1, y1, x2, y2 with x2 = x + width."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:4]], axis=-1)


def xyxy_to_xywh(boxes: ArrayLike) -> Floats:
    """(..., 4) x1, y1, x2, y2 -> x, y, width, height."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([b[..., :2], b[..., 2:4] - b[..., :2]], axis=-1)


def area(boxes: ArrayLike, convention: Convention = "continuous") -> Floats:
    """(..., 4) -> (...): area in square pixels; zero, never negative, for a box turned inside out."""
    b = np.asarray(boxes, dtype=np.float64)
    sides = np.maximum(b[..., 2:4] - b[..., :2] + (convention == "original"), 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(a: ArrayLike, b: ArrayLike, convention: Convention = "continuous") -> Floats:
    """Intersection over union of every box of ``a`` (N, 4) with every box of ``b`` (M, 4): (N, M) in 0..1.

    ``publishers`` differs from ``continuous`` only in slivers: a box made by ``xywh_to_xyxy`` stands one past
    the toolkit's right edge, so widths agree, but the toolkit counts an intersection of at most one pixel in
    width or height as none. Boxes of no area overlap nothing.
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    return paired_iou(a, b, convention)


def paired_iou(a: ArrayLike, b: ArrayLike, convention: Convention = "continuous") -> Floats:
    """The same of box by box: ``a`` and ``b`` (..., 4) of shapes that broadcast, (...) in 0..1."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., 2:], b[..., 2:])
    sides = np.maximum(bottom_right - top_left + (convention == "original"), 0.0)
    if convention == "publishers":
        sides = np.where(sides > 1.0, sides, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    total = area(a, convention) + area(b, convention) - shared
    overlap: Floats = np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)
    return overlap


def is_hit(overlap: ArrayLike, convention: Convention = "publishers") -> NDArray[np.bool_]:
    """Whether an overlap counts as found: >= 0.5, or > 0.5 under the ``original`` project's rule."""
    overlap = np.asarray(overlap)
    return overlap > 0.5 if convention == "original" else overlap >= 0.5


def clip(boxes_px: ArrayLike, width: float, height: float) -> Floats:
    """(..., 4): corners moved inside a picture of ``width`` x ``height`` pixels."""
    b = np.asarray(boxes_px, dtype=np.float64)
    return np.clip(b, 0.0, np.array([width, height, width, height], dtype=np.float64))


def inside(box_xywh: Sequence[float], width: float, height: float) -> Box | None:
    """One x, y, width, height as corners inside a picture; None where they are no finite numbers or nothing is left.

    What :func:`xywh_to_xyxy` and :func:`clip` give, for readers that meet a few boxes a record: several times as fast.
    """
    x, y, w, h = box_xywh
    corners, ends = (x, y, x + w, y + h), (float(width), float(height))
    x1, y1, x2, y2 = (min(max(0.0, side), end) for side, end in zip(corners, ends * 2, strict=True))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 and all(map(isfinite, corners)) else None


def locations(boxes_px: ArrayLike, width: ArrayLike, height: ArrayLike) -> NDArray[np.float32]:
    """(N, 4) -> (N, 5) float32: x1/W, y1/H, x2/W, y2/H and the share of the picture's area (ViLBERT's spatials).

    ``width`` and ``height``: of the one picture, or (N,) of each box's own.
    """
    b = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    unit = b / np.stack([width, height, width, height], axis=-1).astype(np.float64)
    share = (unit[:, 2] - unit[:, 0]) * (unit[:, 3] - unit[:, 1])
    return np.concatenate([unit, share[:, None]], axis=1).astype(np.float32)


def check(box_px: Sequence[float]) -> str:
    """Why a box can't be used, or an empty string: four finite numbers, x2 > x1 and y2 > y1."""
    if len(box_px) != 4 or not all(np.isfinite(box_px)):
        return f"a box is four finite numbers x1, y1, x2, y2, got {list(box_px)}"
    if box_px[2] <= box_px[0] or box_px[3] <= box_px[1]:
        return f"a box needs x2 > x1 and y2 > y1, got {list(box_px)}"
    return ""
