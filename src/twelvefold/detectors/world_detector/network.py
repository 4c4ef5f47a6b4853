"""The detector's network: a narrow residual backbone, torchvision's proposals, region heads with a pixel branch.

It replaces the original project's large detector, which was trained on Visual Genome with 1,600 categories (paper:
section 3.1, "image region features"). It returns boxes, each with a feature that encodes category, color, size and
pattern.

The first stage classifies and refines proposals (RPN) from a stride-4 map. The second stage computes the feature of
each refined box from that map and from a 32 x 32 crop of the image, because patterns are finer than the map. Given
boxes pass through the same second stage, so their features are comparable.

Module names are the tensor names of the shipped weight file, hence ``kind`` and ``colour``.

Differs: 2.3 M parameters trained on drawn images, not a ResNeXt-152 trained on photographs; features of 256 numbers,
not 2,048.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import boxes as box_ops
from torchvision.ops import nms, roi_align

FEATURE_SIZE = 256
"""Length of a region's feature: enough for linear classifiers of 60 categories, 11 colors, 3 sizes and 4 patterns."""
MAP_CHANNELS = 64
STRIDE = 32
"""Image sides are multiples of the deepest stage's stride, so that no map is padded."""
POOL = 7
CROP = 32
"""Side of the pixel branch's crop: a pattern repeats about 3.6 times over an object, so every 9 pixels."""
ANCHOR_SIZES = (30, 54, 92)
"""Middle of each of the world's three object sizes (26-40, 46-64, 74-108 pixels)."""
ATTRIBUTES = ("category", "color", "size", "pattern")
"""What the second stage predicts of a region."""


class NormalizedLayer(nn.Sequential):
    """A convolution or linear layer with batch norm, and a ReLU unless ``relu`` is False."""

    def __init__(self, inner: nn.Conv2d | nn.Linear, *, relu: bool = True) -> None:
        norm: nn.Module
        if isinstance(inner, nn.Conv2d):
            norm = nn.BatchNorm2d(inner.out_channels)
        else:
            norm = nn.BatchNorm1d(inner.out_features)
        super().__init__(inner, norm, nn.ReLU(inplace=True) if relu else nn.Identity())

    def fuse_batch_norm(self) -> None:
        """Merge batch norm into the weights: the same function in evaluation mode, with fewer memory accesses."""
        inner, norm = self[0], self[1]
        if isinstance(inner, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(inner, norm), nn.Identity()
        elif isinstance(inner, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            self[0], self[1] = fuse_linear_bn_eval(inner, norm), nn.Identity()


def conv(
    in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, pad: int = 1, relu: bool = True
) -> NormalizedLayer:
    """Return a convolution with batch norm and, by default, a ReLU."""
    return NormalizedLayer(nn.Conv2d(in_channels, out_channels, kernel, stride, pad, bias=False), relu=relu)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al., 2016, the basic block)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = conv(in_channels, out_channels, stride=stride)
        self.second = conv(out_channels, out_channels, relu=False)
        self.short: nn.Module = conv(in_channels, out_channels, kernel=1, stride=stride, pad=0, relu=False)
        if in_channels == out_channels and stride == 1:  # created all the same: initialization draws the same numbers
            self.short = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x), inplace=True)


@dataclass(slots=True)
class FeatureMaps:
    """The images (B, 3, H, W), a stride-4 map ``fine`` and a stride-8 map ``coarse``, both (B, 64, ...).

    ``fine`` is channels-first in memory, because RoIAlign reads it twice in that order.
    """

    images: Tensor
    fine: Tensor
    coarse: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])


