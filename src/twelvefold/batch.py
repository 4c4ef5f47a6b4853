"""Types that hold tensors: a batch of examples, and the output of the trunk for it.

Shapes use the letters of :mod:`twelvefold.schema`. Masks are boolean, True for real and False for padding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class Batch:
    """A padded batch of one task: P = B * K image-text pairs.

    token_ids (P, L) int64 and token_mask (P, L) bool: the texts. features (P, R, D) float32, boxes_px (P, R, 4)
    float32 and region_mask (P, R) bool: the regions. locations (P, R, 5) float32: x1/W, y1/H, x2/W, y2/H and the
    box's share of the image's area. candidate_mask (P, R) bool: rows that the grounding family may choose.

    target: what the family's loss and score need, None if labels are withheld. Its shape is the family's:
    answers (B, A) float32, retrieval (B,) int64, grounding (P, R, 2) float32, verification (B,) int64.
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
    """A batch for pretraining: P = B captions, each with one image, with some tokens and regions masked.

    target (P,) int64: 1 for a mismatched caption (it belongs to another image), else 0. predict_tokens (P, L) bool and
    predict_regions (P, R) bool: where the model has to predict. token_labels (M,) int64: the original ids of those
    tokens. region_labels (N, C) float32: the detector's category probabilities of those regions. Both are in row order.

    whole_batch_counts: number of examples, tokens to predict and regions to predict in the whole batch of the step, of
    which this may be a shard; losses are means over the whole batch. Paper: section 3.1.
    """

    predict_tokens: Tensor
    predict_regions: Tensor
    token_labels: Tensor
    region_labels: Tensor
    whole_batch_counts: tuple[int, int, int]


@dataclass(slots=True, eq=False)
class TrunkOutput:
    """Final states and pooled vectors of a batch. Paper: h_w, h_v, h_CLS and h_IMG of section 3.1.

    text (P, L', W_t); regions (P, R, W_i); pooled_text and pooled_image (P, H); fused (P, H): the holistic
    representation, by default the product of the two pooled vectors (Eqs. 1, 2, 4).
    """

    text: Tensor
    regions: Tensor
    pooled_text: Tensor
    pooled_image: Tensor
    fused: Tensor
