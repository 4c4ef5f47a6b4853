"""torchvision's two-stage detectors with the COCO weights that its authors publish, from a file on disk.

Nothing is downloaded: the file is the one that torchvision itself would fetch. Features are the box head's 1,024
numbers at the boxes found; class probabilities have torchvision's 91 columns. Paper: section 3, image regions; the
paper's own detector is :mod:`twelvefold.detectors.x152.detector`.
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

from twelvefold import boxes as geometry
from twelvefold.detectors.interface import CPU, Looked, differences, one_by_one
from twelvefold.images import RGB
from twelvefold.model import tensor_files
from twelvefold.schema import Regions, TwelvefoldError, did_you_mean
from twelvefold.store.atomic_files import digest_file, digest_value

EPSILON = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_resnet50_fpn_v2": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
}
"""The detectors by torchvision's names, and what each adds to its normalisation's variance with its COCO weights."""
REGIONS = 100
"""torchvision's own limit of detections."""


class CocoDetector:
    """One of ``EPSILON``'s detectors with its weights."""

    batch = 1

    def __init__(
        self, name: str, model: Any, *, max_regions: int = REGIONS, digest: str = "", device: torch.device = CPU
    ) -> None:
        """Raises: TwelvefoldError where ``max_regions`` is out of range."""
        if not 1 <= max_regions <= 1000:
            raise TwelvefoldError(f"expected 1 to 1000 regions of a picture, got max_regions={max_regions}")
        model.roi_heads.detections_per_img = max_regions
        self._model = model.eval().requires_grad_(False).to(device)
        self._device = device
        self.digest = digest_value([name, digest, max_regions])
        self.kinds = tuple(get_model_weights(name).DEFAULT.meta["categories"])
        self.feature_size = int(model.roi_heads.box_predictor.cls_score.in_features)

    @classmethod
    def load(cls, name: str, path: Path, *, max_regions: int = REGIONS, device: torch.device = CPU) -> CocoDetector:
        """The detector ``name`` with the weights in ``path``.

        Raises: TwelvefoldError where there is no such detector, or the file's tensors are not exactly its own.
        """
        if name not in EPSILON:
            raise TwelvefoldError(f"no detector {name!r}{did_you_mean(name, EPSILON)}; there are {', '.join(EPSILON)}")
        model = model_of(name, tensor_files.read(Path(path)).tensors, str(path))
        return cls(name, model, max_regions=max_regions, digest=digest_file(Path(path)), device=device)

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Pictures are seen one by one, each in a size that the network chooses."""
        return width, height

    def detect_with(self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]) -> list[Looked]:
        """Of each picture: the regions found, best first, and the regions at the given boxes, in their order.

        features (N, 1024), class_probs (N, 91) float32. Given boxes keep their coordinates.
        """
        return one_by_one(self._look, images, given_boxes_px)

    def _look(self, picture: RGB, given: NDArray[np.float32]) -> Looked:
        height, width = picture.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device).permute(2, 0, 1).float() / 255.0
        sized, _ = self._model.transform([tensor])
        maps = self._model.backbone(sized.tensors)
        proposals, _ = self._model.rpn(sized, maps)
        detections, _ = self._model.roi_heads(maps, proposals, sized.image_sizes)
        high, wide = sized.image_sizes[0]
        ratio = tensor.new_tensor([wide / width, high / height] * 2)
        found = detections[0]["boxes"]
        asked = torch.cat([found, torch.from_numpy(given).to(self._device) * ratio])
        features, probabilities = self._describe(maps, asked, sized.image_sizes)
        middle = len(found)
        boxes = geometry.clip((found / ratio).cpu().numpy(), width, height).astype(np.float32)
        return (
            Regions(boxes, features[:middle], width, height, probabilities[:middle]),
            Regions(given, features[middle:], width, height, probabilities[middle:]),
        )

    def _describe(
        self, maps: Mapping[str, Tensor], boxes: Tensor, sizes: list[tuple[int, int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features and class probabilities at boxes, in pixels of the network's picture."""
        heads = self._model.roi_heads
        features = heads.box_head(heads.box_roi_pool(maps, [boxes], sizes))
        return features.cpu().numpy(), heads.box_predictor(features)[0].softmax(-1).cpu().numpy()


def model_of(name: str, tensors: Mapping[str, Tensor], where: str) -> Any:
    """torchvision's model with these tensors, every one accounted for.

    Raises: TwelvefoldError that lists missing, unknown and mis-shaped tensors by name.
    """
    model = get_model(name, weights=None, weights_backbone=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPSILON[name]
    wanted = model.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # frozen normalisation keeps none
    if problems := differences(wanted, tensors, optional=counters):
        raise TwelvefoldError(f"{where} holds no weights of {name}: {'; '.join(problems)}")
    model.load_state_dict(dict(tensors), strict=False)
    return model
