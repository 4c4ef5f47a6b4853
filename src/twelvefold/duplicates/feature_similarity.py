"""Pictures whose features lie close together: evidence for those who ask for it, when pictures are not at hand.

The mean of a detector's features says what things a picture shows, so two pictures of like things may be as close as
two copies of one: it is the least sure evidence and off by default. Paper: section 2.2 knew ids only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twelvefold.data.negatives import nearest
from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import SameImageLink
from twelvefold.store.region_store import RegionStore

CLOSENESS = 0.998
"""The least cosine of features that join pictures: in a world of 4,000 all 811 pairs above it are one photograph, and
of 852 pairs above 0.995 all but four. Most planted copies lie below it."""
NEIGHBOURS = 20
"""Pictures that each is compared with: its nearest."""


def close_features(store: RegionStore, known: Identity, closeness: float = CLOSENESS) -> Iterator[SameImageLink]:
    """Joins between pictures of the store whose mean features have a cosine of at least ``closeness``, and that
    ``known`` doesn't join already. Pictures without regions are passed over."""
    present = sorted(store.keys())
    means = np.array([store.mean(key) for key in present], dtype=np.float32).reshape(len(present), store.feature_size)
    lengths = np.linalg.norm(means, axis=1)
    present = [key for key, length in zip(present, lengths.tolist(), strict=True) if length]
    units = means[lengths > 0] / lengths[lengths > 0, None]
    others = nearest(units, NEIGHBOURS)  # of unit vectors the nearest have the largest cosine
    cosines = np.einsum("nd,nkd->nk", units, units[others]) if len(units) else np.zeros((0, 0))
    for row, place in zip(*np.nonzero(cosines >= closeness), strict=True):
        one, other = sorted((present[row], present[others[row, place]]))
        mutual = row in others[others[row, place]]
        if (present[row] == one or not mutual) and not known.same(one, other):
            yield SameImageLink(one, other, "features", f"their features have a cosine of {cosines[row, place]:.4f}")
