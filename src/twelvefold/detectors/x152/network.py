"""The published detector's network, Faster R-CNN on X-152-32x8d-FPN, out of torchvision's blocks.

Modules and tensors carry the names of maskrcnn-benchmark, with which it was trained, so ``detectron_model.pth`` loads
by name. Paper: section 3.1, "Faster R-CNN with ResNeXt-152 backbone".

Differs: nothing is compiled. The frozen normalisation is folded into the convolutions once the weights are there.
Box regression of the second stage (``bbox_pred``) is loaded and never run: regions are the proposals themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d, roi_align

from twelvefold.detectors.x152.proposals import RATIOS, SIZES, STRIDES, base_anchors

POOLED = 7
"""Cells of a pooled region along each side."""
POOL_LEVELS = 4
"""Regions are pooled from the maps of strides 4 to 32."""
SAMPLES = 2
"""Points of a pooled cell along each side."""
CANONICAL_PX, CANONICAL_LEVEL = 224, 4
"""A region of 224 x 224 is pooled from level 4 (stride 16)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Widths and depths. The values here are the published network's; tests use narrow ones."""

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    stem: int = 64
    groups: int = 32
    group_width: int = 8
    pyramid: int = 512
    hidden: int = 2048
    classes: int = 1601


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, stem, H / 4, W / 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1: nn.Module = frozen(width)

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu_(self.bn1(self.conv1(pictures))), 3, stride=2, padding=1)


def frozen(width: int) -> FrozenBatchNorm2d:
    """Normalisation with fixed statistics; maskrcnn-benchmark adds nothing to the variance."""
    return FrozenBatchNorm2d(width, eps=0.0)


class Body(nn.Module):
    """Stem and four stages of residual blocks: maps of strides 4, 8, 16 and 32, of 4, 8, 16 and 32 times ``stem``."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.stem = Stem(sizes.stem)
        block = partial(
            Bottleneck,
            groups=sizes.groups,
            base_width=sizes.group_width * 64 // sizes.stem,
            norm_layer=frozen,
        )
        width = sizes.stem
        for stage, depth in enumerate(sizes.blocks):
            planes, stride = sizes.stem << stage, 1 if stage == 0 else 2
            out = planes * Bottleneck.expansion
            short = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), frozen(out))
            first = block(width, planes, stride, short)
            rest = [block(out, planes) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
            width = out

    def forward(self, pictures: Tensor) -> list[Tensor]:
        maps, x = [], self.stem(pictures)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps


class Pyramid(nn.Module):
    """Five maps of one width, strides 4 to 64, from the body's four."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        for level in range(1, 5):
            inside = (sizes.stem << (level - 1)) * Bottleneck.expansion
            self.add_module(f"fpn_inner{level}", nn.Conv2d(inside, sizes.pyramid, 1))
            self.add_module(f"fpn_layer{level}", nn.Conv2d(sizes.pyramid, sizes.pyramid, 3, padding=1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        made: list[Tensor] = []
        above: Tensor | None = None
        for level in range(4, 0, -1):
            here = self.get_submodule(f"fpn_inner{level}")(maps[level - 1])
            above = here if above is None else here + functional.interpolate(above, scale_factor=2, mode="nearest")
            made.insert(0, self.get_submodule(f"fpn_layer{level}")(above))
        return [*made, functional.max_pool2d(made[-1], 1, stride=2)]


class ProposalHead(nn.Module):
    """Of each map: how likely a thing is at each anchor (B, 3, H, W), and its shifts (B, 12, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sizes.pyramid, sizes.pyramid, 3, padding=1)
        self.cls_logits = nn.Conv2d(sizes.pyramid, len(RATIOS), 1)
        self.bbox_pred = nn.Conv2d(sizes.pyramid, 4 * len(RATIOS), 1)

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        hidden = [functional.relu_(self.conv(one)) for one in maps]
        return [(self.cls_logits(one), self.bbox_pred(one)) for one in hidden]


class BoxHead(nn.Module):
    """Pooled regions (N, pyramid, 7, 7) -> ``fc6`` (N, hidden) before its ReLU, and class logits (N, C)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.feature_extractor = nn.ModuleDict(
            {
                "fc6": nn.Linear(sizes.pyramid * POOLED * POOLED, sizes.hidden),
                "fc7": nn.Linear(sizes.hidden, sizes.hidden),
            }
        )
        self.predictor = nn.ModuleDict(
            {
                "cls_score": nn.Linear(sizes.hidden, sizes.classes),
                "bbox_pred": nn.Linear(sizes.hidden, 4 * sizes.classes),
            }
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        fc6: Tensor = self.feature_extractor["fc6"](pooled.flatten(1))
        fc7 = functional.relu(self.feature_extractor["fc7"](functional.relu(fc6)))
        return fc6, self.predictor["cls_score"](fc7)


class X152Network(nn.Module):
    """All parts under maskrcnn-benchmark's names; :mod:`twelvefold.detectors.x152.detector` runs them in turn."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.backbone = nn.ModuleDict({"body": Body(sizes), "fpn": Pyramid(sizes)})
        anchors = nn.Module()
        cells = nn.Module()
        for level, (stride, size) in enumerate(zip(STRIDES, SIZES, strict=True)):
            cells.register_buffer(str(level), base_anchors(stride, size))
        anchors.add_module("cell_anchors", cells)
        self.rpn = nn.ModuleDict({"anchor_generator": anchors, "head": ProposalHead(sizes)})
        self.roi_heads = nn.ModuleDict({"box": BoxHead(sizes)})

    @property
    def anchors(self) -> list[Tensor]:
        """(3, 4) of each level, around the first cell."""
        return list(self.get_submodule("rpn.anchor_generator.cell_anchors").buffers())

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> five maps."""
        made: list[Tensor] = self.backbone["fpn"](self.backbone["body"](pictures))
        return made

    def fold(self) -> None:
        """Put each frozen normalisation into its convolution, for good: the same function, one pass less."""
        for module in list(self.modules()):
            parts = dict(module.named_children())
            pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)] + [("0", "1")]
            for conv_name, norm_name in pairs:
                conv, norm = parts.get(conv_name), parts.get(norm_name)
                if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
                    conv.weight, conv.bias = fuse_conv_bn_weights(
                        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                    )
                    setattr(module, norm_name, nn.Identity())


def pool(maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Regions (N, 4), in pixels of the network's picture, of one picture's maps -> (N, pyramid, 7, 7).

    Each is taken from one level, by its size with both edges counted, as in maskrcnn-benchmark (torchvision's own
    pooler measures sizes without).
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + 1.0).clamp(min=1e-6)
    level = torch.floor(CANONICAL_LEVEL + torch.log2(sides.prod(1).sqrt() / CANONICAL_PX + 1e-6))
    level = level.clamp(2, 1 + POOL_LEVELS).long() - 2
    pooled = boxes.new_zeros(len(boxes), maps[0].shape[1], POOLED, POOLED)
    for i in range(POOL_LEVELS):
        rows = torch.nonzero(level == i).flatten()
        pooled[rows] = roi_align(
            maps[i], [boxes[rows]], POOLED, spatial_scale=1.0 / STRIDES[i], sampling_ratio=SAMPLES, aligned=False
        )
    return pooled
