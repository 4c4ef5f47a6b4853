"""The rows of a picture that the trunk reads: IMG, detected regions, given candidates.

Paper: section 3.1 (IMG and the regions), 3.2 (candidates of Visual7W and GuessWhat).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Pair, Regions, TwelvefoldError
from twelvefold.store.region_store import RegionStore


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One picture's rows, unpadded: row 0 is IMG, then ``detected`` regions, then ``given`` candidates.

    features: the parts (1, D), (detected, D), (given, D), still as stored. boxes_px: (1 + detected + given, 4)
    float32. width, height: pixels.
    """

    features: tuple[NDArray[Any], ...]
    boxes_px: NDArray[np.float32]
    width: int
    height: int
    detected: int
    given: int

    def __len__(self) -> int:
        return 1 + self.detected + self.given


class Store(Protocol):
    """What is asked of a store of regions, on disk (``RegionStore``) or in memory (``RegionsInMemory``)."""

    folder: Path
    feature_size: int
    digest: str
    info: dict[str, Any]

    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool: ...
    def __getitem__(self, key: ImageKey) -> Regions: ...
    def mean(self, key: ImageKey) -> NDArray[np.float32]: ...


class RegionSource:
    """Where a batch's regions come from: what was detected, and features of the boxes that tasks give."""

    def __init__(self, detected: Store, given: Store | None = None) -> None:
        """``given``: the store of candidate boxes, made by the same detector; None where no task gives boxes.

        Raises:
            TwelvefoldError: the two stores differ in the width of their features.
        """
        if given is not None and len(given) and given.feature_size != detected.feature_size:
            raise TwelvefoldError(
                f"features of given boxes are {given.feature_size} numbers wide ({given.folder}), detected ones "
                f"{detected.feature_size} ({detected.folder}): extract both with one detector"
            )
        self.detected = detected
        self.given = given
        self.feature_size = detected.feature_size

    @classmethod
    def open(cls, folder: Path) -> RegionSource:
        """The two stores that ``extract`` leaves in a folder: ``detected``, and ``given`` where tasks give boxes."""
        given = folder / "given"
        return cls(RegionStore.open(folder / "detected"), RegionStore.open(given) if given.exists() else None)

    def rows(self, pair: Pair, max_regions: int) -> Rows:
        """IMG (mean feature, whole picture), at most ``max_regions - 1`` detected regions, every candidate.

        Raises:
            TwelvefoldError: a picture or a candidate has no features.
        """
        seen = self.detected[pair.image]
        count = min(len(seen.boxes_px), max(max_regions - 1, 0))
        whole = np.array([[0, 0, seen.width, seen.height]], dtype=np.float32)
        mean = self.detected.mean(pair.image)[None]
        if not pair.candidates_px:
            boxes = np.concatenate([whole, seen.boxes_px[:count]])
            return Rows((mean, seen.features[:count]), boxes, seen.width, seen.height, count, 0)
        candidates = np.array(pair.candidates_px, dtype=np.float32)
        features = self._given(pair.image, candidates)
        boxes = np.concatenate([whole, seen.boxes_px[:count], candidates])
        parts = (mean, seen.features[:count], features)
        return Rows(parts, boxes, seen.width, seen.height, count, len(candidates))

    def _given(self, image: ImageKey, candidates: NDArray[np.float32]) -> NDArray[Any]:
        """(C, D): the features of the boxes, found by their exact float32 corners."""
        if self.given is None or image not in self.given:
            where = "no store of given boxes" if self.given is None else f"no entry in {self.given.folder}"
            raise TwelvefoldError(f"picture {image}: candidate boxes need features, but there is {where}; {_ADVICE}")
        known = self.given[image]
        equal = (candidates[:, None, :] == known.boxes_px[None, :, :]).all(axis=2)
        if not (found := equal.any(axis=1)).all():
            box = candidates[int(np.argmin(found))].tolist()
            raise TwelvefoldError(f"picture {image}: candidate box {box} has no features; {_ADVICE}")
        features: NDArray[Any] = known.features[equal.argmax(axis=1)]
        return features


_ADVICE = "run `twelvefold extract` again over the same data, so that every task's boxes are looked at"
