"""The published detector's network, Faster R-CNN with an X-152-32x8d-FPN backbone, built from torchvision's blocks.

Modules have the names of maskrcnn-benchmark, with which it was trained, so ``detectron_model.pth`` loads by name.
Paper: section 3.1, "image region features"; the backbone is stated by the original project only.

Differs: nothing is compiled. Frozen batch norm is merged into the convolutions after loading. The box regression of the
second stage (``bbox_pred``) is loaded but not used: regions are the proposals themselves.
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

from twelvefold.detectors.x152.proposals import ANCHOR_SIZES, ASPECT_RATIOS, STRIDES, cell_anchors

POOLED = 7
"""Cells along each side of a pooled region."""
POOL_LEVELS = 4
"""Regions are pooled from the maps with strides 4 to 32."""
SAMPLING_RATIO = 2
"""Sampling points along each side of a pooled cell."""
CANONICAL_PX, CANONICAL_LEVEL = 224, 4
"""A region of 224 x 224 is pooled from level 4 (stride 16)."""


frozen_batch_norm = partial(FrozenBatchNorm2d, eps=0.0)
"""Batch norm with fixed statistics and, as in maskrcnn-benchmark, an epsilon of 0."""


@dataclass(frozen=True, slots=True)
class X152Config:
    """Widths and depths. The defaults are the published network's; tests use smaller ones."""

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    stem_channels: int = 64
    groups: int = 32
    group_width: int = 8
    fpn_channels: int = 512
    hidden_size: int = 2048
    num_classes: int = 1601


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, stem_channels, H / 4, W / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1: nn.Module = frozen_batch_norm(channels)

    def forward(self, images: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu_(self.bn1(self.conv1(images))), 3, stride=2, padding=1)


class Body(nn.Module):
    """Stem and four stages of residual blocks: maps of strides 4, 8, 16, 32 with that many times ``stem_channels``."""

    def __init__(self, config: X152Config) -> None:
        super().__init__()
        self.stem = Stem(config.stem_channels)
        block = partial(
            Bottleneck,
            groups=config.groups,
            base_width=config.group_width * 64 // config.stem_channels,
            norm_layer=frozen_batch_norm,
        )
        in_channels = config.stem_channels
        for stage, depth in enumerate(config.blocks):
            planes, stride = config.stem_channels << stage, 1 if stage == 0 else 2
            out_channels = planes * Bottleneck.expansion
            convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            shortcut = nn.Sequential(convolution, frozen_batch_norm(out_channels))
            first = block(in_channels, planes, stride, shortcut)
            rest = [block(out_channels, planes) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
            in_channels = out_channels

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], self.stem(images)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps


class FeaturePyramid(nn.Module):
    """Five maps with ``fpn_channels`` channels and strides 4 to 64, from the four maps of the body."""

    def __init__(self, config: X152Config) -> None:
        super().__init__()
        for level in range(1, 5):
            channels = (config.stem_channels << (level - 1)) * Bottleneck.expansion
            self.add_module(f"fpn_inner{level}", nn.Conv2d(channels, config.fpn_channels, 1))
            self.add_module(f"fpn_layer{level}", nn.Conv2d(config.fpn_channels, config.fpn_channels, 3, padding=1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        top: Tensor | None = None
        for level in range(4, 0, -1):
            lateral = self.get_submodule(f"fpn_inner{level}")(maps[level - 1])
            top = lateral if top is None else lateral + functional.interpolate(top, scale_factor=2, mode="nearest")
            outputs.insert(0, self.get_submodule(f"fpn_layer{level}")(top))
        return [*outputs, functional.max_pool2d(outputs[-1], 1, stride=2)]


class X152ProposalHead(nn.Module):
    """Objectness logits (B, 3, H, W) and box deltas (B, 12, H, W) of the anchors of each map."""

    def __init__(self, config: X152Config) -> None:
        super().__init__()
        self.conv = nn.Conv2d(config.fpn_channels, config.fpn_channels, 3, padding=1)
        self.cls_logits = nn.Conv2d(config.fpn_channels, len(ASPECT_RATIOS), 1)
        self.bbox_pred = nn.Conv2d(config.fpn_channels, 4 * len(ASPECT_RATIOS), 1)

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        hidden = [functional.relu_(self.conv(level)) for level in maps]
        return [(self.cls_logits(level), self.bbox_pred(level)) for level in hidden]


class BoxHead(nn.Module):
    """Pooled regions (N, fpn_channels, 7, 7) -> ``fc6`` (N, hidden_size) before its ReLU, and class logits (N, C)."""

    def __init__(self, config: X152Config) -> None:
        super().__init__()
        pooled, hidden, classes = config.fpn_channels * POOLED * POOLED, config.hidden_size, config.num_classes
        self.feature_extractor = nn.ModuleDict({"fc6": nn.Linear(pooled, hidden), "fc7": nn.Linear(hidden, hidden)})
        self.predictor = nn.ModuleDict(
            {"cls_score": nn.Linear(hidden, classes), "bbox_pred": nn.Linear(hidden, 4 * classes)}
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        fc6: Tensor = self.feature_extractor["fc6"](pooled.flatten(1))  # (N, hidden_size)
        fc7 = functional.relu(self.feature_extractor["fc7"](functional.relu(fc6)))
        return fc6, self.predictor["cls_score"](fc7)


class X152Network(nn.Module):
    """All parts, with maskrcnn-benchmark's names; :mod:`twelvefold.detectors.x152.detector` calls them in turn."""

    def __init__(self, config: X152Config | None = None) -> None:
        super().__init__()
        config = config or X152Config()
        self.backbone = nn.ModuleDict({"body": Body(config), "fpn": FeaturePyramid(config)})
        cells = nn.Module()
        for level, (stride, size) in enumerate(zip(STRIDES, ANCHOR_SIZES, strict=True)):
            cells.register_buffer(str(level), cell_anchors(stride, size))
        anchors = nn.ModuleDict({"cell_anchors": cells})
        self.rpn = nn.ModuleDict({"anchor_generator": anchors, "head": X152ProposalHead(config)})
        self.roi_heads = nn.ModuleDict({"box": BoxHead(config)})

    @property
    def anchors(self) -> list[Tensor]:
        """Return the anchors (3, 4) of each level at the first cell."""
        return list(self.get_submodule("rpn.anchor_generator.cell_anchors").buffers())

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return five maps of images (B, 3, H, W) whose sides are multiples of 32."""
        maps: list[Tensor] = self.backbone["fpn"](self.backbone["body"](images))
        return maps

    def fuse_batch_norm(self) -> None:
        """Merge each frozen batch norm into its convolution: the same function with fewer operations."""
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


def pool_regions(maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Pool regions (N, 4), in pixels of the resized image, from the maps of one image -> (N, fpn_channels, 7, 7).

    The level of a region depends on its size with both edges counted, as in maskrcnn-benchmark (torchvision's own
    pooler does not count them).
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + 1.0).clamp(min=1e-6)
    level = torch.floor(CANONICAL_LEVEL + torch.log2(sides.prod(1).sqrt() / CANONICAL_PX + 1e-6))
    level = level.clamp(2, 1 + POOL_LEVELS).long() - 2
    pooled = boxes.new_zeros(len(boxes), maps[0].shape[1], POOLED, POOLED)
    for i in range(POOL_LEVELS):
        rows = torch.nonzero(level == i).flatten()
        pooled[rows] = roi_align(
            maps[i], [boxes[rows]], POOLED, spatial_scale=1.0 / STRIDES[i], sampling_ratio=SAMPLING_RATIO, aligned=False
        )
    return pooled
