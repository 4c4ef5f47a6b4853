"""The interface of a region detector, and the checks that all detectors share.

Paper: section 3, "the set of image regions {v_1, ..., v_T}".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold.images import RGB, to_rgb_array
from twelvefold.schema import Regions, TwelvefoldError

CPU = torch.device("cpu")
NO_BOXES: NDArray[np.float32] = np.zeros((0, 4), np.float32)
RegionPair = tuple[Regions, Regions]
"""Of one image: the detected regions, best first, and the regions at the given boxes, in their order."""


class RegionDetector(Protocol):
    """A detector with its weights. Calls do not change its state; an implementation need not inherit from this class.

    digest: of weights and settings; detectors with equal digests return equal regions. categories: names of the
    columns of ``class_probs``. feature_size: length of a region's feature. batch_size: most images in one call.
    """

    @property
    def digest(self) -> str: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def feature_size(self) -> int: ...
    @property
    def batch_size(self) -> int: ...

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height to which an image is resized; the images of one call share them."""
        ...

    def extract_regions(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the detected regions and the regions at the given boxes (n, 4) xyxy of each image.

        Detected regions are sorted, best first; given boxes keep their order and coordinates.
        """
        ...


@torch.inference_mode()
def extract_per_image(
    extract: Callable[[RGB, NDArray[np.float32]], RegionPair],
    images: Sequence[RGB],
    given_boxes_px: Sequence[NDArray[np.floating]],
) -> list[RegionPair]:
    """Implement ``extract_regions`` for a detector that processes one image at a time.

    Raises:
        TwelvefoldError: an image or a list of boxes is not valid.
    """
    boxes_per_image = validate_boxes(given_boxes_px, len(images))
    return [extract(to_rgb_array(image), boxes) for image, boxes in zip(images, boxes_per_image, strict=True)]


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
