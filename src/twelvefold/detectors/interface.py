"""The interface of a region detector, and the checks that all detectors share.

Paper: section 3.1, "image region features".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twelvefold.boxes import clip, validate_boxes
from twelvefold.images import RGB, to_rgb_array
from twelvefold.model.state_dicts import state_dict_differences, summarize_differences
from twelvefold.schema import Regions, TwelvefoldError

CPU = torch.device("cpu")
RegionPair = tuple[Regions, Regions]
"""Of one image: the detected regions, best first, and the regions at the given boxes, in their order."""


class RegionDetector(Protocol):
    """A detector with its weights. Calls do not change its state; an implementation need not inherit from this class.

    digest: of weights and settings; detectors with equal digests return equal regions. categories: names of the
    columns of ``class_probs``; empty if it has none. feature_size: length of a region's feature. batch_size: most
    images in one call.
    """

    digest: str
    categories: tuple[str, ...]
    feature_size: int
    batch_size: int

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


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], problem: str, *, assign: bool = False) -> None:
    """Load the tensors of a weight file; batch norm's step counters may be missing.

    Raises:
        TwelvefoldError: ``problem``, followed by the missing, unknown and mis-shaped tensors.
    """
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    if differences := state_dict_differences(tensors, expected, optional=counters):
        raise TwelvefoldError(f"{problem}:{summarize_differences(differences)}")
    network.load_state_dict(dict(tensors), strict=False, assign=assign)


def group_by_input_size(detector: RegionDetector, images: Sequence[RGB]) -> dict[tuple[int, int], list[int]]:
    """Return indices of images by the width and height to which the detector resizes them."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        by_size.setdefault(detector.input_size(image.shape[1], image.shape[0]), []).append(i)
    return by_size


def clip_for_pooling(boxes_px: NDArray[np.float32], image: RGB) -> NDArray[np.float32]:
    """Clip boxes (n, 4) to the image and make them at least one pixel wide and high."""
    height, width = image.shape[:2]
    clipped = clip(boxes_px, width, height)
    clipped[:, :2] = np.minimum(clipped[:, :2], np.array([width, height]) - 1.0)
    clipped[:, 2:] = np.maximum(clipped[:, 2:], clipped[:, :2] + 1.0)
    return clipped.astype(np.float32)


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
