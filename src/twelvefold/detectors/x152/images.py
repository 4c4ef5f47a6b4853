"""Photographs as the published detector takes them: BGR less its means, 800 pixels high or wide, sides padded to 32.

Paper: section 3.1; the numbers are the original extraction script's. It resizes with OpenCV's bilinear sampling on
float32, without smoothing; this does the same arithmetic on two axes in turn.
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
"""The shorter side becomes 800, unless the longer would then exceed 1333: then that becomes 1333."""
MULTIPLE = 32
"""Pixels of the deepest map's cell that the pyramid needs whole."""


def scale_of(width: int, height: int) -> float:
    """What the sides of a picture are multiplied with."""
    short, long = min(width, height), max(width, height)
    scale = SHORT_SIDE / short
    return LONG_SIDE / long if np.round(scale * long) > LONG_SIDE else scale


def size_of(width: int, height: int) -> tuple[int, int]:
    """Width and height in which the detector sees a picture of this size, without padding."""
    scale = scale_of(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def prepared(picture: RGB, device: torch.device | None = None) -> Tensor:
    """(1, 3, H, W) float32, BGR, of a (h, w, 3) picture; H and W are multiples of 32, zeros right and below.

    Computed on ``device``; None: on the CPU.
    """
    height, width = picture.shape[:2]
    scale, (wide, high) = scale_of(width, height), size_of(width, height)
    pixels = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1])).to(device).float()
    pixels -= pixels.new_tensor(MEANS_BGR)
    sized = _resampled(_resampled(pixels, 0, high, scale), 1, wide, scale).permute(2, 0, 1)[None]
    return functional.pad(sized, (0, -wide % MULTIPLE, 0, -high % MULTIPLE))


def _resampled(pixels: Tensor, axis: int, size: int, scale: float) -> Tensor:
    """One axis of ``pixels`` resampled linearly: sample i lies at (i + 0.5) / scale - 0.5, held inside the picture."""
    last = pixels.shape[axis] - 1
    at: NDArray[np.float64] = np.clip((np.arange(size) + 0.5) / scale - 0.5, 0.0, last)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, last)
    shape = [-1 if i == axis else 1 for i in range(pixels.ndim)]
    weight = torch.from_numpy((at - low).astype(np.float32)).reshape(shape).to(pixels.device)
    before, after = (torch.from_numpy(rows).to(pixels.device) for rows in (low, high))
    return torch.lerp(pixels.index_select(axis, before), pixels.index_select(axis, after), weight)
