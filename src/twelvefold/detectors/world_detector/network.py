"""The detector's network: a narrow residual backbone, torchvision's proposals, region heads with a pixel branch.

Stands where the paper has a large detector trained on Visual Genome with 1,600 kinds and 400 attributes (section 3,
"Model architecture"): a picture becomes boxes, each with a feature that tells kind, colour, size and pattern.

Proposals (RPN) are classified and refined from a stride-4 map ("coarse"); what is kept is looked at a second time, at
the refined box, together with a 32 x 32 crop of the picture itself, because patterns are finer than the map. Boxes that
a task gives take the same second look, so both kinds of feature live in one space.

Differs: 2.3 M parameters learnt from drawn pictures, not ResNeXt-152 learnt from photographs; 256 numbers a region,
not 2,048.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields

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
"""Numbers in one region's feature: enough for a linear reader of 60 kinds, 11 colours, 3 sizes and 4 patterns."""
MAP_CHANNELS = 64
STRIDE = 32
"""Pictures come in sides that the deepest stage divides, so that no map is padded."""
POOL = 7
CROP = 32
"""Side of the crop that the pixel branch sees: a pattern repeats about 3.6 times over an object, so 9 pixels each."""
ANCHOR_SIZES = (30, 54, 92)
"""Middle of each of the world's three size words (26-40, 46-64, 74-108 pixels)."""


class Layer(nn.Sequential):
    """A convolution or linear layer, its normalisation, and a ReLU unless ``active`` is False."""

    def __init__(self, inner: nn.Conv2d | nn.Linear, *, active: bool = True) -> None:
        norm: nn.Module
        if isinstance(inner, nn.Conv2d):
            norm = nn.BatchNorm2d(inner.out_channels)
        else:
            norm = nn.BatchNorm1d(inner.out_features)
        super().__init__(inner, norm, nn.ReLU(inplace=True) if active else nn.Identity())

    def fold(self) -> None:
        """Melt the normalisation into the weights: the same function in evaluation mode, fewer passes over memory."""
        inner, norm = self[0], self[1]
        if isinstance(inner, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(inner, norm), nn.Identity()
        elif isinstance(inner, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            self[0], self[1] = fuse_linear_bn_eval(inner, norm), nn.Identity()


def conv(before: int, after: int, *, kernel: int = 3, stride: int = 1, pad: int = 1, active: bool = True) -> Layer:
    """A convolution with normalisation and, unless told otherwise, ReLU."""
    return Layer(nn.Conv2d(before, after, kernel, stride, pad, bias=False), active=active)


class Block(nn.Module):
    """Two 3 x 3 convolutions around a short cut (He et al., 2016, the basic block)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = conv(before, after, stride=stride)
        self.second = conv(after, after, active=False)
        changes = before != after or stride != 1
        self.short: nn.Module = conv(before, after, kernel=1, stride=stride, pad=0, active=False)
        if not changes:
            self.short = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x), inplace=True)


@dataclass(slots=True)
class Maps:
    """One pass over B pictures: the pictures (B, 3, H, W), a stride-4 map and a stride-8 map (B, 64, ...).

    ``fine`` lies in memory channel by channel, as RoIAlign reads it; it is read twice.
    """

    picture: Tensor
    fine: Tensor
    coarse: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        return int(self.picture.shape[-2]), int(self.picture.shape[-1])


class Backbone(nn.Module):
    """Stem, four residual stages at strides 4, 8, 16, 32 and a top-down path to two maps of 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 24, stride=2), conv(24, 32, stride=2))
        self.stage4 = Block(32, 32, 1)
        self.stage8 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1))
        self.stage16 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.stage32 = Block(128, 160, 2)
        widths = {"4": 32, "8": 64, "16": 128, "32": 160}
        self.lateral = nn.ModuleDict({k: nn.Conv2d(c, MAP_CHANNELS, 1) for k, c in widths.items()})
        self.smooth = conv(MAP_CHANNELS, MAP_CHANNELS)

    def forward(self, pictures: Tensor) -> Maps:
        x4 = self.stage4(self.stem(pictures))
        x8 = self.stage8(x4)
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        top = self.lateral["16"](x16) + F.interpolate(self.lateral["32"](x32), scale_factor=2.0)
        top = self.lateral["8"](x8) + F.interpolate(top, scale_factor=2.0)
        coarse = self.smooth(top)
        fine = self.lateral["4"](x4) + F.interpolate(coarse, scale_factor=2.0)
        return Maps(pictures, fine.float().contiguous(), coarse)


class ProposalHead(nn.Module):
    """Objectness and box changes for every anchor. The map was smoothed by a 3 x 3 already, so 1 x 1 is enough here."""

    def __init__(self, anchors: int) -> None:
        super().__init__()
        self.mix = conv(MAP_CHANNELS, MAP_CHANNELS, kernel=1, pad=0)
        self.objectness = nn.Conv2d(MAP_CHANNELS, anchors, 1)
        self.change = nn.Conv2d(MAP_CHANNELS, anchors * 4, 1)
        for layer in (self.objectness, self.change):
            nn.init.normal_(layer.weight, std=0.01)  # torchvision's RPNHead
            nn.init.zeros_(layer.bias if layer.bias is not None else torch.empty(0))

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        mixed = [self.mix(m) for m in maps]
        return [self.objectness(m) for m in mixed], [self.change(m) for m in mixed]


