"""Pretraining heads: masked tokens, masked regions, caption-image alignment. Paper: section 3.1.

The published files contain these heads, also those of multi-task models; no task uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.batch import MaskedBatch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.heads import linear_fp32
from twelvefold.model.linear import Linear, linear
from twelvefold.schema import TwelvefoldError


@dataclass(slots=True, eq=False)
class PretrainingLogits:
    """Float32 logits of the pretraining heads.

    tokens: (P, L', V) over the word pieces that the model has, L' including the task token; or (M, V) for the tokens
    to predict only. regions: (P, R, C) over the detector's categories; or (N, C) for the regions to predict only.
    alignment: (P, 2), column 0 for a matching caption and 1 for a mismatched one.
    """

    tokens: Tensor
    regions: Tensor
    alignment: Tensor


class Transform(nn.Module):
    """Linear, GELU, layer norm: (..., W) -> (..., W)."""

    def __init__(self, config: ModelConfig, hidden_size: int) -> None:
        super().__init__()
        self.dense = Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        transformed: Tensor = self.norm(F.gelu(self.dense(x)))
        return transformed


class PretrainingHeads(nn.Module):
    """The three heads. The token head's output matrix is the word embedding (tied weights)."""

    def __init__(self, config: ModelConfig, region_hidden_size: int, num_word_pieces: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.words = Transform(config, config.text_hidden_size)
        self.words_bias = nn.Parameter(torch.zeros(num_word_pieces or config.vocab_size))
        self.regions = Transform(config, region_hidden_size)
        self.region_classifier = Linear(region_hidden_size, config.num_region_categories)
        self.alignment = Linear(config.bi_hidden_size, 2)

    def forward(
        self,
        output: TrunkOutput,
        word_embeddings: Tensor,
        predict_tokens: Tensor | None = None,
        predict_regions: Tensor | None = None,
    ) -> PretrainingLogits:
        """Compute logits where ``predict_tokens`` (P, L') and ``predict_regions`` (P, R) are True; None: everywhere.

        With 30,522 word pieces the logits of all tokens of a batch take gigabytes, those of the masked ones a seventh.
        """
        text = output.text if predict_tokens is None else output.text[predict_tokens]  # (P, L', W) -> (M, W)
        regions = output.regions if predict_regions is None else output.regions[predict_regions]  # -> (N, W)
        text = self.words(text)
        with torch.autocast(text.device.type, enabled=False):
            token_logits = linear(text.float(), word_embeddings, self.words_bias)
        region_logits = linear_fp32(self.region_classifier, self.regions(regions))
        return PretrainingLogits(token_logits, region_logits, self.align(output.fused))

    def align(self, fused: Tensor) -> Tensor:
        """Return the alignment logits of fused vectors: (P, H) -> (P, 2) float32."""
        return linear_fp32(self.alignment, self.dropout(fused))


def loss(logits: PretrainingLogits, batch: MaskedBatch, token_rows: Tensor, *, region_weight: float = 1.0) -> Tensor:
    """Return the pretraining loss of a shard of a batch, a scalar.

    It is the mean cross-entropy of masked tokens, plus ``region_weight`` times the mean KL divergence of masked regions
    from the detector's probabilities, plus the mean cross-entropy of alignment. The first two means divide by
    the counts of the whole batch: the losses of all shards, each weighted by its share of the examples, sum to the loss
    of the whole batch.

    ``token_rows`` (M,) int64: for each token to predict, its column in ``logits.tokens``.

    Differs: if a batch has no token or no region to predict, that term is 0, where the original divides by 0.
    """
    num_examples, num_tokens, num_regions = batch.whole_batch_counts
    inverse_share = num_examples / max(len(batch.example_ids), 1)
    token_loss = F.cross_entropy(logits.tokens, token_rows, reduction="sum") / max(num_tokens, 1)
    log_probabilities = F.log_softmax(logits.regions, dim=1)
    region_loss = F.kl_div(log_probabilities, batch.region_labels, reduction="sum") / max(num_regions, 1)
    alignment_loss = F.cross_entropy(logits.alignment, mismatched(batch))
    return inverse_share * (token_loss + region_weight * region_loss) + alignment_loss


def accuracies(logits: PretrainingLogits, batch: MaskedBatch, token_rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 where the prediction is right and 0 elsewhere, for masked tokens (M,), regions (N,), alignment (P,).

    A region's prediction is right if it is the detector's most probable category. Ties count as wrong.
    """
    region_labels = batch.region_labels.argmax(dim=1) if len(batch.region_labels) else token_rows.new_zeros(0)
    return (
        _is_strict_maximum(logits.tokens, token_rows),
        _is_strict_maximum(logits.regions, region_labels),
        _is_strict_maximum(logits.alignment, mismatched(batch)),
    )


def mismatched(batch: MaskedBatch) -> Tensor:
    """Return which captions do not belong to their image: (P,) int64, 1 for mismatched.

    Raises:
        TwelvefoldError: the batch has no targets.
    """
    if batch.target is None:
        raise TwelvefoldError(f"{batch.task}: a pretraining batch needs a target (which captions are mismatched)")
    return batch.target


def _is_strict_maximum(logits: Tensor, label: Tensor) -> Tensor:
    """(n,) float32: 1 where the label's logit is greater than all others of its row."""
    label_logit = logits.gather(1, label[:, None])  # (n, 1)
    return ((logits >= label_logit).sum(dim=1) == 1).float()
