"""Captions that are searched in a pool of images: how retrieval is scored.

Paper: R@1 on "the 1K test set" (Tables 2 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.collate import image_only_batch
from twelvefold.data.task_batches import TaskBatches, evenly_spaced

CAPTION_BATCH_SIZE = 4
"""Captions scored together against a whole pool of images: 4 captions and 200 images are about a thousand rows."""


class RetrievalPool:
    """N captions of a table, and M images, each caption's own among them."""

    def __init__(self, data: TaskBatches, images: NDArray[np.int64], captions: NDArray[np.int64]) -> None:
        """``images`` (M,): indices into the table's distinct images. ``captions`` (N,): indices into the table."""
        keys, image_of_caption = data.table.first_images()
        column_of_image = np.full(len(keys), -1, dtype=np.int64)
        column_of_image[images] = np.arange(len(images))
        self.data = data
        self.images = [keys[image] for image in images]
        self.captions = captions
        self.true_images: NDArray[np.int64] = column_of_image[image_of_caption[captions]]
        """The column of each caption's own image, (N,)."""

    @classmethod
    def with_all_captions(cls, data: TaskBatches, num_images: int, num_captions: int) -> RetrievalPool:
        """Return the first ``num_images`` images and ``num_captions`` of their captions, evenly spaced; 0: all."""
        keys, image_of_caption = data.table.first_images()
        images = np.arange(len(keys))[: num_images or None]
        captions = np.flatnonzero(image_of_caption < len(images))
        return cls(data, images, captions[evenly_spaced(len(captions), num_captions)])

    @classmethod
    def with_first_captions(cls, data: TaskBatches, num_images: int) -> RetrievalPool:
        """Return ``num_images`` images, evenly spaced (0: all), and the first caption of each."""
        _, first_captions = np.unique(data.table.first_images()[1], return_index=True)
        images = evenly_spaced(len(first_captions), num_images)
        return cls(data, images, first_captions[images])

    @cached_property
    def image_batch(self) -> Batch:
        """The images without texts, one an example: (M, R, D) features."""
        return image_only_batch(self.images, self.data.source, self.data.task, self.data.head)

    def caption_batches(self, shard: int = 0, num_shards: int = 1) -> Iterator[Batch]:
        """Yield the captions of a shard, each with its own image; ``target`` (B,) is that image's column."""
        rows = np.array_split(np.arange(len(self.captions)), num_shards)[shard]
        for block in (rows[start : start + CAPTION_BATCH_SIZE] for start in range(0, len(rows), CAPTION_BATCH_SIZE)):
            batch = self.data.batch(self.captions[block].tolist())
            batch.target = torch.from_numpy(self.true_images[block])
            yield batch
