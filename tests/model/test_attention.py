"""Layers against PyTorch's own: the same weights must give the same numbers, in both orders of normalization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.config.model import preset
from twelvefold.model.attention import (
    AttentionWeights,
    CoAttention,
    CoAttentionPlans,
    QKVProjection,
    TransformerLayer,
    attend,
    attend_with_weights,
)
from twelvefold.model.packing import AttentionPlan, Packing

ROWS = torch.Generator().manual_seed(1)
MASK = torch.tensor([[True, True, True, False, False], [True] * 5])
PACKED = Packing(np.array([3, 5]), torch.device("cpu"))
PADDED = Packing.with_padding(MASK)


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=ROWS)


def randomize(module: nn.Module) -> None:
    """Draw every parameter, so that a missing bias or norm shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_is_a_transformer_encoder_layer(norm: str) -> None:
    config = preset("small", norm=norm, layer_norm_eps=1e-5)
    ours = TransformerLayer(config, hidden_size=16, num_heads=4, ffn_dim=24)
    randomize(ours)
    theirs = nn.TransformerEncoderLayer(16, 4, 24, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    names = {
        "qkv": "self_attn.in_proj_",
        "out_proj": "self_attn.out_proj.",
        "residual.norm": "norm1.",
        "feed_forward.fc1": "linear1.",
        "feed_forward.fc2": "linear2.",
        "feed_forward.residual.norm": "norm2.",
    }
    theirs.load_state_dict(
        {names[k.rpartition(".")[0]] + k.rpartition(".")[2]: v for k, v in ours.state_dict().items()}
    )
    x = rows(2, 5, 16)
    expected = theirs(x, src_key_padding_mask=~MASK)
    for packing in (PACKED, PADDED):
        plan, first_plan = (AttentionPlan(queries, packing, 16) for queries in (packing, packing.first_rows()))
        y = packing.pad(ours(packing.pack(x), plan))
        torch.testing.assert_close(y[MASK], expected[MASK], atol=1e-5, rtol=1e-5)
        first = ours.forward_rows(packing.pack(x), packing.first, first_plan)
        torch.testing.assert_close(first, expected[:, 0], atol=1e-5, rtol=1e-5)


def attend_by_hand(side: nn.Module, other: nn.Module, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """One half of post-norm co-attention written out: rows x of ``side`` attend to rows y of ``other``; 4 heads."""
    own, foreign = side.get_submodule("qkv"), other.get_submodule("qkv")
    assert isinstance(own, QKVProjection)
    assert isinstance(foreign, QKVProjection)
    q = F.linear(x, own.weight[:16], own.bias[:16]).view(2, -1, 4, 4)
    k = F.linear(y, foreign.weight[16:32], foreign.bias[16:32]).view(2, -1, 4, 4)
    v = F.linear(y, foreign.weight[32:], foreign.bias[32:]).view(2, -1, 4, 4)
    scores = torch.einsum("pqhd,pshd->phqs", q, k) / 2
    shares = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
    mixed = torch.einsum("phqs,pshd->pqhd", shares, v).flatten(2)
    out, norm = side.get_submodule("out_proj"), side.get_submodule("residual.norm")
    finished: Tensor = side.get_submodule("feed_forward")(norm(x + out(mixed)))
    return finished


def test_in_co_attention_each_stream_attends_to_the_other() -> None:
    config = preset(
        "small",
        norm="post",
        text_hidden_size=12,
        image_hidden_size=20,
        bi_hidden_size=16,
        text_attention_heads=4,
        image_attention_heads=4,
        bi_attention_heads=4,
    )
    ours = CoAttention(config)
    randomize(ours)
    text, image = rows(2, 5, 12), rows(2, 3, 20)
    image_mask = torch.tensor([[True, True, False], [True, False, False]])
    expected_text = attend_by_hand(ours.text, ours.image, text, image, image_mask)
    expected_image = attend_by_hand(ours.image, ours.text, image, text, MASK)
    for texts, images in (
        (PACKED, Packing(np.array([2, 1]), torch.device("cpu"), width=3)),
        (PADDED, Packing.with_padding(image_mask)),
    ):
        plans = CoAttentionPlans(AttentionPlan(texts, images, 16), AttentionPlan(images, texts, 16))
        packed = texts.pack(text), images.pack(image)
        got_text, got_image = ours(*packed, plans)
        torch.testing.assert_close(texts.pad(got_text)[MASK], expected_text[MASK], atol=1e-5, rtol=1e-5)
        padded_image = images.pad(got_image)
        torch.testing.assert_close(padded_image[image_mask], expected_image[image_mask], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.forward_image(*packed, plans.to_words), got_image, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_row_without_real_keys_stays_finite_forward_and_backward(norm: str) -> None:
    layer = TransformerLayer(preset("small", norm=norm), hidden_size=16, num_heads=4, ffn_dim=24)
    x = rows(10, 16).requires_grad_()
    packing = Packing.with_padding(torch.stack([torch.zeros(5, dtype=torch.bool), MASK[1]]))
    y = layer(x, AttentionPlan(packing, packing, 16))
    torch.autograd.backward(y.square().sum())
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


def test_dropout_acts_in_training_only() -> None:
    layer = TransformerLayer(preset("small", dropout=0.5), hidden_size=16, num_heads=4, ffn_dim=24)
    x, plan = rows(8, 16), AttentionPlan(PACKED, PACKED, 16)
    assert not torch.equal(layer(x, plan), layer(x, plan))
    layer.eval()
    assert torch.equal(layer(x, plan), layer(x, plan))


def test_attention_with_weights_equals_the_fused_kernel() -> None:
    query, key_value = rows(8, 12), rows(10, 24)
    queries = Packing.with_padding(torch.ones(2, 4, dtype=torch.bool))
    plan = AttentionPlan(queries, PADDED, 12)
    context, weights = attend_with_weights(query, key_value, plan, num_heads=3)
    torch.testing.assert_close(context, attend(query, key_value, plan, num_heads=3, dropout=0.0))
    assert weights.shape == (2, 3, 4, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 4))
    assert (weights[0, :, :, 3:] == 0).all()  # padding gets no attention
    nothing = Packing.with_padding(torch.zeros(2, 5, dtype=torch.bool))
    no_context, no_weights = attend_with_weights(query, key_value, AttentionPlan(queries, nothing, 12), num_heads=3)
    assert (no_context == 0).all()
    assert (no_weights == 0).all()


def test_co_attention_returns_the_same_when_its_weights_are_recorded() -> None:
    layer = CoAttention(
        preset("small", text_hidden_size=16, image_hidden_size=24, bi_hidden_size=20, bi_attention_heads=5)
    ).eval()
    randomize(layer)
    text, image = rows(10, 16), rows(2, 3, 24)
    images = Packing.with_padding(torch.ones(2, 3, dtype=torch.bool))
    plans = CoAttentionPlans(AttentionPlan(PADDED, images, 20), AttentionPlan(images, PADDED, 20))
    weights: list[AttentionWeights] = []
    recorded = layer(text, image.flatten(0, 1), plans, weights)
    for plain, other in zip(recorded, layer(text, image.flatten(0, 1), plans), strict=True):
        torch.testing.assert_close(plain, other, atol=1e-5, rtol=1e-5)
    assert [(w.to_regions.shape, w.to_words.shape) for w in weights] == [((2, 5, 5, 3), (2, 5, 3, 5))]
    flipped: list[AttentionWeights] = []
    layer(text, image.flip(1).flatten(0, 1), plans, flipped)  # regions in another order: their weights follow
    torch.testing.assert_close(flipped[0].to_regions, weights[0].to_regions.flip(3), atol=1e-5, rtol=1e-5)
