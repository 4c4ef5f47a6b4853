"""Transformer and co-attention layers. Paper: section 3.1 (TRM and Co-TRM).

Rows are packed (:mod:`twelvefold.model.packing`): N rows of all sequences, one after the other. Letters in shapes are
those of :mod:`twelvefold.schema`; Q and S are the query and key rows of one attention, and A is the number of
attention heads. A query without any real key gets zeros, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import ModelConfig
from twelvefold.model.linear import Linear
from twelvefold.model.packing import AttentionPlan


class CoAttentionPlans(NamedTuple):
    """From each word to the regions, and from each region to the words."""

    to_regions: AttentionPlan
    to_words: AttentionPlan


class AttentionWeights(NamedTuple):
    """Attention between the modalities in one block; every row sums to one.

    ``to_regions`` (P, A, L', R): from each word to the regions. ``to_words`` (P, A, R, L'): from each region to the
    words.
    """

    to_regions: Tensor
    to_words: Tensor


def attend(query: Tensor, key_value: Tensor, plan: AttentionPlan, num_heads: int, dropout: float) -> Tensor:
    """Return multi-head attention: query (N, W), key and value (N', 2 * W) -> (N, W).

    On a CPU it computes in float32 even under autocast, because the half-precision backward pass of this kernel is an
    order of magnitude slower there.
    """
    key, value = plan.arrange_keys(key_value).chunk(2, dim=-1)
    return _attend_in_groups(plan.arrange_queries(query), key, value, plan, num_heads, dropout)


def self_attend(qkv: Tensor, plan: AttentionPlan, num_heads: int, dropout: float) -> Tensor:
    """Return multi-head attention of rows to rows of the same sequence: query, key, value (N, 3 * W) -> (N, W)."""
    query, key, value = plan.arrange_keys(qkv).chunk(3, dim=-1)
    return _attend_in_groups(query, key, value, plan, num_heads, dropout)


def _attend_in_groups(
    query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, num_heads: int, dropout: float
) -> Tensor:
    """Return attention for rows that are arranged in the plan's groups."""
    if query.device.type == "cpu":
        query, key, value = query.float(), key.float(), value.float()
    queries = _split_rows(query, plan.query_sizes)
    keys, values = (_split_rows(x, plan.key_sizes) for x in (key, value))
    contexts = []
    with torch.autocast(query.device.type, enabled=False):
        for group, q, k, v in zip(plan.groups, queries, keys, values, strict=True):
            q = _split_heads(q, group.num_sequences, num_heads)
            k, v = (_split_heads(x, group.num_sequences, num_heads) for x in (k, v))
            context = F.scaled_dot_product_attention(q, k, v, group.mask, dropout)  # (P, A, Q, W / A)
            contexts.append(context.transpose(1, 2).reshape(-1, query.shape[1]))  # -> (P * Q, W)
    return plan.restore_queries(contexts)


def _split_rows(x: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    """Split the rows into groups of these sizes, without the spare rows after them."""
    if len(sizes) == 1:  # also in exported graphs, whose sizes are symbols
        return [x[: sizes[0]]]
    return torch.split(x, [*sizes, len(x) - sum(sizes)])[: len(sizes)]


def attend_with_weights(query: Tensor, key_value: Tensor, plan: AttentionPlan, num_heads: int) -> tuple[Tensor, Tensor]:
    """Return what :func:`attend` returns without dropout, and the attention weights (P, A, Q, S), for sequences that
    keep their padding."""
    (group,) = plan.groups
    q, k, v = (_split_heads(x, group.num_sequences, num_heads).float() for x in (query, *key_value.chunk(2, dim=-1)))
    with torch.autocast(query.device.type, enabled=False):
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])  # (P, A, Q, S)
        if group.mask is not None:
            scores = scores.masked_fill(~group.mask, -math.inf)
        weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)  # NaN where a row has no real key
        context = (weights @ v).transpose(1, 2)
    return context.reshape(query.shape), weights  # (P, Q, A, W / A) -> (P * Q, W)


