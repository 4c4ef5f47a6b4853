"""Types that hold tensors: a batch of examples, and the output of the trunk for it.

Shapes use the letters of :mod:`twelvefold.schema`. Masks are boolean, True for real and False for padding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Lengths = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Batch:
    """A batch of one task: P = B * K image-text pairs.

    token_ids (P, L) int64 and token_mask (P, L) bool: the texts. features (N, D) float32 and locations (N, 5) float32:
    the N real regions of all images, one image after the other; a location is x1/W, y1/H, x2/W, y2/H and the box's
    share of the image's area. boxes_px (P, R, 4) float32 and region_mask (P, R) bool: the same regions, image by image,
    with padding. candidate_mask (P, R) bool: rows that the grounding family may choose.

    features (P, R, D) and locations (P, R, 5) are also accepted: the model then computes the padding too, which an
    exported graph needs, as its shapes must not depend on values.

    target: what the family's loss and score need, None if labels are withheld. Its shape is the family's:
    answers (B, A) float32, retrieval (B,) int64, grounding (P, R, 2) float32, verification (B,) int64.

    text_lengths, image_lengths (P,) int64: the number of True of each row of the two masks, on the host, so that no
    device has to be asked; None: not counted yet.

    image_means (P, D) float32: the first row of each image, where features are float16 on the way to a GPU, which keeps
    what is stored in half the bytes; :meth:`to` converts them there. None: features are float32.
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
    text_lengths: Lengths | None = None
    image_lengths: Lengths | None = None
    image_means: Tensor | None = None

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """The number of tokens of each text and of regions of each image."""
        counted = (self.text_lengths, self.image_lengths)
        masks = (self.token_mask, self.region_mask)
        texts, images = (
            mask.sum(dim=1).cpu().numpy() if lengths is None else lengths
            for lengths, mask in zip(counted, masks, strict=True)
        )
        return texts, images

    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on ``device``, where features become float32; the batch itself if they are
        there already."""
        if self.features.device == device:
            return self
        tensors: dict[str, Any] = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        moved = replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})
        return moved.with_float32_features()

    def with_float32_features(self) -> Self:
        """Return the batch with float32 features, and without ``image_means``; the batch itself if they are."""
        if self.image_means is None:
            return self
        features, lengths = self.features.float(), self.region_mask.sum(dim=1)
        features[lengths.cumsum(dim=0) - lengths] = self.image_means
        return replace(self, features=features, image_means=None)

    def pin_memory(self) -> Self:
        """Return the batch with its tensors in page-locked memory, from which a GPU copies while it computes."""
        tensors: dict[str, Any] = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **{name: tensor.pin_memory() for name, tensor in tensors.items()})

    def pad_regions(self, rows: Tensor) -> Tensor:
        """Return a row for each region in the shape of ``region_mask``, with zeros as padding: (N, ...) -> (P, R, ...).

        Rows that are padded already are returned as they are.
        """
        if rows.shape[:2] == self.region_mask.shape:
            return rows
        padded = rows.new_zeros(*self.region_mask.shape, *rows.shape[1:])
        padded[self.region_mask] = rows
        return padded

    def with_padded_regions(self) -> Self:
        """Return the batch with features (P, R, D) and locations (P, R, 5)."""
        features, locations = self.pad_regions(self.features), self.pad_regions(self.locations)
        return replace(self, features=features, locations=locations)

    def with_first_tokens(self) -> Self:
        """Return the batch with only the first token of each text, [CLS]."""
        token_ids, mask = self.token_ids[:, :1], self.token_mask[:, :1]
        return replace(self, token_ids=token_ids, token_mask=mask, text_lengths=np.ones(len(mask), dtype=np.int64))

    def with_first_regions(self) -> Self:
        """Return the batch with only the first row of each image, IMG."""
        images = self.with_padded_regions()
        per_image: dict[str, Any] = {
            name: getattr(images, name)[:, :1]
            for name in ("features", "locations", "boxes_px", "region_mask", "candidate_mask")
        }
        return replace(self, **per_image, image_lengths=np.ones(len(self.region_mask), dtype=np.int64))


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
