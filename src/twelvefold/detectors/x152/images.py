"""Preprocess images for the published detector: BGR minus the channel means, resized to 800 pixels, padded to 32.

Paper: section 3.1; the numbers are those of the original extraction script. The script resizes with OpenCV's bilinear
sampling on float32, without antialiasing; this module does the same arithmetic one axis at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from twelvefold.images import RGB

MEANS_BGR = (102.9801, 115.9465, 122.7717)
SHORT_SIDE, LONG_SIDE = 800, 1333
"""The shorter side becomes 800, unless the longer side would exceed 1333; then the longer side becomes 1333."""
SIZE_DIVISOR = 32
"""Sides are padded to a multiple of the stride of the deepest map."""


def resize_scale(width: int, height: int) -> float:
    """Return the factor by which the sides of an image are multiplied."""
    short, long = min(width, height), max(width, height)
    scale = SHORT_SIDE / short
    return LONG_SIDE / long if np.round(scale * long) > LONG_SIDE else scale


def resized_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the resized image, without padding."""
    scale = resize_scale(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def preprocess(image: RGB, device: torch.device | None = None) -> Tensor:
    """Return (1, 3, H, W) float32 BGR for an image (h, w, 3), zero-padded at the right and bottom to multiples of 32.

    Computed on ``device``; None means the CPU.
    """
    height, width = image.shape[:2]
    scale, (new_width, new_height) = resize_scale(width, height), resized_size(width, height)
    pixels = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).to(device).float()
    pixels -= pixels.new_tensor(MEANS_BGR)
    resized = _resample(_resample(pixels, 0, new_height, scale), 1, new_width, scale)
    resized = resized.permute(2, 0, 1)[None]  # (1, 3, new_height, new_width)
    return functional.pad(resized, (0, -new_width % SIZE_DIVISOR, 0, -new_height % SIZE_DIVISOR))


def _resample(pixels: Tensor, axis: int, size: int, scale: float) -> Tensor:
    """Resample one axis linearly: sample i is at (i + 0.5) / scale - 0.5, clamped to the image."""
    last = pixels.shape[axis] - 1
    position: NDArray[np.float64] = np.clip((np.arange(size) + 0.5) / scale - 0.5, 0.0, last)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, last)
    shape = [-1 if i == axis else 1 for i in range(pixels.ndim)]
    weight = torch.from_numpy((position - low).astype(np.float32)).reshape(shape).to(pixels.device)
    before, after = (torch.from_numpy(rows).to(pixels.device) for rows in (low, high))
    return torch.lerp(pixels.index_select(axis, before), pixels.index_select(axis, after), weight)
