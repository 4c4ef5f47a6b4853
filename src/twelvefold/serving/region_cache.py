"""The detector's side of serving: each picture is looked at once and its regions kept for the next question.

Paper: section 3.1, "the set of image regions {v_1, ..., v_T}".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from twelvefold.detectors.interface import NO_BOXES, RegionDetector
from twelvefold.schema import Box, Regions
from twelvefold.serving.images import Picture
from twelvefold.serving.request import key
from twelvefold.store.regions_in_memory import as_stored

KEPT_BYTES = 256 * 2**20
"""Most memory that kept regions take: 12,000 pictures of the package's detector, 180 of the paper's (measured)."""


class Sight:
    """A detector that remembers what it saw, by the digest of the picture; several threads may share it."""

    def __init__(self, detector: RegionDetector, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.detector = detector
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Regions] = OrderedDict()
        self._lock = Lock()

    def see(self, pictures: Sequence[Picture]) -> list[Regions]:
        """Each picture's regions, best first, features in half precision, in the order of the pictures."""
        known = {p.digest: kept for p in pictures if (kept := self._find(p.digest)) is not None}
        new = {p.digest: p for p in pictures if p.digest not in known}
        for batch in self._batches(list(new.values())):
            found = self.detector.detect_with([picture.rgb for picture in batch], [NO_BOXES] * len(batch))
            for picture, (regions, _) in zip(batch, found, strict=True):
                known[picture.digest] = self._keep(picture, regions)
        return [known[picture.digest] for picture in pictures]

    def look_at(self, asked: Mapping[str, tuple[Picture, Sequence[Box]]]) -> dict[str, Regions]:
        """The regions at given boxes, by the picture's digest; what is detected on the way is kept too."""
        pictures = {digest: picture for digest, (picture, _) in asked.items()}
        answers: dict[str, Regions] = {}
        for batch in self._batches(list(pictures.values())):
            boxes = [np.array(asked[picture.digest][1], dtype=np.float32) for picture in batch]
            found = self.detector.detect_with([picture.rgb for picture in batch], boxes)
            for picture, (detected, given) in zip(batch, found, strict=True):
                self._keep(picture, detected)
                answers[picture.digest] = as_stored(key(picture), given, self.detector.feature_size)
        return answers

    def _batches(self, pictures: Sequence[Picture]) -> list[list[Picture]]:
        """Pictures that share a working size, a pass of the detector at a time."""
        by_size: dict[tuple[int, int], list[Picture]] = {}
        for picture in pictures:
            by_size.setdefault(self.detector.working_size(picture.width, picture.height), []).append(picture)
        size = self.detector.batch
        return [alike[i : i + size] for alike in by_size.values() for i in range(0, len(alike), size)]

    def _find(self, digest: str) -> Regions | None:
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def _keep(self, picture: Picture, regions: Regions) -> Regions:
        """Remember, and forget what was longest unused where it grows too much."""
        stored = as_stored(key(picture), regions, self.detector.feature_size)
        with self._lock:
            if picture.digest in self._kept:  # two threads looked at once: the first one's stays, so answers agree
                return self._kept[picture.digest]
            self._kept[picture.digest] = stored
            self._bytes += _size(stored)
            while self._bytes > self._kept_bytes and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return stored


def _size(regions: Regions) -> int:
    probabilities = 0 if regions.class_probs is None else regions.class_probs.nbytes
    return regions.features.nbytes + regions.boxes_px.nbytes + probabilities
