"""Pictures that clients sent, kept in memory by what they show, so that the next question need not send them again."""

from __future__ import annotations

from collections import OrderedDict

from twelvefold.server.errors import Refusal
from twelvefold.server.metrics import Metrics
from twelvefold.serving.images import InputImage

FILES = 10_000
"""Files whose pictures' digests are remembered: about 3 MB."""


class KeptPictures:
    """By digest, the longest unused forgotten first, within so many bytes. For the event loop's one thread."""

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, InputImage] = OrderedDict()
        self._digests: OrderedDict[str, str] = OrderedDict()  # of files, and of the pictures in them
        self._bytes = 0
        self._metrics = metrics

    def of_file(self, file: str) -> InputImage | None:
        """The picture that a file of this digest held, where it is still kept: it needn't be decoded again."""
        digest = self._digests.get(file, "")
        return self.find(digest) if digest in self._kept else None

    def keep(self, picture: InputImage, file: str) -> InputImage:
        """Remember a picture, and the digest of its file; one that was there already is given back in its place."""
        self._digests[file] = picture.digest
        if len(self._digests) > FILES:
            self._digests.popitem(last=False)
        there = self._kept.get(picture.digest)
        if there is None:
            self._kept[picture.digest] = there = picture
            self._bytes += picture.rgb.nbytes
        self._kept.move_to_end(picture.digest)
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].rgb.nbytes
        self._metrics.kept.set(len(self._kept))
        self._metrics.kept_bytes.set(self._bytes)
        return there

    def find(self, digest: str) -> InputImage:
        """The picture of that digest.

        Raises:
            Refusal: 404, it was never here, or is no longer.
        """
        if digest not in self._kept:
            raise Refusal(404, f"no picture {digest[:64]!r} is kept here, or no longer: send it again")
        self._kept.move_to_end(digest)
        return self._kept[digest]
