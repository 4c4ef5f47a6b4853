"""Regions that were never on disk, read by the same calls as a ``RegionStore``: what serving collates from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.region_checks import check_regions
from twelvefold.store.region_store import mean_feature

HALF = np.dtype(np.float16)


def as_stored(key: ImageKey, regions: Regions, feature_size: int) -> Regions:
    """Regions as a store on disk would give them back: checked, features in half precision.

    Raises:
        TwelvefoldError: a wrong shape, or a number that is not finite.
    """
    kinds = 0 if regions.class_probs is None else regions.class_probs.shape[1]
    return check_regions(key, regions, feature_size=feature_size, kinds=kinds, dtype=HALF)


class RegionsInMemory:
    """Pictures' regions by key. ``folder``: where a store on disk would lie, for messages. Nothing
    depends on such regions for long, so they have no digest."""

    folder = Path("memory")
    digest = ""

    def __init__(self, feature_size: int) -> None:
        self.feature_size = feature_size
        self.info: dict[str, Any] = {}
        self._regions: dict[ImageKey, Regions] = {}

    def add(self, key: ImageKey, regions: Regions) -> None:
        """Take a picture's regions, which :func:`as_stored` has checked."""
        self._regions[key] = regions

    def __len__(self) -> int:
        return len(self._regions)

    def __contains__(self, key: object) -> bool:
        return key in self._regions

    def __getitem__(self, key: ImageKey) -> Regions:
        if key not in self._regions:
            raise TwelvefoldError(f"no regions of picture {key} are at hand; look at the picture first")
        return self._regions[key]

    def mean(self, key: ImageKey) -> NDArray[np.float32]:
        """(D,) float32: the mean of all the picture's features; zeros where it has no regions."""
        mean: NDArray[Any] = mean_feature(self[key])[0]
        return mean
