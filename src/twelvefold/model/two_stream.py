"""The published trunk: two BERT-style streams joined by co-attention. Paper: section 3.1.

Read it from top to bottom: words and regions are embedded; each stream runs its own layers; blocks of co-attention, one
image layer and one text layer follow; the first row of each stream (CLS and IMG) is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.attention import AttentionWeights, CoAttention, TransformerLayer
from twelvefold.model.trunk import ImageEmbeddings, TextEmbeddings, Trunk


class CoAttentionBlock(nn.Module):
    """Co-attention, then one image layer and one text layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.co_attention = CoAttention(config)
        self.image_layer = _image_layer(config)
        self.text_layer = _text_layer(config)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        text_mask: Tensor,
        image_mask: Tensor,
        num_rows: int | None = None,
        weights: list[AttentionWeights] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """text (P, L', W_t), image (P, R, W_i) -> both, or only the first ``num_rows`` rows of each.

        ``weights``: a list to which the attention weights are appended.
        """
        text, image = self.co_attention(text, image, text_mask, image_mask, weights)
        return self.text_layer(text, text_mask, num_rows), self.image_layer(image, image_mask, num_rows)

    def forward_image(self, text: Tensor, image: Tensor, text_mask: Tensor, image_mask: Tensor) -> Tensor:
        """Return the image stream of :meth:`forward` only."""
        states: Tensor = self.image_layer(self.co_attention.forward_image(text, image, text_mask), image_mask)
        return states


class TwoStreamTrunk(Trunk):
    """ViLBERT: a text stream and an image stream that exchange information in co-attention layers."""

    def __init__(self, config: ModelConfig, num_task_tokens: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__(config, num_task_tokens, word_pieces)
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
        self.text_pooler = nn.Linear(config.text_hidden_size, config.bi_hidden_size)
        self.image_pooler = nn.Linear(config.image_hidden_size, config.bi_hidden_size)

    def encode_text(self, token_ids: Tensor, token_mask: Tensor, task_index: int) -> tuple[Tensor, Tensor]:
        """Return the text stream before co-attention: states (P, L', W_t) and mask (P, L')."""
        text, mask = self.text_embeddings(token_ids, token_mask, task_index)
        for layer in self.text_layers:
            text = layer(text, mask)
        return text, mask

    def encode_image(self, features: Tensor, locations: Tensor, region_mask: Tensor) -> Tensor:
        """Return the image stream before co-attention: (P, R, W_i)."""
        image: Tensor = self.image_embeddings(features, locations)
        for layer in self.image_layers:
            image = layer(image, region_mask)
        return image

    def forward(self, batch: Batch, task_index: int, weights: list[AttentionWeights] | None = None) -> TrunkOutput:
        text, text_mask, image = self.encode(batch, task_index)
        for block in self.blocks:
            text, image = block(text, image, text_mask, batch.region_mask, weights=weights)
        return self.pool(self.text_norm(text), self.image_norm(image))

    def cross_encode(self, text: Tensor, text_mask: Tensor, image: Tensor, image_mask: Tensor) -> Tensor:
        """Return the fused vectors (P, H); the last block's text and image layers compute only the pooled rows."""
        *blocks, last = self.blocks
        for block in blocks:
            text, image = block(text, image, text_mask, image_mask)
        text, image = last(text, image, text_mask, image_mask, num_rows=1)
        return self.pool(self.text_norm(text), self.image_norm(image)).fused

    def region_states(self, batch: Batch, task_index: int) -> Tensor:
        """Return the final states of the regions, (P, R, W_i), without the text half of the last block."""
        text, text_mask, image = self.encode(batch, task_index)
        *blocks, last = self.blocks
        for block in blocks:
            text, image = block(text, image, text_mask, batch.region_mask)
        image = cast(CoAttentionBlock, last).forward_image(text, image, text_mask, batch.region_mask)
        states: Tensor = self.image_norm(image)
        return states


def _text_layer(config: ModelConfig) -> TransformerLayer:
    return TransformerLayer(config, config.text_hidden_size, config.text_attention_heads, config.text_ffn_dim)


def _image_layer(config: ModelConfig) -> TransformerLayer:
    return TransformerLayer(config, config.image_hidden_size, config.image_attention_heads, config.image_ffn_dim)
