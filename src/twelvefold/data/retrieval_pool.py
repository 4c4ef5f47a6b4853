"""Captions that are searched in a pool of images: how retrieval is scored.

Paper: R@1 on "the 1K test set" (Tables 2 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.collate import image_only_batch
from twelvefold.data.task_batches import TaskBatches, evenly_spaced

CAPTION_BATCH_SIZE = 4
"""Captions of a batch."""
IMAGE_BATCH_SIZE = 128
"""Images of a batch. A batch of captions and one of images make 512 pairs, however large the pool is: at the published
size and with 101 regions, their states take 0.2 GB, and all buffers of a layer about 2 GB."""


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

    @property
    def num_pairs(self) -> int:
        """Number of pairs of a caption and an image."""
        return len(self.captions) * len(self.images)

    @cached_property
    def image_batches(self) -> Sequence[Batch]:
        """The images without texts, one an example, in batches with (m, R, D) features: those of a whole pool of 1,000
        images with 101 regions of 2,048 numbers take 0.8 GB."""
        return list(self.iter_image_batches())

    def iter_image_batches(self) -> Iterator[Batch]:
        """Yield ``image_batches`` without keeping them."""
        return (self.image_batch(start, IMAGE_BATCH_SIZE) for start in range(0, len(self.images), IMAGE_BATCH_SIZE))

    def image_batch(self, start: int, size: int) -> Batch:
        """Return at most ``size`` images from column ``start`` on."""
        images = self.images[start : start + size]
        return image_only_batch(images, self.data.source, self.data.task, self.data.head)

    def caption_batches(self, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[Batch]:
        """Yield the captions of these rows (0 to N - 1), each with its own image; ``target`` (B,) is that image's
        column."""
        for start in range(0, len(rows), CAPTION_BATCH_SIZE):
            block = np.asarray(rows[start : start + CAPTION_BATCH_SIZE])
            batch = self.data.batch(self.captions[block].tolist())
            batch.target = torch.from_numpy(self.true_images[block])
            yield batch
