"""What ``extract`` asks of a detector, whosever it is: regions of pictures, and features at given boxes.

An adapter needs to inherit nothing. Paper: section 3, "the set of image regions {v_1, ..., v_T}".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.detectors.world_detector.images import to_rgb
from twelvefold.images import RGB
from twelvefold.schema import Regions, TwelvefoldError, did_you_mean


class RegionDetector(Protocol):
    """A detector with its weights. It holds no state between calls.

    digest: of weights and settings: two detectors of one digest see the same. kinds: names of the columns of
    ``class_probs``. feature_size: numbers in a feature. batch: most pictures of a call.
    """

    @property
    def digest(self) -> str: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...
    @property
    def feature_size(self) -> int: ...
    @property
    def batch(self) -> int: ...

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in which a picture of this size is seen; a call's pictures share one."""
        ...

    def detect_with(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[tuple[Regions, Regions]]:
        """Of each picture: the regions found, best first, and the regions at the given boxes (n, 4), in their order."""
        ...


CPU = torch.device("cpu")
TOLD = 8
"""Tensors named of each kind of difference between a file and a network."""
Looked = tuple[Regions, Regions]
"""Of one picture: the regions found, best first, and the regions at the given boxes, in their order."""


@torch.inference_mode()
def one_by_one(
    look: Callable[[RGB, NDArray[np.float32]], Looked],
    images: Sequence[RGB],
    given_boxes_px: Sequence[NDArray[np.floating]],
) -> list[Looked]:
    """``detect_with`` of a detector that sees pictures one at a time: ``look`` is what it does with each.

    Raises: TwelvefoldError where a picture or a box is none (:func:`checked_boxes`).
    """
    given = checked_boxes(given_boxes_px, len(images))
    return [look(to_rgb(image), boxes) for image, boxes in zip(images, given, strict=True)]


NO_BOXES: NDArray[np.float32] = np.zeros((0, 4), np.float32)


def checked_boxes(given: Sequence[NDArray[np.floating]], pictures: int) -> list[NDArray[np.float32]]:
    """Given boxes of so many pictures, each (n, 4) float32.

    Raises: TwelvefoldError where a number is not finite, the shape is another, or a picture has no list.
    """
    if len(given) != pictures:
        raise TwelvefoldError(f"{pictures} pictures came with {len(given)} lists of given boxes")
    return [_checked(boxes) for boxes in given]


def _checked(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    boxes = np.ascontiguousarray(boxes, np.float32)
    if boxes.size == 0:
        return NO_BOXES
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise TwelvefoldError(f"given boxes are (n, 4) finite numbers x1, y1, x2, y2, got {boxes.shape}: {boxes}")
    return boxes


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], optional: Collection[str] = ()) -> list[str]:
    """What keeps a file's tensors from being a network's: missing, unknown and mis-shaped ones, the first few by name.
    ``optional``: may be missing."""
    missing = [name for name in wanted if name not in found and name not in optional]
    unknown = [f"{name}{did_you_mean(name, missing)}" for name in found if name not in wanted]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    parts = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
    return [f"{len(names)} {what}: {', '.join(names[:TOLD])}" for what, names in parts if names]
