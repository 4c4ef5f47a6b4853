"""Regions that are kept in memory, with the interface of a ``RegionStore``: serving collates batches from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.region_checks import check_regions
from twelvefold.store.region_store import mean_feature


def as_stored(key: ImageKey, regions: Regions, feature_size: int) -> Regions:
    """Return regions as a store on disk would return them: checked, with float16 features.

    Raises:
        TwelvefoldError: a shape is wrong, or a number is not finite.
    """
    num_categories = 0 if regions.class_probs is None else regions.class_probs.shape[1]
    half = np.dtype(np.float16)
    return check_regions(key, regions, feature_size=feature_size, num_categories=num_categories, dtype=half)


class RegionsInMemory:
    """Regions by image key. ``folder`` is used in messages only; ``digest`` is empty, as nothing is cached by it."""

    folder = Path("memory")
    digest = ""

    def __init__(self, feature_size: int) -> None:
        self.feature_size = feature_size
        self.info: dict[str, Any] = {}
        self._regions: dict[ImageKey, Regions] = {}

    def add(self, key: ImageKey, regions: Regions) -> None:
        """Add an image's regions, as returned by :func:`as_stored`."""
        self._regions[key] = regions

    def __len__(self) -> int:
        return len(self._regions)

    def __contains__(self, key: object) -> bool:
        return key in self._regions

    def __getitem__(self, key: ImageKey) -> Regions:
        if key not in self._regions:
            raise TwelvefoldError(f"the regions of image {key} are not in memory; run the detector on the image first")
        return self._regions[key]

    def mean(self, key: ImageKey) -> NDArray[np.float32]:
        """Return (D,) float32: the mean of all the image's features; zeros if it has no regions."""
        mean: NDArray[Any] = mean_feature(self[key])[0]
        return mean
