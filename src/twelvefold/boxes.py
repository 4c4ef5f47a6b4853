"""IoU and conversions of boxes. Boxes are x1, y1, x2, y2.

The field measures boxes in three ways, which differ near a threshold, so :func:`iou` takes the convention as an
argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twelvefold.schema import Box, Size, TwelvefoldError

Floats = NDArray[np.float64]
NO_BOXES: NDArray[np.float32] = np.zeros((0, 4), np.float32)

VERSION = 1
"""Version of the results of this module. Increase it when a change gives other results: files computed from them are
then computed again."""

Convention = Literal["continuous", "official", "vilbert_mt"]
"""How a box is measured.

``continuous``: the width is x2 - x1 (torchvision, the detector).
``official``: RefCOCO's publishers: a box x, y, w, h has its right edge at x + w - 1 and includes both edges, so its
width is w again; an intersection is (right - 1) - left + 1 pixels wide. A hit is IoU >= 0.5.
``vilbert_mt``: the original 12-in-1 project: the right edge is at x + w, and one is added to every side. A hit is IoU
> 0.5.
"""


def xywh_to_xyxy(boxes: ArrayLike) -> Floats:
    """Convert (..., 4) x, y, width, height to x1, y1, x2, y2 with x2 = x + width."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:4]], axis=-1)


def xyxy_to_xywh(boxes: ArrayLike) -> Floats:
    """Convert (..., 4) x1, y1, x2, y2 to x, y, width, height."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([b[..., :2], b[..., 2:4] - b[..., :2]], axis=-1)


def area(boxes: ArrayLike, convention: Convention = "continuous") -> Floats:
    """Return the areas in square pixels, (..., 4) -> (...); 0 for a box with x2 < x1 or y2 < y1."""
    b = np.asarray(boxes, dtype=np.float64)
    sides = np.maximum(b[..., 2:4] - b[..., :2] + (convention == "vilbert_mt"), 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(a: ArrayLike, b: ArrayLike, convention: Convention = "continuous") -> Floats:
    """Return the IoU of every box of ``a`` (N, 4) with every box of ``b`` (M, 4): (N, M) in 0..1.

    With boxes from :func:`xywh_to_xyxy`, ``official`` differs from ``continuous`` only for thin intersections: at most
    one pixel in width or height counts as none. A box without area has IoU 0 with every box.
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    return paired_iou(a, b, convention)


def paired_iou(a: ArrayLike, b: ArrayLike, convention: Convention = "continuous") -> Floats:
    """Return the IoU of corresponding boxes: ``a`` and ``b`` (..., 4) of shapes that broadcast -> (...) in 0..1."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., 2:], b[..., 2:])
    sides = np.maximum(bottom_right - top_left + (convention == "vilbert_mt"), 0.0)
    if convention == "official":
        sides = np.where(sides > 1.0, sides, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(a, convention) + area(b, convention) - intersection
    result: Floats = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return result


def is_hit(iou: ArrayLike, convention: Convention = "official") -> NDArray[np.bool_]:
    """Return whether an IoU is a hit: >= 0.5, or > 0.5 by the rule of ``vilbert_mt``."""
    iou = np.asarray(iou)
    return iou > 0.5 if convention == "vilbert_mt" else iou >= 0.5


def clip(boxes_px: ArrayLike, width: float, height: float) -> Floats:
    """Clip boxes (..., 4) to an image of ``width`` x ``height`` pixels."""
    b = np.asarray(boxes_px, dtype=np.float64)
    return np.clip(b, 0.0, np.array([width, height, width, height], dtype=np.float64))


def clip_xywh(box_xywh: Sequence[float], width: float, height: float) -> Box | None:
    """Convert x, y, width, height to corners clipped to an image; None if a number is not finite or nothing is left.

    Gives the result of :func:`xywh_to_xyxy` and :func:`clip`, several times as fast for a single box.
    """
    x, y, w, h = box_xywh
    corners, limits = (x, y, x + w, y + h), (float(width), float(height))
    x1, y1, x2, y2 = (min(max(0.0, side), limit) for side, limit in zip(corners, limits * 2, strict=True))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 and all(map(isfinite, corners)) else None


def is_same_size(first: Size, second: Size) -> bool:
    """Return whether two sizes are equal, up to one pixel and one percent on each side (rounding)."""
    return all(abs(a - b) <= min(1, 0.01 * max(a, b)) for a, b in zip(first, second, strict=True))


def scale_factors(size: Size, scaled_size: Size) -> tuple[float, float] | None:
    """Return the factors of x and y from an image to a resized copy; None if the copy has another aspect ratio.

    The copy's sides may be rounded up or down: 640 x 427 and 320 x 213 have one aspect ratio. The factors are 1 if the
    sizes are the same by :func:`is_same_size`.
    """
    if is_same_size(size, scaled_size):
        return 1.0, 1.0
    lowest = max((scaled - 1) / side for side, scaled in zip(size, scaled_size, strict=True))
    highest = min((scaled + 1) / side for side, scaled in zip(size, scaled_size, strict=True))
    return (scaled_size[0] / size[0], scaled_size[1] / size[1]) if lowest < highest else None


def scale(boxes_px: ArrayLike, factors: tuple[float, float]) -> Floats:
    """Return boxes (..., 4) with x and y multiplied by the two factors."""
    scaled: Floats = np.asarray(boxes_px, dtype=np.float64) * np.array([*factors, *factors])
    return scaled


def locations(boxes_px: ArrayLike, width: ArrayLike, height: ArrayLike) -> NDArray[np.float32]:
    """Return (N, 5) float32: x1/W, y1/H, x2/W, y2/H and the share of the image's area (ViLBERT's spatial features).

    ``width`` and ``height``: of the image of all boxes, or (N,) of each box's image.
    """
    b = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    unit = b / np.stack([width, height, width, height], axis=-1).astype(np.float64)
    share = (unit[:, 2] - unit[:, 0]) * (unit[:, 3] - unit[:, 1])
    return np.concatenate([unit, share[:, None]], axis=1).astype(np.float32)


def validate_boxes(boxes_px: Sequence[NDArray[np.floating]], num_images: int) -> list[NDArray[np.float32]]:
    """Return the given boxes of each image as (n, 4) float32.

    Raises:
        TwelvefoldError: a wrong number of lists, a wrong shape, or a number that is not finite.
    """
    if len(boxes_px) != num_images:
        raise TwelvefoldError(f"expected a list of boxes for each of {num_images} images, got {len(boxes_px)} lists")
    return [_validate(boxes) for boxes in boxes_px]


def _validate(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    boxes = np.ascontiguousarray(boxes, np.float32)
    if boxes.size == 0:
        return NO_BOXES
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise TwelvefoldError(f"given boxes are (n, 4) finite numbers x1, y1, x2, y2, got {boxes.shape}: {boxes}")
    return boxes
