"""The published trunk: two BERT-style streams joined by co-attention. Paper: section 3.1.

Read it from top to bottom: words and regions are embedded; each stream runs its own layers; blocks of co-attention, one
image layer and one text layer follow; the first row of each stream (CLS and IMG) is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.attention import AttentionWeights, CoAttention, CoAttentionPlans, TransformerLayer
from twelvefold.model.linear import Linear
from twelvefold.model.packing import AttentionPlan, PackedStates, Packing
from twelvefold.model.trunk import ImageEmbeddings, TextEmbeddings, Trunk


class _Plans(NamedTuple):
    """Attention within the texts, within the images, and across."""

    text: AttentionPlan
    image: AttentionPlan
    across: CoAttentionPlans


class CoAttentionBlock(nn.Module):
    """Co-attention, then one image layer and one text layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.co_attention = CoAttention(config)
        self.image_layer = _image_layer(config)
        self.text_layer = _text_layer(config)

    def forward(
        self, text: Tensor, image: Tensor, plans: _Plans, weights: list[AttentionWeights] | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (N, W_t), image (N', W_i) -> both. ``weights``: a list to which the attention weights are appended."""
        text, image = self.co_attention(text, image, plans.across, weights)
        return self.text_layer(text, plans.text), self.image_layer(image, plans.image)

    def forward_first(self, text: PackedStates, image: PackedStates, plans: _Plans) -> tuple[Tensor, Tensor]:
        """Return only the first row of every text and image of :meth:`forward`: (P, W_t) and (P, W_i)."""
        texts, images = self.co_attention(text.states, image.states, plans.across)
        first_text = AttentionPlan(text.packing.first_rows(), text.packing, plans.text.hidden_size)
        first_image = AttentionPlan(image.packing.first_rows(), image.packing, plans.image.hidden_size)
        cls = self.text_layer.forward_rows(texts, text.packing.first, first_text)
        return cls, self.image_layer.forward_rows(images, image.packing.first, first_image)

    def forward_image(self, text: Tensor, image: Tensor, plans: _Plans) -> Tensor:
        """Return the image stream of :meth:`forward` only."""
        states: Tensor = self.image_layer(
            self.co_attention.forward_image(text, image, plans.across.to_words), plans.image
        )
        return states


class TwoStreamTrunk(Trunk):
    """ViLBERT: a text stream and an image stream that exchange information in co-attention layers."""

    def __init__(self, config: ModelConfig, num_task_tokens: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__(config, num_task_tokens, word_pieces)
        self.text_hidden_size, self.bi_hidden_size = config.text_hidden_size, config.bi_hidden_size
        self.region_hidden_size = config.image_hidden_size
        self.text_embeddings = TextEmbeddings(config, num_task_tokens, word_pieces)
        self.image_embeddings = ImageEmbeddings(config, config.image_hidden_size)
        self.text_layers = nn.ModuleList(_text_layer(config) for _ in range(config.num_text_layers))
        self.image_layers = nn.ModuleList(_image_layer(config) for _ in range(config.num_image_layers))
        self.blocks = nn.ModuleList(CoAttentionBlock(config) for _ in range(config.num_coattention_layers))
        pre, eps = config.norm == "pre", config.layer_norm_eps
        self.text_norm = nn.LayerNorm(config.text_hidden_size, eps=eps) if pre else nn.Identity()
        self.image_norm = nn.LayerNorm(config.image_hidden_size, eps=eps) if pre else nn.Identity()
        self.fusion = config.fusion
        self.text_pooler = Linear(config.text_hidden_size, config.bi_hidden_size)
        self.image_pooler = Linear(config.image_hidden_size, config.bi_hidden_size)

    def encode_text(self, token_ids: Tensor, packing: Packing, task_index: int) -> PackedStates:
        """Return the text stream before co-attention."""
        text, packing = self.text_embeddings(token_ids, packing, task_index)
        plan = packing.plan(self.text_hidden_size)
        for layer in self.text_layers:
            text = layer(text, plan)
        return PackedStates(text, packing)

    def encode_image(self, features: Tensor, locations: Tensor, packing: Packing) -> PackedStates:
        """Return the image stream before co-attention."""
        image: Tensor = self.image_embeddings(features, locations)
        plan = packing.plan(self.region_hidden_size)
        for layer in self.image_layers:
            image = layer(image, plan)
        return PackedStates(image, packing)

    def forward(self, batch: Batch, task_index: int, weights: list[AttentionWeights] | None = None) -> TrunkOutput:
        (text, texts), (image, images) = self.encode(batch, task_index)
        plans = self._plans(texts, images)
        for block in self.blocks:
            text, image = block(text, image, plans, weights)
        return self.output(PackedStates(self.text_norm(text), texts), PackedStates(self.image_norm(image), images))

    def cross_encode(self, text: PackedStates, image: PackedStates) -> Tensor:
        """Return the fused vectors (P, H); the last block's text and image layers compute only the pooled rows."""
        plans, *blocks, last = self._plans(text.packing, image.packing), *self.blocks
        (texts, text_packing), (images, image_packing) = text, image
        for block in blocks:
            texts, images = block(texts, images, plans)
        packed = PackedStates(texts, text_packing), PackedStates(images, image_packing)
        cls, img = cast(CoAttentionBlock, last).forward_first(*packed, plans)
        return self.pool(self.text_norm(cls), self.image_norm(img))[2]

    def region_states(self, batch: Batch, task_index: int) -> Tensor:
        """Return the final states of the regions, (P, R, W_i), without the text half of the last block."""
        (text, texts), (image, images) = self.encode(batch, task_index)
        plans, *blocks, last = self._plans(texts, images), *self.blocks
        for block in blocks:
            text, image = block(text, image, plans)
        image = cast(CoAttentionBlock, last).forward_image(text, image, plans)
        return images.pad(self.image_norm(image))

    def _plans(self, texts: Packing, images: Packing) -> _Plans:
        return _Plans(
            texts.plan(self.text_hidden_size),
            images.plan(self.region_hidden_size),
            CoAttentionPlans(
                AttentionPlan(texts, images, self.bi_hidden_size), AttentionPlan(images, texts, self.bi_hidden_size)
            ),
        )


def _text_layer(config: ModelConfig) -> TransformerLayer:
    return TransformerLayer(config, config.text_hidden_size, config.text_attention_heads, config.text_ffn_dim)


def _image_layer(config: ModelConfig) -> TransformerLayer:
    return TransformerLayer(config, config.image_hidden_size, config.image_attention_heads, config.image_ffn_dim)
