"""A trunk with one stream: words and regions in one BERT-style sequence, as in VisualBERT and UNITER.

Not in the paper. Words attend to regions from the first layer on. It has as many layers as the text stream of the
two-stream trunk (``num_text_layers`` + ``num_coattention_layers``), of the size that ``text_*`` says; the fields
``image_*``, ``bi_attention_heads`` and ``num_image_layers`` have no effect. Heads, poolers and fusion are the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.attention import AttentionWeights, TransformerLayer, attend_with_weights
from twelvefold.model.linear import Linear
from twelvefold.model.packing import AttentionPlan, PackedStates, Packing
from twelvefold.model.trunk import ImageEmbeddings, TextEmbeddings, Trunk


class SingleStreamTrunk(Trunk):
    """Transformer layers over [CLS], task token, words, [SEP], IMG, regions; segment 0 is text, segment 1 image."""

    def __init__(self, config: ModelConfig, num_task_tokens: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__(config, num_task_tokens, word_pieces)
        hidden_size = self.region_hidden_size = config.text_hidden_size
        self.fusion = config.fusion
        self.text_embeddings = TextEmbeddings(config, num_task_tokens, word_pieces)
        self.image_embeddings = ImageEmbeddings(config, hidden_size)
        self.layers = nn.ModuleList(
            TransformerLayer(config, hidden_size, config.text_attention_heads, config.text_ffn_dim)
            for _ in range(config.num_text_layers + config.num_coattention_layers)
        )
        self.norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps) if config.norm == "pre" else nn.Identity()
        self.text_pooler = Linear(hidden_size, config.bi_hidden_size)
        self.image_pooler = Linear(hidden_size, config.bi_hidden_size)

    def encode_text(self, token_ids: Tensor, packing: Packing, task_index: int) -> PackedStates:
        """Return the embeddings of texts; every layer needs the image too."""
        states: PackedStates = self.text_embeddings(token_ids, packing, task_index)
        return states

    def encode_image(self, features: Tensor, locations: Tensor, packing: Packing) -> PackedStates:
        """Return the embeddings of regions; every layer needs the text too."""
        image: Tensor = self.image_embeddings(features, locations) + self.text_embeddings.segments.weight[1]
        return PackedStates(image, packing)

    def cross_encode(self, text: PackedStates, image: PackedStates) -> Tensor:
        """Return the fused vectors (P, H)."""
        text, image = self._run_layers(text, image)
        return self.pool(*(x.states.index_select(0, x.packing.first) for x in (text, image)))[2]

    def forward(self, batch: Batch, task_index: int, weights: list[AttentionWeights] | None = None) -> TrunkOutput:
        """Return all final states and pooled vectors.

        ``weights`` gets, layer by layer, the attention of words to regions and of regions to words, each row divided by
        its sum: the attention that stays within a modality is left out.
        """
        return self.output(*self._run_layers(*self.encode(batch, task_index), weights))

    def region_states(self, batch: Batch, task_index: int) -> Tensor:
        """Return the final states of the regions, (P, R, W)."""
        states: Tensor = self(batch, task_index).regions
        return states

    def _run_layers(
        self, text: PackedStates, image: PackedStates, weights: list[AttentionWeights] | None = None
    ) -> tuple[PackedStates, PackedStates]:
        """Return the final states of both."""
        packing, *positions = text.packing.join(image.packing)
        both = text.states[: text.packing.num_real], image.states[: image.packing.num_real]
        x = text.states.new_zeros(packing.num_rows, text.states.shape[1])
        x = x.index_copy(0, torch.cat(positions), torch.cat(both))  # (N + N', W)
        plan = packing.plan(self.region_hidden_size)
        for layer in self.layers:
            if weights is not None:
                weights.append(_attention_weights(cast(TransformerLayer, layer), x, plan, text.packing.length))
            x = layer(x, plan)
        x = self.norm(x)
        words, regions = (x.index_select(0, rows) for rows in positions)
        return PackedStates(words, text.packing), PackedStates(regions, image.packing)


def _attention_weights(layer: TransformerLayer, x: Tensor, plan: AttentionPlan, num_words: int) -> AttentionWeights:
    """Return a layer's attention between the modalities for its input ``x``, (P, L' + R) rows with padding."""
    query, key_value = layer.qkv(layer.residual.norm_input(x)).split([x.shape[1], 2 * x.shape[1]], dim=-1)
    _, weights = attend_with_weights(query, key_value, plan, layer.num_heads)  # (P, A, L' + R, L' + R)
    to_regions = weights[:, :, :num_words, num_words:]  # (P, A, L', R)
    to_words = weights[:, :, num_words:, :num_words]  # (P, A, R, L')
    return AttentionWeights(*(w / w.sum(dim=-1, keepdim=True).clamp(min=1e-12) for w in (to_regions, to_words)))
