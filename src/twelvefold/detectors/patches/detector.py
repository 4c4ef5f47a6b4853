"""Patches of an image as regions: the cells of a plain backbone's feature map, with their boxes.

The paper's regions are detected objects (section 3.1). Differs: patches form a regular grid that covers the whole
image, so there is nothing to detect, no categories, no ``class_probs``, and no order of confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.boxes import validate_boxes
from twelvefold.config.extract import BackboneChoice
from twelvefold.detectors.interface import CPU, RegionPair, clip_for_pooling, group_by_input_size
from twelvefold.detectors.patches.backbone import ImageBackbone, digest_tensors, load_backbone
from twelvefold.detectors.world_detector.detector import ComputeDtype, autocast_context
from twelvefold.images import RGB, to_rgb_array
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_value

VERSION = 1
"""Of the features' definition; part of the digest."""
MAX_REGIONS = 100
"""Default for patches per image: the original's number of regions."""


class PatchDetector:
    """A backbone whose feature map's cells are the regions. ``categories`` is empty.

    A map with more cells than ``max_regions`` is averaged to a coarser grid that covers the image equally.
    """

    batch_size = 8
    categories: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: ImageBackbone,
        name: str,
        *,
        max_regions: int = MAX_REGIONS,
        dtype: ComputeDtype = "float32",
        device: torch.device = CPU,
    ) -> None:
        """Raises: TwelvefoldError if ``max_regions`` is out of range. ``dtype``: in which the backbone computes."""
        if not 1 <= max_regions <= 1000:
            raise TwelvefoldError(f"expected 1 to 1000 patches per image, got max_regions={max_regions}")
        tensors = digest_tensors(backbone.network)
        self.digest = digest_value(["patches", VERSION, name, tensors, max_regions, *backbone.settings()])
        self.feature_size = backbone.channels
        self._backbone, self._max_regions, self._dtype, self._device = backbone, max_regions, dtype, device
        backbone.network.to(device=device, memory_format=torch.channels_last)

    @classmethod
    def load(
        cls,
        choice: BackboneChoice,
        weights: str,
        *,
        max_regions: int = MAX_REGIONS,
        dtype: ComputeDtype = "float32",
        device: torch.device = CPU,
    ) -> PatchDetector:
        """Load a backbone. ``weights``: a file with timm's tensor names, ``hub`` (downloads) or ``random``.

        Raises:
            TwelvefoldError: as :func:`load_backbone`, or ``max_regions`` is out of range.
        """
        backbone = load_backbone(choice, weights)
        return cls(backbone, choice.name, max_regions=max_regions, dtype=dtype, device=device)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height to which an image of this size is resized (:meth:`ImageBackbone.input_size`)."""
        return self._backbone.input_size(width, height)

    @torch.inference_mode()
    def extract_regions(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the patches of each image, row by row from the top left, and the regions at the given boxes.

        A patch that unites several cells, and a given box, has the mean of the cells that it covers, weighted by the
        covered area. Given boxes keep their order and coordinates; features are of the part inside the image, which is
        at least one pixel wide and high.
        """
        arrays = [to_rgb_array(image) for image in images]
        given_boxes = validate_boxes(given_boxes_px, len(arrays))
        outputs: dict[int, RegionPair] = {}
        for size, indices in group_by_input_size(self, arrays).items():
            batch = self._backbone.to_input([arrays[i] for i in indices], size).to(self._device)
            with autocast_context(self._dtype, self._device.type):
                maps = self._backbone.feature_maps(batch)
            for i, feature_map in zip(indices, maps, strict=True):
                outputs[i] = self._describe(feature_map, arrays[i], given_boxes[i])
        return [outputs[i] for i in range(len(arrays))]

    def _describe(self, feature_map: Tensor, image: RGB, given_boxes: NDArray[np.float32]) -> RegionPair:
        """Return the patches and the regions at the given boxes of one image; feature_map (rows, columns, D)."""
        height, width = image.shape[:2]
        num_rows, num_columns, _ = feature_map.shape
        rows, columns = grid_shape(num_rows, num_columns, self._max_regions)
        boxes_px = grid_boxes(rows, columns, width, height)
        if (rows, columns) == (num_rows, num_columns):
            features = feature_map.reshape(rows * columns, -1)  # (N, D)
        else:
            features = average_cells(feature_map, grid_boxes(rows, columns, 1.0, 1.0))
        unit = clip_for_pooling(given_boxes, image) / np.array([width, height, width, height], np.float32)
        at_boxes = average_cells(feature_map, unit.astype(np.float32)).cpu().numpy()
        return (
            Regions(boxes_px, features.cpu().numpy(), width, height),
            Regions(given_boxes, at_boxes, width, height),
        )


def grid_shape(rows: int, columns: int, max_cells: int) -> tuple[int, int]:
    """Return the rows and columns of the grid of at most ``max_cells`` patches that replaces a feature map's."""
    if rows * columns <= max_cells:
        return rows, columns
    num_rows = min(max_cells, max(1, round(rows * math.sqrt(max_cells / (rows * columns)))))
    return num_rows, min(columns, max_cells // num_rows)


def grid_boxes(rows: int, columns: int, width: float, height: float) -> NDArray[np.float32]:
    """Return the boxes of a grid over an image, row by row from the top left: (rows * columns, 4) float32."""
    y, x = np.linspace(0, height, rows + 1), np.linspace(0, width, columns + 1)
    top, left = (side.ravel() for side in np.meshgrid(y[:-1], x[:-1], indexing="ij"))
    bottom, right = (side.ravel() for side in np.meshgrid(y[1:], x[1:], indexing="ij"))
    return np.stack([left, top, right, bottom], axis=1).astype(np.float32)


def average_cells(feature_map: Tensor, boxes_unit: NDArray[np.float32]) -> Tensor:
    """Return the mean feature of the cells under each box, weighted by the covered area: (n, D).

    feature_map: (rows, columns, D). boxes_unit: (n, 4), each with an area, in shares of the image's sides.
    """
    boxes = torch.from_numpy(boxes_unit).to(feature_map)  # (n, 4)

    def coverage(start: Tensor, end: Tensor, count: int) -> Tensor:
        """Return the share of each interval that lies in each of ``count`` equal parts: (n, count)."""
        edges = torch.linspace(0, 1, count + 1, dtype=start.dtype, device=start.device)
        overlap = torch.minimum(end[:, None], edges[1:]) - torch.maximum(start[:, None], edges[:-1])
        return overlap.clamp(min=0) / (end - start)[:, None]

    rows = coverage(boxes[:, 1], boxes[:, 3], feature_map.shape[0])
    columns = coverage(boxes[:, 0], boxes[:, 2], feature_map.shape[1])
    return torch.einsum("nr,nc,rcd->nd", rows, columns, feature_map)
