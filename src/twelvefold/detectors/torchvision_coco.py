"""torchvision's two-stage detectors with its published COCO weights, read from a file on disk.

Nothing is downloaded: the file is the one that torchvision itself would download. Features are the 1,024 outputs of the
box head at the detected boxes; class probabilities have torchvision's 91 columns. Paper: section 3.1, image region
features; the paper's own detector is :mod:`twelvefold.detectors.x152.detector`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from twelvefold import boxes as box_geometry
from twelvefold.detectors.interface import CPU, RegionPair, extract_per_image, load_tensors
from twelvefold.images import RGB
from twelvefold.model import tensor_files
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_file, digest_value

BATCH_NORM_EPS = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_resnet50_fpn_v2": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
}
"""The supported detectors by torchvision's names, with the batch norm epsilon of their COCO weights."""
MAX_REGIONS = 100
"""torchvision's own limit of detections."""


class CocoDetector:
    """One of torchvision's detectors with COCO weights."""

    batch_size = 1

    def __init__(
        self, name: str, model: Any, *, max_regions: int = MAX_REGIONS, digest: str = "", device: torch.device = CPU
    ) -> None:
        """Raises: TwelvefoldError if ``max_regions`` is out of range."""
        if not 1 <= max_regions <= 1000:
            raise TwelvefoldError(f"expected 1 to 1000 regions per image, got max_regions={max_regions}")
        model.roi_heads.detections_per_img = max_regions
        self._model = model.eval().requires_grad_(False).to(device)
        self._device = device
        self.digest = digest_value([name, digest, max_regions])
        self.categories = tuple(get_model_weights(name).DEFAULT.meta["categories"])
        self.feature_size = int(model.roi_heads.box_predictor.cls_score.in_features)

    @classmethod
    def load(cls, name: str, path: Path, *, max_regions: int = MAX_REGIONS, device: torch.device = CPU) -> CocoDetector:
        """Load the detector ``name`` with the weights in ``path``.

        Raises:
            TwelvefoldError: the file's tensors do not match the network.
        """
        model = build_model(name, tensor_files.read_weights(Path(path)).tensors, str(path))
        return cls(name, model, max_regions=max_regions, digest=digest_file(Path(path)), device=device)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the image's own size: the network resizes each image itself."""
        return width, height

    def extract_regions(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the detected regions, best first, and the regions at the given boxes of each image.

        features (N, 1024), class_probs (N, 91) float32. Given boxes keep their order and coordinates.
        """
        return extract_per_image(self._extract, images, given_boxes_px)

    def _extract(self, image: RGB, given_boxes: NDArray[np.float32]) -> RegionPair:
        height, width = image.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1).float() / 255.0
        inputs, _ = self._model.transform([tensor])
        feature_maps = self._model.backbone(inputs.tensors)
        proposals, _ = self._model.rpn(inputs, feature_maps)
        detections, _ = self._model.roi_heads(feature_maps, proposals, inputs.image_sizes)
        input_height, input_width = inputs.image_sizes[0]
        ratio = tensor.new_tensor([input_width / width, input_height / height] * 2)
        detected = detections[0]["boxes"]
        boxes = torch.cat([detected, torch.from_numpy(given_boxes).to(self._device) * ratio])
        features, probabilities = self._describe_boxes(feature_maps, boxes, inputs.image_sizes)
        num_detected = len(detected)
        detected_px = box_geometry.clip((detected / ratio).cpu().numpy(), width, height).astype(np.float32)
        return (
            Regions(detected_px, features[:num_detected], width, height, probabilities[:num_detected]),
            Regions(given_boxes, features[num_detected:], width, height, probabilities[num_detected:]),
        )

    def _describe_boxes(
        self, feature_maps: Mapping[str, Tensor], boxes: Tensor, sizes: list[tuple[int, int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features and class probabilities at boxes, in pixels of the resized image."""
        heads = self._model.roi_heads
        features = heads.box_head(heads.box_roi_pool(feature_maps, [boxes], sizes))
        return features.cpu().numpy(), heads.box_predictor(features)[0].softmax(-1).cpu().numpy()


def build_model(name: str, tensors: Mapping[str, Tensor], source: str) -> Any:
    """Build torchvision's model with these tensors. ``source`` names their file in error messages.

    Raises:
        TwelvefoldError: names missing, unknown and mis-shaped tensors.
    """
    model = get_model(name, weights=None, weights_backbone=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = BATCH_NORM_EPS[name]
    load_tensors(model, tensors, f"{source} does not hold weights of {name}")
    return model
