"""The paper's own detector: ``detectron_model.pth`` in, regions as its extraction scripts made them out.

Regions are the proposals themselves, features are ``fc6`` (2048 numbers), class probabilities have 1601
columns with the background first. Given boxes take the proposals' place, as in the script for annotated boxes. Paper:
section 3.1.

Differs: pictures are seen one by one, so that padding to a batch's largest picture changes nothing; whatever can't be
read is named instead of dropping its whole chunk. Unsure, as no published file was at hand: whether ``fc6`` was kept
before or after its ReLU. After, says what others do with the files (they apply ``fc7`` to them directly), and so it is
here unless ``fc6="before_relu"`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from twelvefold import boxes as geometry
from twelvefold.detectors.interface import CPU, Looked, differences, one_by_one
from twelvefold.detectors.x152.images import prepared, scale_of, size_of
from twelvefold.detectors.x152.network import Sizes, X152Network, pool
from twelvefold.detectors.x152.per_class_nms import select
from twelvefold.detectors.x152.proposals import AFTER_NMS, SIZES, STRIDES, base_anchors, propose
from twelvefold.images import RGB
from twelvefold.model import tensor_files
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_file, digest_value

REGIONS = 100
"""Kept of a picture in the original."""
Fc6 = Literal["after_relu", "before_relu"]
"""Which numbers of ``fc6`` are features."""
SET_ASIDE = ("roi_heads.mask.", "roi_heads.box.predictor.attr_", "roi_heads.box.predictor.cls_embed.")
"""Names of tensors that a file may hold beside the network's: heads for masks and attributes, which extraction leaves
out."""


class X152:
    """The network with its weights."""

    batch = 1

    def __init__(
        self,
        network: X152Network,
        *,
        max_regions: int = REGIONS,
        min_regions: int | None = None,
        confidence: float = 0.0,
        fc6: Fc6 = "after_relu",
        digest: str = "",
        device: torch.device = CPU,
    ) -> None:
        """``min_regions``: so many at least, where fewer are surer than ``confidence`` (None: always ``max_regions``,
        as in the original; bottom-up attention's files have 10 to 100). ``fc6``: which of its numbers are features.

        Raises: TwelvefoldError where these numbers make no sense.
        """
        least = max_regions if min_regions is None else min_regions
        if not 1 <= least <= max_regions <= AFTER_NMS or not 0.0 <= confidence < 1.0:
            raise TwelvefoldError(
                f"expected 1 <= min_regions <= max_regions <= {AFTER_NMS} and 0 <= confidence < 1, "
                f"got {min_regions}, {max_regions} and {confidence}"
            )
        self._network = network.eval().requires_grad_(False)
        self._network.fold()
        self._network.to(device)
        self._device, self._fc6 = device, fc6
        self._most, self._least, self._confidence = max_regions, least, confidence
        default: list[str] = [] if fc6 == "after_relu" else [fc6]
        self.digest = digest_value(["x152", digest, max_regions, least, confidence, *default])
        score = network.get_submodule("roi_heads.box.predictor.cls_score")
        self.feature_size, classes = int(score.in_features), int(score.out_features)  # type: ignore[arg-type]
        self.kinds = tuple(f"class {column}" for column in range(classes))

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        sizes: Sizes | None = None,
        max_regions: int = REGIONS,
        min_regions: int | None = None,
        confidence: float = 0.0,
        fc6: Fc6 = "after_relu",
        device: torch.device = CPU,
    ) -> X152:
        """The detector of a weight file in maskrcnn-benchmark's names. ``sizes``: None, as its tensors say.

        Raises: TwelvefoldError where the file can't be read, or its tensors are not exactly the network's.
        """
        tensors = tensor_files.read(Path(path)).tensors
        network = network_of(tensors, str(path), sizes)
        return cls(
            network,
            max_regions=max_regions,
            min_regions=min_regions,
            confidence=confidence,
            fc6=fc6,
            digest=digest_file(Path(path)),
            device=device,
        )

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the network's picture, without padding."""
        return size_of(width, height)

    def detect_with(self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]) -> list[Looked]:
        """Of each picture: its regions, the most confident first, and the regions at the given boxes, in their order.

        features (N, 2048), class_probs (N, 1601) float32. Given boxes keep their coordinates.
        """
        return one_by_one(self._look, images, given_boxes_px)

    def _look(self, picture: RGB, given: NDArray[np.float32]) -> Looked:
        height, width = picture.shape[:2]
        wide, high = size_of(width, height)
        maps = self._network.maps(prepared(picture, self._device))
        proposals, _ = propose(self._network.rpn["head"](maps), self._network.anchors, wide, high)
        ratio = proposals.new_tensor([wide / width, high / height] * 2)
        asked = torch.from_numpy(given).to(self._device) * ratio
        fc6, logits = self._network.roi_heads["box"](pool(maps, torch.cat([proposals, asked])))
        features = functional.relu(fc6) if self._fc6 == "after_relu" else fc6
        probabilities = logits.softmax(-1)
        count = len(proposals)
        boxes = proposals / scale_of(width, height)
        rows, _ = select(boxes, probabilities[:count], most=self._most, least=self._least, confidence=self._confidence)
        kept = torch.from_numpy(rows).to(self._device)
        inside = geometry.clip(boxes[kept].cpu().numpy(), width, height).astype(np.float32)
        found = _regions(inside, features[kept], probabilities[kept], width, height)
        return found, _regions(given, features[count:], probabilities[count:], width, height)


