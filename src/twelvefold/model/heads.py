"""The heads that branch off the trunk, one shape per family; tasks that share a head share its weights.

Every head answers in float32 whatever the precision inside: scores of half precision tie, and ties lose.
Paper: section 3.2, Eqs. 1-4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import ModelConfig
from twelvefold.schema import HeadSpec


class Classifier(nn.Module):
    """A two-layer MLP over the fused vectors of an example's K pairs, side by side: (P, H) -> (B, A).

    Paper: Eqs. 1 and 4. Differs: SNLI-VE's is of the same form, as the paper says; the original code has one
    linear layer there, which is :class:`Linear`.
    """

    def __init__(self, config: ModelConfig, pairs: int, outputs: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.dropout = nn.Dropout(config.dropout)
        self.into = nn.Linear(pairs * config.joint_width, config.head_inner)
        self.norm = nn.LayerNorm(config.head_inner, eps=config.norm_eps)
        self.last = nn.Linear(config.head_inner, outputs)

    def forward(self, fused: Tensor) -> Tensor:
        side_by_side = self.dropout(fused).reshape(-1, self.into.in_features)
        return exactly(self.last, self.norm(F.gelu(self.into(side_by_side))))


class Linear(nn.Module):
    """One linear layer over the fused vectors of an example's K pairs, side by side: (P, H) -> (B, A).

    The form of the published three-way head (SNLI-VE, GuessWhat's answers).
    """

    def __init__(self, config: ModelConfig, pairs: int, outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(pairs * config.joint_width, outputs)

    def forward(self, fused: Tensor) -> Tensor:
        return exactly(self.last, self.dropout(fused).reshape(-1, self.last.in_features))


class Score(nn.Module):
    """One number for every vector, by one linear layer: (..., W) -> (...). Paper: Eqs. 2 and 3."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return exactly(self.last, self.dropout(x)).squeeze(-1)


def head(config: ModelConfig, spec: HeadSpec) -> Classifier | Linear | Score:
    """A head of the family's shape."""
    if spec.family == "grounding":
        return Score(config, config.image_width)
    if spec.family == "retrieval":
        return Score(config, config.joint_width)
    if spec.form == "linear":
        return Linear(config, spec.pairs_per_example, len(spec.outputs))
    return Classifier(config, spec.pairs_per_example, len(spec.outputs))


def exactly(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer in float32."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = linear(x.float())
    return result
