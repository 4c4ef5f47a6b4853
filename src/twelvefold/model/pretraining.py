"""The heads of pretraining: masked words, masked regions, alignment of a caption with a picture. Paper: section 3.1.

The published files carry them all, the multi-task ones too; no task reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.batch import MaskedBatch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.heads import exactly
from twelvefold.schema import TwelvefoldError


@dataclass(slots=True, eq=False)
class PretrainingLogits:
    """words (P, L', V) over the word pieces that the model has, L' counting the task token where there is one; regions
    (P, R, C) over the detector's kinds; or (M, V) and (N, C) of those asked for; alignment (P, 2): 0 aligned, 1 not.
    All float32."""

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

    def forward(
        self,
        seen: TrunkOutput,
        word_embeddings: Tensor,
        words_at: Tensor | None = None,
        regions_at: Tensor | None = None,
    ) -> PretrainingLogits:
        """``words_at`` (P, L') and ``regions_at`` (P, R) bool: only these are told; None: all. With 30,522 pieces the
        logits of all words of a batch are gigabytes, those of the hidden ones a seventh of it."""
        words = self.words(seen.text if words_at is None else seen.text[words_at])
        with torch.autocast(words.device.type, enabled=False):
            word_logits = F.linear(words.float(), word_embeddings, self.words_bias)
        kinds = exactly(self.kinds, self.regions(seen.regions if regions_at is None else seen.regions[regions_at]))
        return PretrainingLogits(word_logits, kinds, self.align(seen.fused))

    def align(self, fused: Tensor) -> Tensor:
        """(P, 2) float32: the alignment logits alone."""
        return exactly(self.alignment, self.dropout(fused))


def loss(logits: PretrainingLogits, batch: MaskedBatch, rows: Tensor, *, region_weight: float = 1.0) -> Tensor:
    """The loss of a part of a batch, so that the parts' losses, each times its share of the examples, sum to that of
    the whole: mean cross-entropy of its hidden words, mean KL divergence of its hidden regions from the detector's
    probabilities, mean cross-entropy of its alignments. ``rows`` (M,) int64: the columns of the hidden words.

    Differs: without a hidden word or region in the batch that term is 0, where the original divides by 0.
    """
    examples, words, regions = batch.of
    share = examples / max(len(batch.example_ids), 1)
    of_words = F.cross_entropy(logits.words, rows, reduction="sum") / max(words, 1)
    of_regions = F.kl_div(F.log_softmax(logits.regions, dim=1), batch.kinds, reduction="sum") / max(regions, 1)
    aligned = F.cross_entropy(logits.alignment, known(batch))
    return share * (of_words + region_weight * of_regions) + aligned


def rightness(logits: PretrainingLogits, batch: MaskedBatch, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """1 where a hidden word (M,), a hidden region's most probable kind (N,), an alignment (P,) is told right, else 0.

    Ties lose, as everywhere.
    """
    kinds = batch.kinds.argmax(dim=1) if len(batch.kinds) else rows.new_zeros(0)
    answers = ((logits.words, rows), (logits.regions, kinds), (logits.alignment, known(batch)))
    words, regions, aligned = (_alone_at_top(of, true) for of, true in answers)
    return words, regions, aligned


def known(batch: MaskedBatch) -> Tensor:
    """Which pairs were swapped.

    Raises:
        TwelvefoldError: the batch doesn't say.
    """
    if batch.target is None:
        raise TwelvefoldError(f"{batch.task}: a batch to pretrain on says which captions were swapped")
    return batch.target


def _alone_at_top(logits: Tensor, true: Tensor) -> Tensor:
    own = logits.gather(1, true[:, None])
    return ((logits >= own).sum(dim=1) == 1).float()
