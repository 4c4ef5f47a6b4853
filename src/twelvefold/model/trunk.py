"""The trunk that all tasks share: two BERT-style streams joined by co-attention. Paper: section 3.1, 3.2 (task token).

Read it from top to bottom: words and regions are embedded, each stream reads its own side, then blocks of
co-attention, one image layer and one text layer; the first row of each stream (CLS, IMG) is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.attention import CoAttention, Layer, Look
from twelvefold.schema import TwelvefoldError


class TextEmbeddings(nn.Module):
    """Word + position + segment; the task's row between [CLS] and the first word, with no position of its own.

    ``word_pieces``: the pieces that have a row of their own, the first of them standing for all others too; a
    model that learns a small language from scratch then carries no rows that nothing trains. Empty: all have.
    """

    row_of: Tensor

    def __init__(self, config: ModelConfig, task_rows: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__()
        pieces = torch.tensor(word_pieces or range(config.vocabulary_size), device="cpu")
        row_of = torch.zeros(config.vocabulary_size, dtype=torch.int64, device="cpu")
        row_of[pieces] = torch.arange(len(pieces), device="cpu")
        self.register_buffer("row_of", row_of, persistent=False)
        self.words = nn.Embedding(len(pieces), config.text_width)
        self.positions = nn.Embedding(config.max_positions, config.text_width)
        self.segments = nn.Embedding(2, config.text_width)
        self.tasks = nn.Embedding(task_rows, config.text_width) if task_rows else None
        self.norm = nn.LayerNorm(config.text_width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, token_ids: Tensor, token_mask: Tensor, task_row: int) -> tuple[Tensor, Tensor]:
        """token_ids, token_mask (P, L) -> (P, L', W), (P, L') with L' = L + 1 where there are task tokens."""
        length = token_ids.shape[1]
        if length > self.positions.num_embeddings:
            raise TwelvefoldError(
                f"a text of {length} tokens, but the model has {self.positions.num_embeddings} positions; "
                "lower the task's max_tokens or raise the model's max_positions"
            )
        x = self.words(self.row_of[token_ids]) + (self.positions.weight[:length] + self.segments.weight[0])
        if self.tasks is not None:
            # Not len(x), which would be a constant in an exported graph.
            row = self.tasks.weight[task_row].expand(x.shape[0], 1, -1)
            x = torch.cat([x[:, :1], row, x[:, 1:]], dim=1)
            token_mask = F.pad(token_mask, (1, 0), value=True)
        return self.dropout(self.norm(x)), token_mask


