"""Transformer and co-attention layers. Paper: section 3.1 (TRM and Co-TRM).

Letters in shapes are those of :mod:`twelvefold.schema`; Q and S are the query and key rows of one attention, and N is
the number of attention heads. Masks are boolean (P, S), True for real rows. A query without any
real key gets zeros, never NaN.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import ModelConfig


class AttentionWeights(NamedTuple):
    """Attention between the modalities in one block; every row sums to one.

    ``to_regions`` (P, N, L', R): from each word to the regions. ``to_words`` (P, N, R, L'): from each region to the
    words.
    """

    to_regions: Tensor
    to_words: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, num_heads: int, dropout: float) -> Tensor:
    """Return multi-head attention: query (P, Q, W), key and value (P, S, W), mask (P, S) -> (P, Q, W).

    On a CPU it computes in float32 even under autocast, because the half-precision backward pass of this kernel is an
    order of magnitude slower there.
    """
    q, k, v = (_split_heads(x, num_heads) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":
            q, k, v = q.float(), k.float(), v.float()
        context = F.scaled_dot_product_attention(q, k, v, mask[:, None, None, :], dropout)
    return _merge_heads(context)


def attend_with_weights(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Return what :func:`attend` returns without dropout, and the attention weights (P, N, Q, S)."""
    q, k, v = (_split_heads(x, num_heads).float() for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])  # (P, N, Q, S)
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
        weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)  # NaN where a row has no real key
        context = weights @ v
    return _merge_heads(context), weights


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)  # (P, S, W) -> (P, N, S, W / N)


def _merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (P, N, S, W / N) -> (P, S, W)


class QKVProjection(nn.Linear):
    """Query, key and value projections as one matrix; the query, or key and value, can be computed alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, 3 * hidden_size)
        self.hidden_size = hidden_size

    def query(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[: self.hidden_size], self.bias[: self.hidden_size])

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = F.linear(x, self.weight[self.hidden_size :], self.bias[self.hidden_size :])  # (P, S, 2 * W)
        key, value = both.chunk(2, dim=-1)  # (P, S, W) each
        return key, value

    def all(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self(x).chunk(3, dim=-1)  # (P, S, 3 * W) -> (P, S, W) each
        return query, key, value


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
        self.fc1 = nn.Linear(hidden_size, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, hidden_size)
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
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.residual = Residual(config, hidden_size)
        self.feed_forward = FeedForward(config, hidden_size, ffn_dim)

    def forward(self, x: Tensor, mask: Tensor, num_rows: int | None = None) -> Tensor:
        """x (P, S, W), mask (P, S) -> (P, S, W), or only the first ``num_rows`` rows, which costs less."""
        y = self.residual.norm_input(x)
        if num_rows is None:
            query, key, value = self.qkv.all(y)
        else:
            query, (key, value) = self.qkv.query(y[:, :num_rows]), self.qkv.key_value(y)
        dropout = self.attention_dropout if self.training else 0.0
        context = attend(query, key, value, mask, self.num_heads, dropout)
        states: Tensor = self.feed_forward(self.residual.add(x[:, :num_rows], self.out_proj(context)))
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
        self,
        text: Tensor,
        image: Tensor,
        text_mask: Tensor,
        image_mask: Tensor,
        weights: list[AttentionWeights] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """text (P, L', W_t), image (P, R, W_i) -> both streams after attending to each other.

        ``weights``: a list to which the attention weights are appended; attention dropout is then off.
        """
        text_query, text_key, text_value = self.text.qkv.all(self.text.residual.norm_input(text))
        image_query, image_key, image_value = self.image.qkv.all(self.image.residual.norm_input(image))
        if weights is None:
            text_context = self._attend(text_query, image_key, image_value, image_mask)
            image_context = self._attend(image_query, text_key, text_value, text_mask)
        else:
            heads = self.num_heads
            text_context, to_regions = attend_with_weights(text_query, image_key, image_value, image_mask, heads)
            image_context, to_words = attend_with_weights(image_query, text_key, text_value, text_mask, heads)
            weights.append(AttentionWeights(to_regions, to_words))
        return self.text.finish(text, text_context), self.image.finish(image, image_context)

    def forward_image(self, text: Tensor, image: Tensor, text_mask: Tensor) -> Tensor:
        """Return the image half of :meth:`forward` only, for half the work."""
        query = self.image.qkv.query(self.image.residual.norm_input(image))
        key, value = self.text.qkv.key_value(self.text.residual.norm_input(text))
        return self.image.finish(image, self._attend(query, key, value, text_mask))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        return attend(query, key, value, mask, self.num_heads, self.attention_dropout if self.training else 0.0)


class _Stream(nn.Module):
    """The parameters of one stream in a co-attention layer."""

    def __init__(self, config: ModelConfig, hidden_size: int, ffn_dim: int) -> None:
        super().__init__()
        self.qkv = QKVProjection(hidden_size, config.bi_hidden_size)
        self.out_proj = nn.Linear(config.bi_hidden_size, hidden_size)
        self.residual = Residual(config, hidden_size)
        self.feed_forward = FeedForward(config, hidden_size, ffn_dim)

    def finish(self, x: Tensor, context: Tensor) -> Tensor:
        states: Tensor = self.feed_forward(self.residual.add(x, self.out_proj(context)))
        return states
