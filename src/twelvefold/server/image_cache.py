"""Cache the images that clients sent, by the digest of their pixels, so that the next request can refer to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from twelvefold.images import RGB, InputImage
from twelvefold.server.errors import ApiError
from twelvefold.server.metrics import Metrics

MAX_FILES = 10_000
"""Files whose image digests are remembered: about 3 MB."""


NO_PIXELS: RGB = np.empty((0, 0, 3), dtype=np.uint8)


class ImageCache:
    """A least-recently-used cache with a byte limit. Use it from the event loop's thread only.

    Evicted images are remembered without their pixels: while their regions are cached, a search needs no more.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[str, InputImage] = OrderedDict()
        self._evicted: OrderedDict[str, InputImage] = OrderedDict()  # without pixels
        self._image_of_file: OrderedDict[str, str] = OrderedDict()  # digest of a file -> digest of its image
        self._num_bytes = 0
        self._metrics = metrics

    def find_by_file(self, file_digest: str) -> InputImage | None:
        """Return the image of a file with this digest if it is cached, so that it need not be decoded again."""
        digest = self._image_of_file.get(file_digest, "")
        return self.find(digest) if digest in self._images else None

    def add(self, image: InputImage, file_digest: str) -> InputImage:
        """Cache an image and its file's digest; return the cached image if the same one is there already."""
        self._image_of_file[file_digest] = image.digest
        if len(self._image_of_file) > MAX_FILES:
            self._image_of_file.popitem(last=False)
        if image.digest not in self._images:
            self._images[image.digest] = image
            self._num_bytes += image.rgb.nbytes
        cached = self._images[image.digest]
        self._images.move_to_end(image.digest)
        while self._num_bytes > self._max_bytes and len(self._images) > 1:
            self._evict()
        self._metrics.images.labels("new").inc()
        self._metrics.cached_images.set(len(self._images))
        self._metrics.cached_bytes.set(self._num_bytes)
        return cached

    def _evict(self) -> None:
        """Drop the pixels of the least recently used image."""
        digest, image = self._images.popitem(last=False)
        self._num_bytes -= image.rgb.nbytes
        self._evicted[digest] = replace(image, rgb=NO_PIXELS)
        if len(self._evicted) > MAX_FILES:
            self._evicted.popitem(last=False)

    def find(self, digest: str, *, has_regions: Callable[[str], bool] | None = None) -> InputImage:
        """Return the image with that digest.

        has_regions: whether an image's regions are cached, if they are all that the request needs; an evicted image
        with cached regions is then returned without pixels.

        Raises:
            ApiError: 404, it was never sent or is no longer cached.
        """
        if digest not in self._images:
            if has_regions is not None and digest in self._evicted and has_regions(digest):
                return self._evicted[digest]
            raise ApiError(404, f"no image {digest[:64]!r} is cached here, or no longer: send it again")
        self._images.move_to_end(digest)
        self._metrics.images.labels("kept").inc()
        return self._images[digest]
