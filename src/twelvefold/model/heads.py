"""Building blocks of task heads. Tasks that name the same head share its weights. Paper: section 3.2, Eqs. 1-4.

Every head returns float32 logits whatever the precision of the trunk: half-precision scores tie, and ties count as
wrong. P, B, K, H and A are the letters of :mod:`twelvefold.schema`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import ModelConfig
from twelvefold.families import load_family
from twelvefold.model.linear import Linear
from twelvefold.schema import HeadSpec


class MLPClassifier(nn.Module):
    """Two-layer MLP over the concatenated fused vectors of an example's K pairs: (P, H) -> (B, A).

    Paper: Eqs. 1 and 4. Differs: SNLI-VE's head has this form too, as the paper says; the original code has one
    linear layer there, which is :class:`LinearClassifier`.
    """

    def __init__(self, config: ModelConfig, pairs_per_example: int, num_outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.fc1 = Linear(pairs_per_example * config.bi_hidden_size, config.head_hidden_size)
        self.norm = nn.LayerNorm(config.head_hidden_size, eps=config.layer_norm_eps)
        self.last = Linear(config.head_hidden_size, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        x = self.dropout(fused).reshape(-1, self.fc1.in_features)  # (P, H) -> (B, K * H)
        return linear_fp32(self.last, self.norm(F.gelu(self.fc1(x))))


class LinearClassifier(nn.Module):
    """One linear layer over the concatenated fused vectors of an example's K pairs: (P, H) -> (B, A).

    The form of the published three-way head (SNLI-VE, GuessWhat's answers).
    """

    def __init__(self, config: ModelConfig, pairs_per_example: int, num_outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.last = Linear(pairs_per_example * config.bi_hidden_size, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        x = self.dropout(fused).reshape(-1, self.last.in_features)  # (P, H) -> (B, K * H)
        return linear_fp32(self.last, x)


class LinearScore(nn.Module):
    """One logit for every vector, by one linear layer: (..., W) -> (...). Paper: Eqs. 2 and 3."""

    def __init__(self, config: ModelConfig, input_size: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.last = Linear(input_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return linear_fp32(self.last, self.dropout(x)).squeeze(-1)  # (..., 1) -> (...)


def build_head(
    config: ModelConfig, spec: HeadSpec, region_hidden_size: int
) -> MLPClassifier | LinearClassifier | LinearScore:
    """Return a new head of the family's kind. ``region_hidden_size``: size of the trunk's region states."""
    kind = load_family(spec.family).head_kind
    if kind == "region_score":
        return LinearScore(config, region_hidden_size)
    if kind == "pair_score":
        return LinearScore(config, config.bi_hidden_size)
    classifier = LinearClassifier if spec.form == "linear" else MLPClassifier
    return classifier(config, spec.pairs_per_example, len(spec.outputs))


def linear_fp32(linear: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer in float32, also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = linear(x.float())
    return result
