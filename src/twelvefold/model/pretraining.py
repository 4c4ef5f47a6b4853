"""The heads of pretraining: masked words, masked regions, alignment of a caption with a picture. Paper: section 3.1.

The published files carry them all, the multi-task ones too; no task reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.model.config import ModelConfig
from twelvefold.model.heads import exactly
from twelvefold.schema import TrunkOutput


@dataclass(slots=True, eq=False)
class PretrainingLogits:
    """words (P, L', V) over the vocabulary, L' counting the task token where there is one; regions (P, R, C) over the
    detector's kinds; alignment (P, 2): 0 aligned, 1 not. All float32."""

    words: Tensor
    regions: Tensor
    alignment: Tensor


class Transform(nn.Module):
    """Linear, GELU, norm: (..., W) -> (..., W)."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        transformed: Tensor = self.norm(F.gelu(self.into(x)))
        return transformed


class Pretraining(nn.Module):
    """The three heads. A word's logit is its embedding's product with the transformed state: one table, read twice."""

    def __init__(self, config: ModelConfig, word_rows: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.words = Transform(config, config.text_width)
        self.words_bias = nn.Parameter(torch.zeros(word_rows or config.vocabulary_size))
        self.regions = Transform(config, config.image_width)
        self.kinds = nn.Linear(config.image_width, config.region_classes)
        self.alignment = nn.Linear(config.joint_width, 2)

    def forward(self, seen: TrunkOutput, word_embeddings: Tensor) -> PretrainingLogits:
        words = self.words(seen.text)
        with torch.autocast(words.device.type, enabled=False):
            word_logits = F.linear(words.float(), word_embeddings, self.words_bias)
        kinds = exactly(self.kinds, self.regions(seen.regions))
        return PretrainingLogits(word_logits, kinds, exactly(self.alignment, self.dropout(seen.fused)))