def _split_heads(x: Tensor, num_sequences: int, num_heads: int) -> Tensor:
    heads = x.view(num_sequences, -1, num_heads, x.shape[1] // num_heads)  # (P * S, W) -> (P, S, A, W / A)
    return heads.transpose(1, 2)


class QKVProjection(Linear):
    """Query, key and value projections as one matrix, (..., W) -> (..., 3 * W); parts can be computed alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, 3 * hidden_size)
        self.hidden_size = hidden_size

    def query(self, x: Tensor) -> Tensor:
        """Return the query only: (..., W)."""
        return self.forward_outputs(x, 0, self.hidden_size)

    def key_value(self, x: Tensor) -> Tensor:
        """Return key and value only: (..., 2 * W)."""
        return self.forward_outputs(x, self.hidden_size, self.out_features)


class Residual(nn.Module):
    """Residual connection around a sublayer: ``add(x, sublayer(norm_input(x)))``, with pre- or post-norm."""

    def __init__(self, config: ModelConfig, hidden_size: int) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def norm_input(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.pre_norm else x

    def add(self, x: Tensor, update: Tensor) -> Tensor:
        total: Tensor = x + self.dropout(update)
        return total if self.pre_norm else self.norm(total)


class FeedForward(nn.Module):
    """Linear, GELU, linear, with a residual connection: (..., W) -> (..., W)."""

    def __init__(self, config: ModelConfig, hidden_size: int, ffn_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(hidden_size, ffn_dim)
        self.fc2 = Linear(ffn_dim, hidden_size)
        self.residual = Residual(config, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual.add(x, self.fc2(F.gelu(self.fc1(self.residual.norm_input(x)))))


class TransformerLayer(nn.Module):
    """Self-attention, then feed-forward (TRM)."""

    def __init__(self, config: ModelConfig, hidden_size: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = config.dropout
        self.qkv = QKVProjection(hidden_size, hidden_size)
        self.out_proj = Linear(hidden_size, hidden_size)
        self.residual = Residual(config, hidden_size)
        self.feed_forward = FeedForward(config, hidden_size, ffn_dim)

    def forward(self, x: Tensor, plan: AttentionPlan) -> Tensor:
        """x (N, W) -> (N, W)."""
        context = self_attend(self.qkv(self.residual.norm_input(x)), plan, self.num_heads, self._dropout)
        return self._finish(x, context)

    def forward_rows(self, x: Tensor, rows: Tensor, plan: AttentionPlan) -> Tensor:
        """Return only some rows of :meth:`forward`, for less work. ``rows`` (M,), the queries of ``plan``: which."""
        y = self.residual.norm_input(x)
        query, key_value = self.qkv.query(y.index_select(0, rows)), self.qkv.key_value(y)
        context = attend(query, key_value, plan, self.num_heads, self._dropout)
        return self._finish(x.index_select(0, rows), context)

    @property
    def _dropout(self) -> float:
        return self.attention_dropout if self.training else 0.0

    def _finish(self, x: Tensor, context: Tensor) -> Tensor:
        states: Tensor = self.feed_forward(self.residual.add(x, self.out_proj(context)))
        return states


class CoAttention(nn.Module):
    """Co-attention layer (Co-TRM): each stream attends to the other, then passes a feed-forward layer of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.bi_attention_heads
        self.attention_dropout = config.dropout
        self.text = _Stream(config, config.text_hidden_size, config.text_ffn_dim)
        self.image = _Stream(config, config.image_hidden_size, config.image_ffn_dim)

    @torch.no_grad()
    def match_queries_and_keys(self, scale: float) -> None:
        """Give each stream's keys the query weights of the other stream, so that equal states attend to each other.

        ``scale``: factor on all of these weights.
        """
        text, image, size = self.text.qkv.weight, self.image.qkv.weight, self.text.qkv.hidden_size
        for weight in (text, image):
            weight[:size] *= scale
        image[size : 2 * size], text[size : 2 * size] = text[:size].clone(), image[:size].clone()

    def forward(
        self, text: Tensor, image: Tensor, plans: CoAttentionPlans, weights: list[AttentionWeights] | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (N, W_t), image (N', W_i) -> both streams after attending to each other.

        ``weights``: a list to which the attention weights are appended; attention dropout is then off.
        """
        size = self.text.qkv.hidden_size
        text_qkv = self.text.qkv(self.text.residual.norm_input(text))
        image_qkv = self.image.qkv(self.image.residual.norm_input(image))
        text_query, text_key_value = text_qkv.split([size, 2 * size], dim=-1)
        image_query, image_key_value = image_qkv.split([size, 2 * size], dim=-1)
        if weights is None:
            text_context = self._attend(text_query, image_key_value, plans.to_regions)
            image_context = self._attend(image_query, text_key_value, plans.to_words)
        else:
            heads = self.num_heads
            text_context, to_regions = attend_with_weights(text_query, image_key_value, plans.to_regions, heads)
            image_context, to_words = attend_with_weights(image_query, text_key_value, plans.to_words, heads)
            weights.append(AttentionWeights(to_regions, to_words))
        return self.text.finish(text, text_context), self.image.finish(image, image_context)

    def forward_image(self, text: Tensor, image: Tensor, plan: AttentionPlan) -> Tensor:
        """Return the image half of :meth:`forward` only, for half the work. ``plan``: from regions to words."""
        query = self.image.qkv.query(self.image.residual.norm_input(image))
        key_value = self.text.qkv.key_value(self.text.residual.norm_input(text))
        return self.image.finish(image, self._attend(query, key_value, plan))

    def _attend(self, query: Tensor, key_value: Tensor, plan: AttentionPlan) -> Tensor:
        return attend(query, key_value, plan, self.num_heads, self.attention_dropout if self.training else 0.0)


class _Stream(nn.Module):
    """The parameters of one stream in a co-attention layer."""

    def __init__(self, config: ModelConfig, hidden_size: int, ffn_dim: int) -> None:
        super().__init__()
        self.qkv = QKVProjection(hidden_size, config.bi_hidden_size)
        self.out_proj = Linear(config.bi_hidden_size, hidden_size)
        self.residual = Residual(config, hidden_size)
        self.feed_forward = FeedForward(config, hidden_size, ffn_dim)

    def finish(self, x: Tensor, context: Tensor) -> Tensor:
        states: Tensor = self.feed_forward(self.residual.add(x, self.out_proj(context)))
        return states