class Backbone(nn.Module):
    """Stem, four residual stages at strides 4, 8, 16, 32 and a top-down path to two maps of 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 24, stride=2), conv(24, 32, stride=2))
        self.stage4 = ResidualBlock(32, 32, 1)
        self.stage8 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64, 1))
        self.stage16 = nn.Sequential(ResidualBlock(64, 128, 2), ResidualBlock(128, 128, 1))
        self.stage32 = ResidualBlock(128, 160, 2)
        widths = {"4": 32, "8": 64, "16": 128, "32": 160}
        self.lateral = nn.ModuleDict({k: nn.Conv2d(c, MAP_CHANNELS, 1) for k, c in widths.items()})
        self.smooth = conv(MAP_CHANNELS, MAP_CHANNELS)

    def coarse_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stride-4 map of the stages, (B, 32, H / 4, W / 4), and the coarse map."""
        x4 = self.stage4(self.stem(images))
        x8 = self.stage8(x4)
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        top = self.lateral["16"](x16) + F.interpolate(self.lateral["32"](x32), scale_factor=2.0)
        top = self.lateral["8"](x8) + F.interpolate(top, scale_factor=2.0)
        return x4, self.smooth(top)

    def forward(self, images: Tensor) -> FeatureMaps:
        x4, coarse = self.coarse_map(images)
        fine = self.lateral["4"](x4) + F.interpolate(coarse, scale_factor=2.0)
        return FeatureMaps(images, fine.float().contiguous(), coarse)


class WorldProposalHead(nn.Module):
    """Objectness and box deltas of every anchor. The backbone ends with a 3 x 3, so a 1 x 1 convolution is enough."""

    def __init__(self, num_anchors: int) -> None:
        super().__init__()
        self.mix = conv(MAP_CHANNELS, MAP_CHANNELS, kernel=1, pad=0)
        self.objectness = nn.Conv2d(MAP_CHANNELS, num_anchors, 1)
        self.change = nn.Conv2d(MAP_CHANNELS, num_anchors * 4, 1)
        for layer in (self.objectness, self.change):
            nn.init.normal_(layer.weight, std=0.01)  # torchvision's RPNHead
            nn.init.zeros_(layer.bias if layer.bias is not None else torch.empty(0))

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        mixed = [self.mix(m) for m in maps]
        return [self.objectness(m) for m in mixed], [self.change(m) for m in mixed]


@dataclass(slots=True)
class RegionOutputs:
    """Output of the second stage for N boxes: features (N, 256), and the logits of each attribute."""

    features: Tensor
    logits: dict[str, Tensor]


