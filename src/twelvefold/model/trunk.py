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

    def forward(self, token_ids: Tensor, token_mask: Tensor, task_index: int) -> tuple[Tensor, Tensor]:
        """token_ids, token_mask (P, L) -> (P, L', W), (P, L'), where L' = L + 1 if the model has task tokens."""
        length = token_ids.shape[1]
        if length > self.positions.num_embeddings:
            raise TwelvefoldError(
                f"a text of {length} tokens, but the model has {self.positions.num_embeddings} positions; "
                "lower the task's max_tokens or raise the model's max_position_embeddings"
            )
        x = self.words(self.token_to_row[token_ids]) + (self.positions.weight[:length] + self.segments.weight[0])
        if self.tasks is not None:
            # x.shape[0], not len(x): len would be a constant in an exported graph.
            task_token = self.tasks.weight[task_index].expand(x.shape[0], 1, -1)  # (W,) -> (P, 1, W)
            x = torch.cat([x[:, :1], task_token, x[:, 1:]], dim=1)  # (P, L + 1, W)
            token_mask = F.pad(token_mask, (1, 0), value=True)  # (P, L + 1)
        return self.dropout(self.norm(x)), token_mask


class ImageEmbeddings(nn.Module):
    """Linear projection of the region feature + linear projection of its location (x1, y1, x2, y2, area share)."""

    def __init__(self, config: ModelConfig, hidden_size: int) -> None:
        super().__init__()
        self.features = nn.Linear(config.feature_size, hidden_size)
        self.locations = nn.Linear(5, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Tensor, locations: Tensor) -> Tensor:
        """features (P, R, D), locations (P, R, 5) -> (P, R, W)."""
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
    def encode_text(self, token_ids: Tensor, token_mask: Tensor, task_index: int) -> tuple[Tensor, Tensor]:
        """Return the text encoding that needs no image: states (P, L', W_t) and mask (P, L')."""

    @abstractmethod
    def encode_image(self, features: Tensor, locations: Tensor, region_mask: Tensor) -> Tensor:
        """Return the image encoding that needs no text: states (P, R, W_i)."""

    @abstractmethod
    def cross_encode(self, text: Tensor, text_mask: Tensor, image: Tensor, image_mask: Tensor) -> Tensor:
        """Return the fused vectors (P, H) of texts and images from :meth:`encode_text` and :meth:`encode_image`."""

    @abstractmethod
    def region_states(self, batch: Batch, task_index: int) -> Tensor:
        """Return the final states of the regions, (P, R, W_i)."""

    def fused(self, batch: Batch, task_index: int) -> Tensor:
        """Return only the fused vectors (P, H) of :meth:`forward`, which costs less."""
        return self.cross_encode(*self.encode(batch, task_index), batch.region_mask)

    def encode(self, batch: Batch, task_index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :meth:`encode_text` and :meth:`encode_image` return: text states, text mask, image states."""
        text, text_mask = self.encode_text(batch.token_ids, batch.token_mask, task_index)
        return text, text_mask, self.encode_image(batch.features, batch.locations, batch.region_mask)

    def pool(self, text: Tensor, image: Tensor) -> TrunkOutput:
        """Pool the first row of each modality (CLS and IMG) by linear + ReLU, and fuse the two pooled vectors."""
        cls, img = F.relu(self.text_pooler(text[:, 0])), F.relu(self.image_pooler(image[:, 0]))  # (P, H) each
        return TrunkOutput(text, image, cls, img, cls * img if self.fusion == "product" else cls + img)
