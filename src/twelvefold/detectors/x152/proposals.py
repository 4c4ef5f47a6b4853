"""Proposals of the published detector: anchors, shifts and suppression in maskrcnn-benchmark's arithmetic.

It counts both edges of a box (width x2 - x1 + 1) and rounds its anchors; torchvision's anchors and coder do neither,
so these few lines are our own. Paper: section 3.1; regions are these proposals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

STRIDES = (4, 8, 16, 32, 64)
SIZES = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
"""Height over width."""
BEFORE_NMS = 1000
"""Proposals of a level that are looked at, the likeliest first."""
AFTER_NMS = 1000
"""Proposals kept: of a level, and of all levels together."""
NMS_OVERLAP = 0.7
MOST_GROWTH = math.log(1000.0 / 16)
"""A shift makes a side at most 62.5 times as long."""


def base_anchors(stride: int, size: int) -> Tensor:
    """(3, 4) float32: the anchors of a map's first cell, one for each ratio."""
    middle, cell = 0.5 * (stride - 1), float(stride * stride)
    anchors = []
    for ratio in RATIOS:
        width = np.round(np.sqrt(cell / ratio))
        height = np.round(width * ratio)
        half = 0.5 * (np.array([width, height]) * (size / stride) - 1.0)
        anchors.append([*(middle - half), *(middle + half)])
    return torch.tensor(np.array(anchors), dtype=torch.float32)


def anchors_of(base: Tensor, height: int, width: int, stride: int) -> Tensor:
    """(height * width * 3, 4): the anchors of every cell, row by row."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=base.device) * stride,
        torch.arange(width, dtype=torch.float32, device=base.device) * stride,
        indexing="ij",
    )
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + base).reshape(-1, 4)


def shifted(anchors: Tensor, shifts: Tensor) -> Tensor:
    """Anchors (N, 4) moved and stretched by ``shifts`` (N, 4): dx, dy, dw, dh."""
    sides = anchors[:, 2:] - anchors[:, :2] + 1.0
    middle = anchors[:, :2] + 0.5 * sides + shifts[:, :2] * sides
    half = 0.5 * shifts[:, 2:].clamp(max=MOST_GROWTH).exp() * sides
    return torch.cat([middle - half, middle + half - 1.0], dim=1)


def clipped(boxes: Tensor, width: int, height: int) -> Tensor:
    """Boxes inside a picture whose last pixel is ``width - 1``, ``height - 1``."""
    edge = boxes.new_tensor([width - 1.0, height - 1.0, width - 1.0, height - 1.0])
    return torch.minimum(boxes.clamp(min=0.0), edge)


def propose(
    judged: Sequence[tuple[Tensor, Tensor]], anchors: Sequence[Tensor], width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Proposals (N, 4) of one picture in pixels of the network's picture, and how likely each is, likeliest first.

    ``judged``: of each level logits (1, 3, H, W) and shifts (1, 12, H, W). ``anchors``: (3, 4) of each level.
    ``width``, ``height``: of the picture without its padding.
    """
    boxes, scores = [], []
    for (logits, shifts), base, stride in zip(judged, anchors, STRIDES, strict=True):
        rows, columns = logits.shape[-2:]
        likely = logits[0].permute(1, 2, 0).reshape(-1).sigmoid()
        likely, best = likely.topk(min(BEFORE_NMS, len(likely)))
        moves = shifts[0].reshape(-1, 4, rows, columns).permute(2, 3, 0, 1).reshape(-1, 4)[best]
        found = clipped(shifted(anchors_of(base, rows, columns, stride)[best], moves), width, height)
        counted = found + found.new_tensor([0.0, 0.0, 1.0, 1.0])  # both edges count
        keep = nms(counted, likely, NMS_OVERLAP)[:AFTER_NMS]
        boxes.append(found[keep])
        scores.append(likely[keep])
    everything, likely = torch.cat(boxes), torch.cat(scores)
    likely, best = likely.topk(min(AFTER_NMS, len(likely)))
    return everything[best], likely
