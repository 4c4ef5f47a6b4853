"""Types that hold tensors: a batch of examples, and what the trunk returns for it.

Shapes use the letters of :mod:`twelvefold.schema`. Masks are boolean; True means real, False padding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class Batch:
    """P = B * K rows of one task, padded here and nowhere else; each image is padded alone.

    token_ids (P, L) int64; token_mask (P, L) bool; features (P, R, D) float32; boxes_px (P, R, 4) float32;
    locations (P, R, 5) float32: x1/W, y1/H, x2/W, y2/H and area share; region_mask (P, R) bool;
    candidate_mask (P, R) bool: rows that may be pointed at. target: what the family's loss wants (answers
    (B, A), retrieval (B,) int64, grounding (P, R, 2): what a row trains towards and what choosing it earns,
    verification (B,) int64 with -1 for no gold label), None where labels are withheld.
    """

    task: str
    pairs_per_example: int
    example_ids: list[str]
    token_ids: Tensor
    token_mask: Tensor
    features: Tensor
    boxes_px: Tensor
    locations: Tensor
    region_mask: Tensor
    candidate_mask: Tensor
    target: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on ``device``; the batch itself if they are there already."""
        if self.features.device == device:
            return self
        tensors: dict[str, Any] = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})


@dataclass(slots=True, eq=False, kw_only=True)
class MaskedBatch(Batch):
    """P = B captions, each with a picture, of which words and regions were hidden: what pretraining learns from.

    target (P,) int64: 0 where the caption is the picture's, 1 where it was swapped for another one's. words_at (P, L)
    and regions_at (P, R) bool: what is to be told; words (M,) int64: the word pieces that stood there; kinds (N, C)
    float32: the detector's probabilities of those regions, both in the order of rows. of: examples, words and regions
    to be told in the whole batch, where this is a part of one: its losses are means over those. Paper: section 3.1.
    """

    words_at: Tensor
    regions_at: Tensor
    words: Tensor
    kinds: Tensor
    of: tuple[int, int, int]


@dataclass(slots=True, eq=False)
class TrunkOutput:
    """text (P, L', H_t) and regions (P, R, H_v): final states, L' counting the task token where there is one;
    pooled_text and pooled_image (P, H): after the poolers; fused (P, H): the holistic representation, their product
    (Eqs. 1, 2, 4). Paper: h_w, h_v, h_CLS, h_IMG of section 3."""

    text: Tensor
    regions: Tensor
    pooled_text: Tensor
    pooled_image: Tensor
    fused: Tensor
