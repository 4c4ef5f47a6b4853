"""The paper's detector: reads ``detectron_model.pth`` and returns regions as its extraction scripts do.

Regions are the proposals themselves, features are ``fc6`` (2048 numbers), class probabilities have 1601 columns with
the background first. Given boxes replace the proposals, as in the script for annotated boxes. Paper: section 3.1.

Differs: images are processed one at a time, so padding to a batch's largest image has no effect; an unreadable image is
reported instead of skipping its whole chunk. Unsure: whether the published features are ``fc6`` before or after its
ReLU, because no published file was available. Other projects apply ``fc7`` to them directly, which suggests after the
ReLU; that is the default here, and ``fc6="before_relu"`` is the alternative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from twelvefold import boxes as box_geometry
from twelvefold.config.extract import ExtractConfig
from twelvefold.detectors.interface import CPU, RegionPair, extract_per_image, load_tensors
from twelvefold.detectors.x152.images import preprocess, resize_scale, resized_size
from twelvefold.detectors.x152.network import X152Config, X152Network, pool_regions
from twelvefold.detectors.x152.per_class_nms import per_class_nms
from twelvefold.detectors.x152.proposals import ANCHOR_SIZES, POST_NMS_TOP_N, STRIDES, cell_anchors, propose
from twelvefold.images import RGB
from twelvefold.model import tensor_files
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_file, digest_value

MAX_REGIONS = 100
"""Regions per image in the original."""
DEFAULTS = ExtractConfig(detector="x152")
IGNORED_PREFIXES = ("roi_heads.mask.", "roi_heads.box.predictor.attr_", "roi_heads.box.predictor.cls_embed.")
"""Tensors that a file may hold besides the network's: heads for masks and attributes, which extraction does not use."""


class X152:
    """The network with its weights."""

    batch_size = 1

    def __init__(
        self, network: X152Network, options: ExtractConfig = DEFAULTS, *, digest: str = "", device: torch.device = CPU
    ) -> None:
        """Prepare the network for inference.

        Raises:
            TwelvefoldError: an option is out of range.
        """
        max_regions = MAX_REGIONS if options.max_regions is None else options.max_regions
        min_regions = max_regions if options.min_regions is None else options.min_regions
        confidence, fc6 = options.confidence or 0.0, options.fc6 or "after_relu"
        if not 1 <= min_regions <= max_regions <= POST_NMS_TOP_N or not 0.0 <= confidence < 1.0:
            raise TwelvefoldError(
                f"expected 1 <= min_regions <= max_regions <= {POST_NMS_TOP_N} and 0 <= confidence < 1, "
                f"got {min_regions}, {max_regions} and {confidence}"
            )
        self._network = network.eval().requires_grad_(False)
        self._network.fuse_batch_norm()
        self._network.to(device)
        self._device, self._fc6 = device, fc6
        self._max_regions, self._min_regions, self._confidence = max_regions, min_regions, confidence
        changed: list[str] = [] if fc6 == "after_relu" else [fc6]
        self.digest = digest_value(["x152", digest, max_regions, min_regions, confidence, *changed])
        classifier = network.get_submodule("roi_heads.box.predictor.cls_score")
        self.feature_size, num_classes = int(classifier.in_features), int(classifier.out_features)  # type: ignore[arg-type]
        self.categories = tuple(f"class {column}" for column in range(num_classes))

    @classmethod
    def load(cls, path: Path, options: ExtractConfig = DEFAULTS, *, device: torch.device = CPU) -> X152:
        """Load a weight file with the tensor names of maskrcnn-benchmark.

        Raises:
            TwelvefoldError: the file cannot be read, or its tensors do not match the network.
        """
        network = build_network(tensor_files.read_weights(Path(path), usual=("module.",)).tensors, str(path))
        return cls(network, options, digest=digest_file(Path(path)), device=device)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height to which an image is resized, without padding."""
        return resized_size(width, height)

    def extract_regions(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the detected regions, most confident first, and the regions at the given boxes of each image.

        features (N, 2048), class_probs (N, 1601) float32. Given boxes keep their order and coordinates.
        """
        return extract_per_image(self._extract, images, given_boxes_px)

    def _extract(self, image: RGB, given_boxes: NDArray[np.float32]) -> RegionPair:
        height, width = image.shape[:2]
        input_width, input_height = resized_size(width, height)
        maps = self._network.feature_maps(preprocess(image, self._device))
        proposals, _ = propose(self._network.rpn["head"](maps), self._network.anchors, input_width, input_height)
        ratio = proposals.new_tensor([input_width / width, input_height / height] * 2)
        scaled_boxes = torch.from_numpy(given_boxes).to(self._device) * ratio
        fc6, logits = self._network.roi_heads["box"](pool_regions(maps, torch.cat([proposals, scaled_boxes])))
        features = functional.relu(fc6) if self._fc6 == "after_relu" else fc6
        probabilities = logits.softmax(-1)
        count = len(proposals)
        boxes = proposals / resize_scale(width, height)
        rows, _ = per_class_nms(
            boxes,
            probabilities[:count],
            max_regions=self._max_regions,
            min_regions=self._min_regions,
            confidence=self._confidence,
        )
        kept = torch.from_numpy(rows).to(self._device)
        boxes_px = box_geometry.clip(boxes[kept].cpu().numpy(), width, height).astype(np.float32)
        detected = _to_regions(boxes_px, features[kept], probabilities[kept], width, height)
        return detected, _to_regions(given_boxes, features[count:], probabilities[count:], width, height)


