"""Resize images for the detector's network and convert them to tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from twelvefold.detectors.world_detector.network import STRIDE
from twelvefold.images import RGB

LONG_SIDE = 320
"""Longer images are scaled down to this. The world's images are 224-288 pixels; an object that fills the same share of
a photograph then has a size that the detector was trained on."""
SHORT_SIDE = 64
"""Images whose longer side is below this are scaled up, so that the deepest map has more than one cell."""


def input_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height, multiples of 32, to which an image of this size is resized."""
    longest = max(width, height)
    scale = min(1.0, LONG_SIDE / longest) if longest >= SHORT_SIDE else SHORT_SIDE / longest
    return tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))  # type: ignore[return-value]


def to_tensor(images: list[RGB]) -> Tensor:
    """Return (B, 3, H, W) float32, about -2 to 2, in channels-last memory format.

    The images must share one input size; an image that already has it is not resampled.
    """
    resized = []
    for image in images:
        height, width = image.shape[:2]
        size = input_size(width, height)
        if size != (width, height):
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        resized.append(image)
    batch = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)  # (B, 3, H, W)
    return (batch.float() - 127.5).div_(64.0).contiguous(memory_format=torch.channels_last)
