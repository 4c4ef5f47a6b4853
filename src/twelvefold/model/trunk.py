"""The base class of all trunks, and the embeddings of words and regions that they share.

Paper: section 3.1 (embeddings), 3.2 (task token).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model.attention import AttentionWeights
from twelvefold.model.linear import Linear
from twelvefold.model.packing import PackedStates, Packing
from twelvefold.schema import TwelvefoldError


class TextEmbeddings(nn.Module):
    """Word, position and segment embeddings, with the task token inserted between [CLS] and the first word.

    The task token has no position embedding. ``word_pieces``: ids of the word pieces that have an embedding of their
    own; all others share that of the first ([UNK]), so that a model trained from scratch on a small vocabulary has no
    untrained embeddings. Empty: all have their own.
    """

    token_to_row: Tensor
    """(V,) int64: the row of ``words`` for each token id."""

    def __init__(self, config: ModelConfig, num_task_tokens: int, word_pieces: Sequence[int] = ()) -> None:
        super().__init__()
        pieces = torch.tensor(word_pieces or range(config.vocab_size), device="cpu")
        token_to_row = torch.zeros(config.vocab_size, dtype=torch.int64, device="cpu")
        token_to_row[pieces] = torch.arange(len(pieces), device="cpu")
        self.register_buffer("token_to_row", token_to_row, persistent=False)
        self.words = nn.Embedding(len(pieces), config.text_hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.text_hidden_size)
        self.segments = nn.Embedding(2, config.text_hidden_size)
        self.tasks = nn.Embedding(num_task_tokens, config.text_hidden_size) if num_task_tokens else None
        self.norm = nn.LayerNorm(config.text_hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, token_ids: Tensor, packing: Packing, task_index: int) -> PackedStates:
        """token_ids (P, L) -> states (N, W), with a row for the task token if the model has task tokens."""
        if packing.length > self.positions.num_embeddings:
            raise TwelvefoldError(
                f"a text of {packing.length} tokens, but the model has {self.positions.num_embeddings} positions; "
                "lower the task's max_tokens or raise the model's max_position_embeddings"
            )
        words = self.words(self.token_to_row[packing.pack(token_ids)])  # (N, W)
        x = words + (self.positions(packing.column) + self.segments.weight[0])
        if self.tasks is not None:
            x, packing = packing.insert_second_row(x, self.tasks.weight[task_index])
        return PackedStates(self.dropout(self.norm(x)), packing)


class ImageEmbeddings(nn.Module):
    """Linear projection of the region feature + linear projection of its location (x1, y1, x2, y2, area share)."""

    def __init__(self, config: ModelConfig, hidden_size: int) -> None:
        super().__init__()
        self.features = Linear(config.feature_size, hidden_size)
        self.locations = Linear(5, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Tensor, locations: Tensor) -> Tensor:
        """features (N, D), locations (N, 5) -> (N, W)."""
        if features.shape[-1] != self.features.in_features:
            raise TwelvefoldError(
                f"region features have {features.shape[-1]} numbers, but the model reads "
                f"{self.features.in_features}; use the region store that the model was trained with"
            )
        embedded: Tensor = self.dropout(self.norm(self.features(features) + self.locations(locations)))
        return embedded


class Trunk(nn.Module):
    """The network that all tasks share (theta_s): from words and regions to contextual states and
    pooled vectors.

    ``task_index`` is the row of the task-token embedding; a model without task tokens ignores it.
    """

    text_embeddings: TextEmbeddings
    image_embeddings: ImageEmbeddings
    text_pooler: nn.Linear
    image_pooler: nn.Linear
    region_hidden_size: int
    """W_i, the size of a region's final state."""
    fusion: Literal["product", "sum"]

    @abstractmethod
    def __init__(self, config: ModelConfig, num_task_tokens: int, word_pieces: Sequence[int] = ()) -> None:
        """``word_pieces``: see :class:`TextEmbeddings`."""
        super().__init__()

    @abstractmethod
    def forward(self, batch: Batch, task_index: int, weights: list[AttentionWeights] | None = None) -> TrunkOutput:
        """Return all final states and pooled vectors. ``weights``: a list to which each block appends its attention
        between words and regions."""

    @abstractmethod
    def encode_text(self, token_ids: Tensor, packing: Packing, task_index: int) -> PackedStates:
        """Return the text encoding that needs no image. ``token_ids`` (P, L), packed as ``packing`` says."""

    @abstractmethod
    def encode_image(self, features: Tensor, locations: Tensor, packing: Packing) -> PackedStates:
        """Return the image encoding that needs no text. ``features`` (N, D), ``locations`` (N, 5)."""

    @abstractmethod
    def cross_encode(self, text: PackedStates, image: PackedStates) -> Tensor:
        """Return the fused vectors (P, H) of texts and images from :meth:`encode_text` and :meth:`encode_image`."""

    @abstractmethod
    def region_states(self, batch: Batch, task_index: int) -> Tensor:
        """Return the final states of the regions, (P, R, W_i), with zeros as padding."""

    def fused(self, batch: Batch, task_index: int) -> Tensor:
        """Return only the fused vectors (P, H) of :meth:`forward`, which costs less."""
        return self.cross_encode(*self.encode(batch, task_index))

    def encode(self, batch: Batch, task_index: int) -> tuple[PackedStates, PackedStates]:
        """Return what :meth:`encode_text` and :meth:`encode_image` return."""
        text = self.encode_text(batch.token_ids, text_packing(batch), task_index)
        return text, self.encode_image(*packed_regions(batch))

    def output(self, text: PackedStates, image: PackedStates) -> TrunkOutput:
        """Return all final states, padded, and what :meth:`pool` computes of them."""
        cls, img, fused = self.pool(*(x.states.index_select(0, x.packing.first) for x in (text, image)))
        return TrunkOutput(text.packing.pad(text.states), image.packing.pad(image.states), cls, img, fused)

    def pool(self, cls: Tensor, img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pool the states of [CLS] (P, W_t) and IMG (P, W_i) by linear + ReLU, and fuse them: (P, H) each."""
        cls, img = F.relu(self.text_pooler(cls)), F.relu(self.image_pooler(img))
        return cls, img, cls * img if self.fusion == "product" else cls + img


def text_packing(batch: Batch) -> Packing:
    """Return how the texts of a batch are packed: with padding only if the batch has padded features."""
    if batch.features.ndim == 3:
        return Packing.with_padding(batch.token_mask)
    return Packing(batch.lengths[0], batch.features.device, batch.token_ids.shape[1])


def packed_regions(batch: Batch) -> tuple[Tensor, Tensor, Packing]:
    """Return the features (N, D) and locations (N, 5) of a batch, and how its images are packed."""
    if batch.features.ndim == 3:
        features, locations = (x.flatten(0, 1) for x in (batch.features, batch.locations))  # (P, R, .) -> (P * R, .)
        return features, locations, Packing.with_padding(batch.region_mask)
    packing = Packing(batch.lengths[1], batch.features.device, batch.region_mask.shape[1])
    num_spare = packing.num_rows - len(batch.features)
    features, locations = (F.pad(x, (0, 0, 0, num_spare)) for x in (batch.features, batch.locations))
    return features, locations, packing
