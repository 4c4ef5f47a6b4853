"""Attention inside a stream and between the two, and the residual steps around it. Paper: section 3.1.

Everything is (P, rows, width); masks are (P, rows) boolean and True means real. A query that finds no real row
gets zeros, never NaN. The projections to queries, keys and values are one matrix, of which only the part that
is asked for is computed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import ModelConfig


class Look(NamedTuple):
    """Where a co-attentional layer looked, every row's shares summing to one: ``to_regions`` (P, heads, L, R), of each
    word over the regions, and ``to_words`` (P, heads, R, L), of each region over the words."""

    to_regions: Tensor
    to_words: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int, dropout: float) -> Tensor:
    """Fused scaled-dot-product attention: query (P, Q, W), key and value (P, S, W), mask (P, S) -> (P, Q, W).

    On a CPU the arithmetic is float32 whatever the precision of the linear layers: the half-precision
    backward pass of this kernel is an order of magnitude slower there.
    """
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":
            q, k, v = q.float(), k.float(), v.float()
        mixed = F.scaled_dot_product_attention(q, k, v, mask[:, None, None, :], dropout)
    return mixed.transpose(1, 2).flatten(2)


def attend_openly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """:func:`attend` without dropout, step by step: the same numbers, and the shares (P, heads, Q, S) behind them."""
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2).float() for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(~mask[:, None, None, :], -math.inf)
        shares = torch.softmax(scores, dim=-1).nan_to_num(0.0)  # of a row that finds nothing real
        mixed = shares @ v
    return mixed.transpose(1, 2).flatten(2), shares


class Projections(nn.Linear):
    """Queries, keys and values of one stream as one linear layer, of which a part can be had alone."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, 3 * width)
        self.width = width

    def query(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[: self.width], self.bias[: self.width])

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        key, value = F.linear(x, self.weight[self.width :], self.bias[self.width :]).chunk(2, dim=-1)
        return key, value

    def all(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self(x).chunk(3, dim=-1)
        return query, key, value


class Residual(nn.Module):
    """The way around a step: ``after(x, step(before(x)))`` adds and normalises as the configuration says."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def before(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.pre else x

    def after(self, x: Tensor, change: Tensor) -> Tensor:
        total: Tensor = x + self.dropout(change)
        return total if self.pre else self.norm(total)


class FeedForward(nn.Module):
    """Two linear layers with GELU between, added to their input."""

    def __init__(self, config: ModelConfig, width: int, inner: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.residual = Residual(config, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual.after(x, self.out(F.gelu(self.into(self.residual.before(x)))))


class Layer(nn.Module):
    """A transformer layer of one stream (TRM): self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = config.dropout
        self.projections = Projections(width, width)
        self.out = nn.Linear(width, width)
        self.residual = Residual(config, width)
        self.feed_forward = FeedForward(config, width, inner)

    def forward(self, x: Tensor, mask: Tensor, first: int | None = None) -> Tensor:
        """x (P, S, W), mask (P, S) -> (P, S, W), or only its ``first`` rows: the same numbers for less work."""
        y = self.residual.before(x)
        if first is None:
            query, key, value = self.projections.all(y)
        else:
            query, (key, value) = self.projections.query(y[:, :first]), self.projections.key_value(y)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = attend(query, key, value, mask, self.heads, dropout)
        whole: Tensor = self.feed_forward(self.residual.after(x[:, :first], self.out(mixed)))
        return whole


class CoAttention(nn.Module):
    """A co-attentional layer (Co-TRM): each stream asks the other, then a feed-forward layer in each."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.joint_heads
        self.attention_dropout = config.dropout
        self.text = _Side(config, config.text_width, config.text_inner)
        self.image = _Side(config, config.image_width, config.image_inner)

    def forward(
        self, text: Tensor, image: Tensor, text_mask: Tensor, image_mask: Tensor, looks: list[Look] | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (P, L, W_t), image (P, R, W_i) -> both, each having looked at the other. ``looks``: a list that gets
        where; then nothing is dropped out."""
        text_query, text_key, text_value = self.text.projections.all(self.text.residual.before(text))
        image_query, image_key, image_value = self.image.projections.all(self.image.residual.before(image))
        if looks is not None:
            to_text, seen = attend_openly(text_query, image_key, image_value, image_mask, self.heads)
            to_image, read = attend_openly(image_query, text_key, text_value, text_mask, self.heads)
            looks.append(Look(seen, read))
            return self.text.finish(text, to_text), self.image.finish(image, to_image)
        to_text = self._attend(text_query, image_key, image_value, image_mask)
        to_image = self._attend(image_query, text_key, text_value, text_mask)
        return self.text.finish(text, to_text), self.image.finish(image, to_image)

    def into_image(self, text: Tensor, image: Tensor, text_mask: Tensor) -> Tensor:
        """The image half of :meth:`forward` alone: the same numbers for half the work."""
        query = self.image.projections.query(self.image.residual.before(image))
        key, value = self.text.projections.key_value(self.text.residual.before(text))
        return self.image.finish(image, self._attend(query, key, value, text_mask))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        return attend(query, key, value, mask, self.heads, self.attention_dropout if self.training else 0.0)


class _Side(nn.Module):
    """What one stream owns of a co-attentional layer."""

    def __init__(self, config: ModelConfig, width: int, inner: int) -> None:
        super().__init__()
        self.projections = Projections(width, config.joint_width)
        self.out = nn.Linear(config.joint_width, width)
        self.residual = Residual(config, width)
        self.feed_forward = FeedForward(config, width, inner)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        whole: Tensor = self.feed_forward(self.residual.after(x, self.out(mixed)))
        return whole