@dataclass(slots=True)
class Described:
    """The second look at N boxes: features (N, 256) and logits of kind, colour, size and pattern."""

    features: Tensor
    kind: Tensor
    colour: Tensor
    size: Tensor
    pattern: Tensor

    def cpu(self) -> Described:
        """The same on the CPU."""
        return Described(*(getattr(self, field.name).cpu() for field in fields(self)))


class RegionHeads(RoIHeads):  # type: ignore[misc]  # torchvision carries no types
    """torchvision's sampling and matching of regions, with our two looks at them in place of its one head."""

    def __init__(self, kinds: int, colours: int, sizes: int, patterns: int) -> None:
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
        seen = 128 * 3 * 3
        self.coarse = Layer(nn.Linear(seen, 128, bias=False))
        self.coarse_kind = nn.Linear(128, kinds + 1)
        self.coarse_box = nn.Linear(128, 4)
        self.pixels = nn.Sequential(
            conv(3, 24, stride=2),
            conv(24, 48, stride=2),
            conv(48, 64),
            nn.AvgPool2d(2),
            conv(64, 96),
            nn.Flatten(),
        )
        self.feature = Layer(nn.Linear(seen + 96 * (CROP // 8) ** 2, FEATURE_SIZE, bias=False))
        self.kind = nn.Linear(FEATURE_SIZE, kinds)
        self.colour = nn.Linear(FEATURE_SIZE, colours)
        self.size = nn.Linear(FEATURE_SIZE, sizes)
        self.pattern = nn.Linear(FEATURE_SIZE, patterns)

    def look(self, maps: Maps, boxes: list[Tensor]) -> Tensor:
        """What the stride-4 map holds of every box: (N, 1152)."""
        pooled = roi_align(maps.fine, boxes, POOL, 0.25, sampling_ratio=2, aligned=True)
        seen: Tensor = self.trunk(pooled.contiguous(memory_format=torch.channels_last))
        return seen

    def judge(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """First look: logits of background and kinds (N, 1 + C), and box changes (N, 4)."""
        hidden = self.coarse(seen)
        return self.coarse_kind(hidden).float(), self.coarse_box(hidden).float()

    def describe(self, maps: Maps, boxes: list[Tensor], seen: Tensor) -> Described:
        """Second look: crop every box from the picture itself and join it to what the map holds."""
        crops = roi_align(maps.picture.contiguous(), boxes, CROP, 1.0, sampling_ratio=2, aligned=True)
        features = self.feature(
            torch.cat([seen, self.pixels(crops.contiguous(memory_format=torch.channels_last))], dim=1)
        )
        return Described(
            features.float(),
            self.kind(features).float(),
            self.colour(features).float(),
            self.size(features).float(),
            self.pattern(features).float(),
        )


class Network(nn.Module):
    """Pictures in, regions out. Pictures are (B, 3, H, W) float, as ``pictures.to_tensor`` leaves them."""

    def __init__(self, *, kinds: int, colours: int, sizes: int, patterns: int, proposals: int = 40) -> None:
        super().__init__()
        self.backbone = Backbone()
        anchors = AnchorGenerator((ANCHOR_SIZES,), ((0.6, 1.0, 1.6),))
        self.rpn = RegionProposalNetwork(
            anchors,
            ProposalHead(anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=128,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 400, "testing": 200},
            post_nms_top_n={"training": 64, "testing": proposals},
            nms_thresh=0.7,
        )
        self.heads = RegionHeads(kinds, colours, sizes, patterns)

    def propose(
        self, maps: Maps, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Boxes worth a look, per picture, and the proposal losses when training."""
        images = ImageList(maps.picture, [maps.size] * len(maps.picture))
        boxes, losses = self.rpn(images, OrderedDict([("8", maps.coarse)]), targets)
        return boxes, losses

    def find(self, maps: Maps, limit: int) -> tuple[list[Tensor], list[Tensor]]:
        """Refined boxes and how sure the first look is of each; best first, at most ``limit`` a picture."""
        proposals, _ = self.propose(maps)
        logits, changes = self.heads.judge(self.heads.look(maps, proposals))
        refined = self.heads.box_coder.decode(changes, proposals).reshape(-1, 4)
        objectness = 1.0 - logits.softmax(-1)[:, 0]
        counts = [len(p) for p in proposals]
        boxes, scores = [], []
        for box, score in zip(torch.split(refined, counts), torch.split(objectness, counts), strict=True):
            box = box_ops.clip_boxes_to_image(box, maps.size)
            real = (score > self.heads.score_thresh).nonzero().squeeze(1)
            real = real[box_ops.remove_small_boxes(box[real], 2.0)]
            kept = real[nms(box[real], score[real], self.heads.nms_thresh)[:limit]]
            boxes.append(box[kept])
            scores.append(score[kept])
        return boxes, scores

    def describe(self, maps: Maps, boxes: list[Tensor]) -> Described:
        """Features and attributes of boxes (pixels of ``maps.picture``), one list entry a picture, in that order."""
        return self.heads.describe(maps, boxes, self.heads.look(maps, boxes))

    def fold(self) -> None:
        """For evaluation only: melt every normalisation into its weights (a tenth faster)."""
        for module in list(self.modules()):
            if isinstance(module, Layer):
                module.fold()
