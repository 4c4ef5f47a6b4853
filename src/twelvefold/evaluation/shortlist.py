"""Score a pool of images by shortlists: the twin encoder chooses pairs, the cross-encoder scores them.

Image retrieval compares each caption with K images, text retrieval each image with K captions. What is not on the list
counts as worse than all that is: a caption whose own image is not on its list is a miss. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.data.collate import image_only_batch
from twelvefold.data.retrieval_pool import IMAGE_BATCH_SIZE, RetrievalPool
from twelvefold.model import Model
from twelvefold.model.twin_encoder import TwinEncoder

CAPTION_BATCH_SIZE = 128
"""Captions that are embedded at once."""


class ShortlistScores(NamedTuple):
    """Scores (n, M) of some captions with all images of a pool, minus infinity for pairs that are on no list.

    images: of the pairs on the captions' lists. texts: of those on the images' lists. num_pairs: that were scored.
    """

    images: Tensor
    texts: Tensor
    num_pairs: int


class PoolShortlists:
    """The shortlists of a pool: ``size`` images of each caption, and ``size`` captions of each image that has any."""

    def __init__(self, pool: RetrievalPool, model: Model, twin: TwinEncoder, size: int, device: torch.device) -> None:
        self.pool, self.model, self.twin, self.size, self.device = pool, model, twin, size, device
        captions = embed_captions(pool, model, twin, device)
        images = embed_images(pool, model, twin, device)
        self.images_of_caption = _top(captions, images, size)  # (N, K)
        with_captions = torch.from_numpy(np.unique(pool.true_images))  # (Q,)
        captions_of_image = _top(images[with_captions], captions, size)  # (Q, K)
        order = captions_of_image.flatten().argsort(stable=True)
        self._text_captions = captions_of_image.flatten()[order]
        self._text_images = with_captions[order // captions_of_image.shape[1]]

    def score(self, rows: range) -> ShortlistScores:
        """Score the listed pairs of these captions."""
        count = len(self.pool.images)
        on_images, on_texts = (torch.zeros(len(rows), count, dtype=torch.bool) for _ in range(2))
        on_images.scatter_(1, self.images_of_caption[rows.start : rows.stop], True)
        first, last = torch.searchsorted(self._text_captions, torch.tensor([rows.start, rows.stop])).tolist()
        on_texts[self._text_captions[first:last] - rows.start, self._text_images[first:last]] = True
        listed = on_images | on_texts
        scores = torch.full(listed.shape, float("-inf"))
        scores[listed] = self._score_pairs(rows, listed)
        nothing = torch.tensor(float("-inf"))
        return ShortlistScores(
            torch.where(on_images, scores, nothing), torch.where(on_texts, scores, nothing), int(listed.sum())
        )

    def _score_pairs(self, rows: range, listed: Tensor) -> Tensor:
        """Return the scores of the pairs where ``listed`` (n, M) is true, row by row."""
        captions = self.pool.data.batch(self.pool.captions[rows.start : rows.stop].tolist()).to(self.device)
        columns = listed.any(dim=0).nonzero()[:, 0]
        scores = torch.zeros(listed.shape)
        for block in torch.split(columns, IMAGE_BATCH_SIZE):
            pairs = listed[:, block].nonzero().numpy()
            keys = [self.pool.images[column] for column in block.tolist()]
            images = image_only_batch(keys, self.pool.data.source, self.pool.data.task, self.pool.data.head)
            aligned = self.model.alignments(captions, images.to(self.device), pairs=pairs)
            scores[pairs[:, 0], block[pairs[:, 1]]] = aligned.float().cpu()
        return scores[listed]


def embed_captions(pool: RetrievalPool, model: Model, twin: TwinEncoder, device: torch.device) -> Tensor:
    """Return the twin encoder's vectors of all captions of a pool, (N, E) float32 on the CPU."""
    blocks = np.array_split(pool.captions, max(1, -(-len(pool.captions) // CAPTION_BATCH_SIZE)))
    batches = (pool.data.batch(block.tolist()).to(device) for block in blocks)
    return torch.cat([twin.text(model.encode_texts(batch)).cpu() for batch in batches])


def embed_images(pool: RetrievalPool, model: Model, twin: TwinEncoder, device: torch.device) -> Tensor:
    """Return the twin encoder's vectors of all images of a pool, (M, E) float32 on the CPU."""
    vectors: Iterator[Tensor] = (
        twin.image(model.encode_images(batch.to(device))) for batch in pool.iter_image_batches()
    )
    return torch.cat([each.cpu() for each in vectors])


def _top(queries: Tensor, vectors: Tensor, size: int) -> Tensor:
    """Return the rows of ``vectors`` with the greatest inner products with each query, (queries, K) int64."""
    k = min(size, len(vectors))
    return torch.cat([(block @ vectors.T).topk(k, dim=1).indices for block in torch.split(queries, 1024)])
