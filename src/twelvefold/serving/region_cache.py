"""Run the detector once per image and keep its regions for the next request about the same image.

Paper: section 3.1, "image region features".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np

from twelvefold.boxes import NO_BOXES
from twelvefold.detectors.interface import RegionDetector
from twelvefold.images import InputImage
from twelvefold.schema import Box, ImageKey, Regions
from twelvefold.store.region_arrays import as_stored

MAX_BYTES = 256 * 2**20
"""Memory for cached regions: 12,000 images of the package's detector, or 180 of the paper's (measured)."""

IMAGE_SOURCE = "asked"
"""The source in the keys of input images. Saved indexes contain it, so it must not change."""


class RegionCache:
    """A detector with a cache of its regions, keyed by the digest of the image. Safe to share between threads."""

    def __init__(self, detector: RegionDetector, *, max_bytes: int = MAX_BYTES) -> None:
        self.detector = detector
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._cache: OrderedDict[str, Regions] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, digest: str) -> bool:
        """Return whether the regions of the image with that digest are cached, so that its pixels are not needed."""
        return self._get(digest) is not None

    def detect(self, images: Sequence[InputImage]) -> list[Regions]:
        """Return the regions of each image, best first, features in half precision."""
        regions_of = {image.digest: cached for image in images if (cached := self._get(image.digest)) is not None}
        new = {image.digest: image for image in images if image.digest not in regions_of}
        for batch in self._batches(list(new.values())):
            results = self.detector.extract_regions([image.rgb for image in batch], [NO_BOXES] * len(batch))
            for image, (detected, _) in zip(batch, results, strict=True):
                regions_of[image.digest] = self._put(image, detected)
        return [regions_of[image.digest] for image in images]

    def extract_boxes(self, requests: Sequence[tuple[InputImage, Sequence[Box]]]) -> list[Regions]:
        """Return the regions at each request's boxes.

        All boxes of an image share a detector pass, and what it detects is cached.
        """
        images = {image.digest: image for image, _ in requests}
        boxes: dict[str, list[Box]] = {digest: [] for digest in images}
        rows: list[tuple[str, slice]] = []
        for image, request_boxes in requests:
            image_boxes = boxes[image.digest]
            rows.append((image.digest, slice(len(image_boxes), len(image_boxes) + len(request_boxes))))
            image_boxes.extend(request_boxes)
        at_boxes: dict[str, Regions] = {}
        for batch in self._batches(list(images.values())):
            arrays = [np.array(boxes[image.digest], dtype=np.float32) for image in batch]
            results = self.detector.extract_regions([image.rgb for image in batch], arrays)
            for image, (detected, regions) in zip(batch, results, strict=True):
                self._put(image, detected)
                at_boxes[image.digest] = as_stored(image_key(image), regions, self.detector.feature_size)
        return [_select(at_boxes[digest], part) for digest, part in rows]

    def _batches(self, images: Sequence[InputImage]) -> list[list[InputImage]]:
        """Group images by working size, then split each group into batches of the detector's size."""
        by_size: dict[tuple[int, int], list[InputImage]] = {}
        for image in images:
            by_size.setdefault(self.detector.input_size(image.width, image.height), []).append(image)
        size = self.detector.batch_size
        return [group[i : i + size] for group in by_size.values() for i in range(0, len(group), size)]

    def _get(self, digest: str) -> Regions | None:
        with self._lock:
            if digest in self._cache:
                self._cache.move_to_end(digest)
            return self._cache.get(digest)

    def _put(self, image: InputImage, regions: Regions) -> Regions:
        """Cache the regions and evict the least recently used ones beyond the byte limit."""
        stored = as_stored(image_key(image), regions, self.detector.feature_size)
        with self._lock:
            if image.digest in self._cache:  # another thread was first: keep its regions, so that answers agree
                return self._cache[image.digest]
            self._cache[image.digest] = stored
            self._num_bytes += _num_bytes(stored)
            while self._num_bytes > self._max_bytes and len(self._cache) > 1:
                self._num_bytes -= _num_bytes(self._cache.popitem(last=False)[1])
        return stored


def image_key(image: InputImage) -> ImageKey:
    """Return the key under which the image's regions are stored."""
    return ImageKey(IMAGE_SOURCE, image.digest)


def _select(regions: Regions, part: slice) -> Regions:
    probabilities = None if regions.class_probs is None else regions.class_probs[part]
    return Regions(regions.boxes_px[part], regions.features[part], regions.width, regions.height, probabilities)


def _num_bytes(regions: Regions) -> int:
    probabilities = 0 if regions.class_probs is None else regions.class_probs.nbytes
    return regions.features.nbytes + regions.boxes_px.nbytes + probabilities