def _to_regions(
    boxes: NDArray[np.float32], features: Tensor, probabilities: Tensor, width: int, height: int
) -> Regions:
    return Regions(boxes, features.cpu().numpy().copy(), width, height, probabilities.cpu().numpy().copy())


def build_network(tensors: Mapping[str, Tensor], source: str, config: X152Config | None = None) -> X152Network:
    """Build the network with these tensors. ``source`` names their file in error messages.

    ``config``: None infers widths and depths from the tensors.

    Anchors are taken from the file if it has them, else computed. Heads that extraction does not use (masks,
    attributes) are ignored.

    Raises:
        TwelvefoldError: names missing, unknown and mis-shaped tensors.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    with torch.device("meta"):
        network = X152Network(config or infer_config(state))
    for level, (stride, size) in enumerate(zip(STRIDES, ANCHOR_SIZES, strict=True)):
        state.setdefault(f"rpn.anchor_generator.cell_anchors.{level}", cell_anchors(stride, size))
    state = {name: tensor.float() for name, tensor in state.items() if not name.startswith(IGNORED_PREFIXES)}
    problem = (
        f"{source} is not a file of the X-152 detector, which has the tensor names of maskrcnn-benchmark, as in "
        "detectron_model.pth"
    )
    load_tensors(network, state, problem, assign=True)
    return network


def infer_config(state: Mapping[str, Tensor]) -> X152Config:
    """Infer widths and depths from a file's tensors; return the published network's if they do not determine them."""
    blocks = {tuple(name.split(".")[2:4]) for name in state if name.startswith("backbone.body.layer")}
    depths = [sum(stage == f"layer{n}" for stage, _ in blocks) for n in range(1, 5)]
    probes = {
        "stem": "backbone.body.stem.conv1.weight",
        "grouped": "backbone.body.layer1.0.conv2.weight",
        "fpn": "rpn.head.conv.weight",
        "classifier": "roi_heads.box.predictor.cls_score.weight",
    }
    shapes = {part: state[name].shape for part, name in probes.items() if name in state and state[name].ndim > 1}
    if len(shapes) < len(probes) or not all(depths) or not shapes["grouped"][1]:
        return X152Config()
    return X152Config(
        blocks=(depths[0], depths[1], depths[2], depths[3]),
        stem_channels=shapes["stem"][0],
        groups=shapes["grouped"][0] // shapes["grouped"][1],
        group_width=shapes["grouped"][1],
        fpn_channels=shapes["fpn"][0],
        hidden_size=shapes["classifier"][1],
        num_classes=shapes["classifier"][0],
    )
