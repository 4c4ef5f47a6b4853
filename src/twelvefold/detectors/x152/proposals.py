"""Proposals of the published detector: anchors, box decoding and NMS in maskrcnn-benchmark's arithmetic.

maskrcnn-benchmark counts both edges of a box (width x2 - x1 + 1) and rounds its anchors; torchvision's anchors and box
coder do neither, so they are implemented here. Paper: section 3.1; the regions are these proposals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, nms

STRIDES = (4, 8, 16, 32, 64)
ANCHOR_SIZES = (32, 64, 128, 256, 512)
ASPECT_RATIOS = (0.5, 1.0, 2.0)
"""Height over width."""
PRE_NMS_TOP_N = 1000
"""Most likely proposals per level before NMS."""
POST_NMS_TOP_N = 1000
"""Proposals kept per level after NMS, and of all levels together."""
NMS_IOU_THRESHOLD = 0.7
MAX_LOG_SCALE = math.log(1000.0 / 16)
"""A predicted delta makes a side at most 62.5 times as long."""


def cell_anchors(stride: int, size: int) -> Tensor:
    """Return the anchors (3, 4) float32 of a map's first cell, one for each aspect ratio."""
    center, ratios = 0.5 * (stride - 1), np.array(ASPECT_RATIOS)
    widths = np.round(np.sqrt(stride * stride / ratios))
    sides = np.stack([widths, np.round(widths * ratios)], axis=1)
    half = 0.5 * (sides * (size / stride) - 1.0)
    return torch.tensor(np.concatenate([center - half, center + half], axis=1), dtype=torch.float32)


def grid_anchors(base: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Return the anchors (height * width * 3, 4) of every cell, in row-major order."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=base.device) * stride,
        torch.arange(width, dtype=torch.float32, device=base.device) * stride,
        indexing="ij",
    )
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)  # (height * width, 1, 4)
    return (shifts + base).reshape(-1, 4)


def decode_deltas(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Apply ``deltas`` (N, 4) dx, dy, dw, dh to anchors (N, 4)."""
    sides = anchors[:, 2:] - anchors[:, :2] + 1.0
    center = anchors[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    half = 0.5 * deltas[:, 2:].clamp(max=MAX_LOG_SCALE).exp() * sides
    return torch.cat([center - half, center + half - 1.0], dim=1)


def propose(
    rpn_outputs: Sequence[tuple[Tensor, Tensor]], anchors: Sequence[Tensor], width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Return the proposals (N, 4) of one image in pixels of the resized image, and their scores (N,), best first.

    ``rpn_outputs``: logits (1, 3, H, W) and deltas (1, 12, H, W) of each level. ``anchors``: (3, 4) of each level.
    ``width``, ``height``: of the resized image without padding.
    """
    boxes, scores = [], []
    for (logits, deltas), base, stride in zip(rpn_outputs, anchors, STRIDES, strict=True):
        rows, columns = logits.shape[-2:]
        score = logits[0].permute(1, 2, 0).reshape(-1).sigmoid()  # (H * W * 3,)
        score, best = score.topk(min(PRE_NMS_TOP_N, len(score)))
        best_deltas = deltas[0].reshape(-1, 4, rows, columns).permute(2, 3, 0, 1).reshape(-1, 4)[best]  # (best, 4)
        decoded = decode_deltas(grid_anchors(base, rows, columns, stride)[best], best_deltas)
        clipped = clip_boxes_to_image(decoded, (height - 1, width - 1))  # whose last pixel is width - 1, height - 1
        with_edges = clipped + clipped.new_tensor([0.0, 0.0, 1.0, 1.0])  # both edges count
        keep = nms(with_edges, score, NMS_IOU_THRESHOLD)[:POST_NMS_TOP_N]
        boxes.append(clipped[keep])
        scores.append(score[keep])
    all_boxes, score = torch.cat(boxes), torch.cat(scores)
    score, best = score.topk(min(POST_NMS_TOP_N, len(score)))
    return all_boxes[best], score