def _regions(boxes: NDArray[np.float32], features: Tensor, probabilities: Tensor, width: int, height: int) -> Regions:
    return Regions(boxes, features.cpu().numpy().copy(), width, height, probabilities.cpu().numpy().copy())


def network_of(tensors: Mapping[str, Tensor], where: str, sizes: Sizes | None = None) -> X152Network:
    """A network with these tensors, every one accounted for.

    Anchors are taken from the file where it has them, else computed. Heads that extraction leaves out (masks,
    attributes) may be there.

    Raises: TwelvefoldError that lists missing, unknown and mis-shaped tensors by name.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    with torch.device("meta"):
        network = X152Network(sizes or sizes_of(state))
    for level, (stride, size) in enumerate(zip(STRIDES, SIZES, strict=True)):
        state.setdefault(f"rpn.anchor_generator.cell_anchors.{level}", base_anchors(stride, size))
    wanted = network.state_dict()
    state = {name: tensor for name, tensor in state.items() if name in wanted or not name.startswith(SET_ASIDE)}
    problems = differences(wanted, state)
    if problems:
        raise TwelvefoldError(
            f"{where} is no file of the X-152 detector: {'; '.join(problems)}. Expected are maskrcnn-benchmark's "
            "names, as in detectron_model.pth"
        )
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return network


def sizes_of(state: Mapping[str, Tensor]) -> Sizes:
    """The widths and depths that a file's tensors show; the published network's where they show none."""
    blocks = {tuple(name.split(".")[2:4]) for name in state if name.startswith("backbone.body.layer")}
    depths = [sum(stage == f"layer{n}" for stage, _ in blocks) for n in range(1, 5)]
    probes = {
        "stem": "backbone.body.stem.conv1.weight",
        "grouped": "backbone.body.layer1.0.conv2.weight",
        "pyramid": "rpn.head.conv.weight",
        "hidden": "roi_heads.box.predictor.cls_score.weight",
    }
    shown = {what: state[name].shape for what, name in probes.items() if name in state and state[name].ndim > 1}
    if len(shown) < len(probes) or not all(depths) or not shown["grouped"][1]:
        return Sizes()
    return Sizes(
        blocks=(depths[0], depths[1], depths[2], depths[3]),
        stem=shown["stem"][0],
        groups=shown["grouped"][0] // shown["grouped"][1],
        group_width=shown["grouped"][1],
        pyramid=shown["pyramid"][0],
        hidden=shown["hidden"][1],
        classes=shown["hidden"][0],
    )