class ImageEmbeddings(nn.Module):
    """Region feature + its place (x1, y1, x2, y2, area share), each through a linear layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.features = nn.Linear(config.feature_size, config.image_width)
        self.locations = nn.Linear(5, config.image_width)
        self.norm = nn.LayerNorm(config.image_width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Tensor, locations: Tensor) -> Tensor:
        """features (P, R, D), locations (P, R, 5) -> (P, R, W)."""
        if features.shape[-1] != self.features.in_features:
            raise TwelvefoldError(
                f"regions have features of {features.shape[-1]} numbers, but the model reads "
                f"{self.features.in_features}; use the region store that it was trained with"
            )
        embedded: Tensor = self.dropout(self.norm(self.features(features) + self.locations(locations)))
        return embedded


class Block(nn.Module):
    """Co-attention, then one image layer and one text layer. The last block may leave out what nobody reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.co_attention = CoAttention(config)
        self.image_layer = Layer(config, config.image_width, config.image_heads, config.image_inner)
        self.text_layer = Layer(config, config.text_width, config.text_heads, config.text_inner)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        text_mask: Tensor,
        image_mask: Tensor,
        first: int | None = None,
        looks: list[Look] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Both streams, whole, or only the ``first`` rows of each. ``looks`` gets where each looked at the other."""
        text, image = self.co_attention(text, image, text_mask, image_mask, looks)
        return self.text_layer(text, text_mask, first), self.image_layer(image, image_mask, first)

    def image_only(self, text: Tensor, image: Tensor, text_mask: Tensor, image_mask: Tensor) -> Tensor:
        """The image stream alone."""
        image = self.co_attention.into_image(text, image, text_mask)
        states: Tensor = self.image_layer(image, image_mask)
        return states


class Trunk(nn.Module):
    """Words and regions in, contextual states and pooled vectors out; shared by all tasks (theta_s)."""

    def __init__(self, config: ModelConfig, task_rows: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__()
        self.text_embeddings = TextEmbeddings(config, task_rows, word_pieces)
        self.image_embeddings = ImageEmbeddings(config)
        self.text_layers = nn.ModuleList(
            Layer(config, config.text_width, config.text_heads, config.text_inner) for _ in range(config.text_layers)
        )
        self.image_layers = nn.ModuleList(
            Layer(config, config.image_width, config.image_heads, config.image_inner)
            for _ in range(config.image_layers)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        pre = config.norm == "pre"
        self.text_norm = nn.LayerNorm(config.text_width, eps=config.norm_eps) if pre else nn.Identity()
        self.image_norm = nn.LayerNorm(config.image_width, eps=config.norm_eps) if pre else nn.Identity()
        self.fusion = config.fusion
        self.text_pooler = nn.Linear(config.text_width, config.joint_width)
        self.image_pooler = nn.Linear(config.image_width, config.joint_width)

    def read_text(self, token_ids: Tensor, token_mask: Tensor, task_row: int) -> tuple[Tensor, Tensor]:
        """The text stream before it has seen any picture: (P, L', W_t) and its mask."""
        text, mask = self.text_embeddings(token_ids, token_mask, task_row)
        for layer in self.text_layers:
            text = layer(text, mask)
        return text, mask

    def read_image(self, features: Tensor, locations: Tensor, region_mask: Tensor) -> Tensor:
        """The image stream before it has seen any text: (P, R, W_i)."""
        image: Tensor = self.image_embeddings(features, locations)
        for layer in self.image_layers:
            image = layer(image, region_mask)
        return image

    def forward(self, batch: Batch, task_row: int, looks: list[Look] | None = None) -> TrunkOutput:
        """Everything: the final states of both streams, whole, and both pooled vectors. ``looks`` gets where the
        streams looked at each other, a block at a time."""
        text, text_mask, image = self._read(batch, task_row)
        for block in self.blocks:
            text, image = block(text, image, text_mask, batch.region_mask, looks=looks)
        return self._pool(self.text_norm(text), self.image_norm(image))

    def fused(self, batch: Batch, task_row: int) -> Tensor:
        """(P, H): what :meth:`forward` fuses, the last layers computing only the rows that are pooled."""
        text, text_mask, image = self._read(batch, task_row)
        return self.join(text, text_mask, image, batch.region_mask)

    def join(self, text: Tensor, text_mask: Tensor, image: Tensor, image_mask: Tensor) -> Tensor:
        """(P, H): the fused vector of texts and images that were read alone, pair by pair."""
        *before, last = self.blocks
        for block in before:
            text, image = block(text, image, text_mask, image_mask)
        text, image = last(text, image, text_mask, image_mask, first=1)
        return self._pool(self.text_norm(text), self.image_norm(image)).fused

    def regions(self, batch: Batch, task_row: int) -> Tensor:
        """(P, R, W_i): the final states of the regions, the last block's text half left out."""
        text, text_mask, image = self._read(batch, task_row)
        *before, last = self.blocks
        for block in before:
            text, image = block(text, image, text_mask, batch.region_mask)
        last = cast(Block, last)
        states: Tensor = self.image_norm(last.image_only(text, image, text_mask, batch.region_mask))
        return states

    def _read(self, batch: Batch, task_row: int) -> tuple[Tensor, Tensor, Tensor]:
        text, text_mask = self.read_text(batch.token_ids, batch.token_mask, task_row)
        return text, text_mask, self.read_image(batch.features, batch.locations, batch.region_mask)

    def _pool(self, text: Tensor, image: Tensor) -> TrunkOutput:
        """The streams, their first rows (CLS and IMG) each through a linear layer and ReLU, and those fused."""
        cls, img = F.relu(self.text_pooler(text[:, 0])), F.relu(self.image_pooler(image[:, 0]))
        return TrunkOutput(text, image, cls, img, cls * img if self.fusion == "product" else cls + img)
