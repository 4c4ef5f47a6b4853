"""Link images whose features are almost equal: optional evidence for when image files are not available.

The mean of a detector's features describes which objects an image shows, so two images of similar objects may be as
close as two copies. It is the least certain evidence, and off by default. Paper: section 2.2; the
original project compares ids only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twelvefold.data.negatives import nearest
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import SameImageLink
from twelvefold.store.region_store import RegionStore

MIN_COSINE = 0.998
"""Least cosine similarity of linked images. In a world of 4,000 images all 811 pairs above it are the same image, and
of 852 pairs above 0.995 all but four. Most planted copies lie below it."""
NUM_NEIGHBORS = 20
"""Each image is compared with so many of its nearest neighbors."""


def feature_links(store: RegionStore, known: ImageGroups, min_cosine: float = MIN_COSINE) -> Iterator[SameImageLink]:
    """Yield links between images of the store whose mean features have a cosine similarity of at least ``min_cosine``,
    unless ``known`` has them in one group already. Images without regions are skipped."""
    keys = sorted(store.keys())
    means = np.array([store.mean(key) for key in keys], dtype=np.float32).reshape(len(keys), store.feature_size)
    lengths = np.linalg.norm(means, axis=1)
    keys = [key for key, length in zip(keys, lengths.tolist(), strict=True) if length]
    units = means[lengths > 0] / lengths[lengths > 0, None]
    neighbors = nearest(units, NUM_NEIGHBORS)  # the nearest unit vectors have the largest cosine
    cosines = np.einsum("nd,nkd->nk", units, units[neighbors]) if len(units) else np.zeros((0, 0))
    for row, column in zip(*np.nonzero(cosines >= min_cosine), strict=True):
        first, second = sorted((keys[row], keys[neighbors[row, column]]))
        is_mutual = row in neighbors[neighbors[row, column]]
        if (keys[row] == first or not is_mutual) and not known.is_same(first, second):
            reason = f"their features have a cosine similarity of {cosines[row, column]:.4f}"
            yield SameImageLink(first, second, "features", reason)
