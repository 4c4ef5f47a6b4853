"""Pictures as the network takes them: in which size the detector sees them, and as tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from twelvefold.detectors.world_detector.network import STRIDE
from twelvefold.images import RGB, ImageError, apply_exif_orientation, to_rgb_image

LONG_SIDE = 320
"""Pictures longer than this are made smaller: the world's are 224-288 pixels, and objects of a photograph that fill as
much of it then come in the sizes that the detector knows."""
SHORT_SIDE = 64
"""Pictures whose longer side is under this are made larger, so that the deepest map has more than one cell."""


def working_size(width: int, height: int) -> tuple[int, int]:
    """Width and height, multiples of 32, in which the detector sees a picture of this size."""
    longest = max(width, height)
    scale = min(1.0, LONG_SIDE / longest) if longest >= SHORT_SIDE else SHORT_SIDE / longest
    return tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))  # type: ignore[return-value]


def to_tensor(pictures: list[RGB]) -> Tensor:
    """(B, 3, H, W) float32, about -2 to 2, channels last in memory, of pictures that share one working size.

    A picture that has its working size already is not resampled.
    """
    sized = []
    for picture in pictures:
        height, width = picture.shape[:2]
        size = working_size(width, height)
        if size != (width, height):
            picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        sized.append(picture)
    batch = torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2)
    return (batch.float() - 127.5).div_(64.0).contiguous(memory_format=torch.channels_last)


def to_rgb(picture: RGB | Image.Image) -> RGB:
    """A picture that is open already, as (H, W, 3) uint8.

    Raises: ImageError where an array has another shape or type, or no pixel.
    """
    if isinstance(picture, Image.Image):
        picture = np.asarray(to_rgb_image(apply_exif_orientation(picture)))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(f"a picture is (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
    return picture