class RegionHeads(RoIHeads):  # type: ignore[misc]  # torchvision carries no types
    """torchvision's sampling and matching of regions, with two stages instead of its single head."""

    def __init__(self, num_categories: int, num_colors: int, num_sizes: int, num_patterns: int) -> None:
        super().__init__(
            box_roi_pool=None,
            box_head=None,
            box_predictor=None,
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=32,
            positive_fraction=0.5,
            bbox_reg_weights=None,
            score_thresh=0.2,
            nms_thresh=0.5,
            detections_per_img=16,
        )
        self.trunk = nn.Sequential(conv(MAP_CHANNELS, 96, pad=0), conv(96, 128, stride=2), nn.Flatten())
        map_features = 128 * 3 * 3
        self.coarse = NormalizedLayer(nn.Linear(map_features, 128, bias=False))
        self.coarse_kind = nn.Linear(128, num_categories + 1)
        self.coarse_box = nn.Linear(128, 4)
        self.pixels = nn.Sequential(
            conv(3, 24, stride=2), conv(24, 48, stride=2), conv(48, 64), nn.AvgPool2d(2), conv(64, 96), nn.Flatten()
        )
        self.feature = NormalizedLayer(nn.Linear(map_features + 96 * (CROP // 8) ** 2, FEATURE_SIZE, bias=False))
        self.kind = nn.Linear(FEATURE_SIZE, num_categories)
        self.colour = nn.Linear(FEATURE_SIZE, num_colors)
        self.size = nn.Linear(FEATURE_SIZE, num_sizes)
        self.pattern = nn.Linear(FEATURE_SIZE, num_patterns)

    def pool_map(self, maps: FeatureMaps, boxes: list[Tensor]) -> Tensor:
        """Return (N, 1152): features of every box from the stride-4 map."""
        pooled = roi_align(maps.fine, boxes, POOL, 0.25, sampling_ratio=2, aligned=True)
        map_features: Tensor = self.trunk(pooled.contiguous(memory_format=torch.channels_last))
        return map_features

    def refine(self, map_features: Tensor) -> tuple[Tensor, Tensor]:
        """First stage: return logits of background and categories (N, 1 + C), and box deltas (N, 4)."""
        hidden = self.coarse(map_features)
        return self.coarse_kind(hidden).float(), self.coarse_box(hidden).float()

    def describe(self, maps: FeatureMaps, boxes: list[Tensor], map_features: Tensor) -> RegionOutputs:
        """Second stage: combine each box's crop of the image with its features from the map."""
        crops = roi_align(maps.images.contiguous(), boxes, CROP, 1.0, sampling_ratio=2, aligned=True)
        features = self.feature(
            torch.cat([map_features, self.pixels(crops.contiguous(memory_format=torch.channels_last))], dim=1)
        )
        heads = zip(ATTRIBUTES, (self.kind, self.colour, self.size, self.pattern), strict=True)
        return RegionOutputs(features.float(), {name: head(features).float() for name, head in heads})


class WorldNetwork(nn.Module):
    """The whole network. Images are (B, 3, H, W) float, as returned by ``images.to_tensor``."""

    def __init__(self, num_categories: int, num_colors: int, num_sizes: int, num_patterns: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        anchors = AnchorGenerator((ANCHOR_SIZES,), ((0.6, 1.0, 1.6),))
        self.rpn = RegionProposalNetwork(
            anchors,
            WorldProposalHead(anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=128,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 400, "testing": 200},
            post_nms_top_n={"training": 64, "testing": 40},
            nms_thresh=0.7,
        )
        self.heads = RegionHeads(num_categories, num_colors, num_sizes, num_patterns)

    def propose(
        self, maps: FeatureMaps, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals of each image, and in training the proposal losses."""
        images = ImageList(maps.images, [maps.size] * len(maps.images))
        boxes, losses = self.rpn(images, OrderedDict([("8", maps.coarse)]), targets)
        return boxes, losses

    def detect(self, maps: FeatureMaps, max_regions: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return the refined boxes of each image and their objectness in the first stage, best first."""
        proposals, _ = self.propose(maps)
        logits, deltas = self.heads.refine(self.heads.pool_map(maps, proposals))
        refined = self.heads.box_coder.decode(deltas, proposals).reshape(-1, 4)
        objectness = 1.0 - logits.softmax(-1)[:, 0]
        counts = [len(p) for p in proposals]
        boxes, scores = [], []
        for box, score in zip(torch.split(refined, counts), torch.split(objectness, counts), strict=True):
            box = box_ops.clip_boxes_to_image(box, maps.size)
            rows = (score > self.heads.score_thresh).nonzero().squeeze(1)
            rows = rows[box_ops.remove_small_boxes(box[rows], 2.0)]
            kept = rows[nms(box[rows], score[rows], self.heads.nms_thresh)[:max_regions]]
            boxes.append(box[kept])
            scores.append(score[kept])
        return boxes, scores

    def describe(self, maps: FeatureMaps, boxes: list[Tensor]) -> RegionOutputs:
        """Return features and attributes of boxes (in pixels of ``maps.images``, one list entry per image)."""
        return self.heads.describe(maps, boxes, self.heads.pool_map(maps, boxes))

    def fuse_batch_norm(self) -> None:
        """Merge every batch norm into the weights; for evaluation only (a tenth faster)."""
        for module in list(self.modules()):
            if isinstance(module, NormalizedLayer):
                module.fuse_batch_norm()
