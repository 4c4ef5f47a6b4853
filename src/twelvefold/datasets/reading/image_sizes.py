"""Compare the image sizes that annotations state with those of the images: boxes are wrong on an image of another size.

Two mistakes are common: an image whose EXIF orientation turns it by 90 degrees, and a folder of resized copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from twelvefold import boxes
from twelvefold.schema import Example, ImageKey, Pair, Size, TargetBox, TargetBoxes
from twelvefold.store.example_table import ExampleTable

SizeOf = Callable[[ImageKey], Size | None]
"""Returns an image's width and height in pixels, or None if there is no such image."""

MIN_SHARE_INSIDE = 0.5
"""A box with less of its area inside the image is wrong. Some published boxes exceed an image by a few pixels."""


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """Collects the sizes that the annotations of a split state, and compares them with those of the images.

    Attributes:
        sources: What the images' sizes are taken from; each is compared.
        scale_boxes: Accept resized copies of the same aspect ratio.
        other: Why the boxes of an image do not fit it, by image.
        scaled: Resized copies that are accepted.
    """

    sources: Sequence[SizeOf]
    scale_boxes: bool = False
    other: dict[ImageKey, str] = field(default_factory=dict)
    scaled: set[ImageKey] = field(default_factory=set)
    _compared: set[tuple[ImageKey, Size]] = field(default_factory=set)

    def add(self, example: Example) -> None:
        """Compare the sizes that an example states; where it states none, look for boxes outside of the image."""
        for pair in example.pairs:
            if pair.stated_size is not None:
                self.add_size(pair.image, pair.stated_size)
            elif pair.candidates_px or isinstance(example.label, TargetBox | TargetBoxes):
                self._add_boxes(pair, example)

    def add_table(self, table: ExampleTable) -> None:
        """Compare as :meth:`add` does for each example of a table, without reading those that state a size."""
        sizes = table.stated_sizes()
        for image, stated in sizes.items():
            for size in stated:
                self.add_size(image, size)
        if len(sizes) < len(table.all_images()) and table.has_boxes():
            for example in table:
                self.add(example)

    def add_size(self, image: ImageKey, stated: Size) -> None:
        """Compare the size that annotations state with that of the image."""
        if (image, stated) in self._compared:
            return
        self._compared.add((image, stated))
        for actual in filter(None, (size_of(image) for size_of in self.sources)):
            if boxes.is_same_size(stated, actual):
                continue
            if self.scale_boxes and boxes.scale_factors(stated, actual) is not None:
                self.scaled.add(image)
            else:
                self.other.setdefault(image, _describe(stated, actual))

    def _add_boxes(self, pair: Pair, example: Example) -> None:
        label = example.label
        true_boxes = label.boxes_px if isinstance(label, TargetBoxes) else ()
        true_boxes = (label.box_px,) if isinstance(label, TargetBox) else true_boxes
        listed = [*pair.candidates_px, *true_boxes]
        for size in filter(None, (size_of(pair.image) for size_of in self.sources)):
            share = boxes.area(boxes.clip(listed, *size)) / np.maximum(boxes.area(listed), 1e-9)  # (N,)
            if share.min() < MIN_SHARE_INSIDE:
                box = ", ".join(f"{side:g}" for side in listed[int(share.argmin())])
                reason = f"the box {box} lies outside of the image, which has {size[0]} x {size[1]} pixels"
                self.other.setdefault(pair.image, reason)


def _describe(stated: Size, actual: Size) -> str:
    sizes = f"the annotations state {stated[0]} x {stated[1]} pixels, the image has {actual[0]} x {actual[1]}"
    if boxes.scale_factors(stated, actual) is not None:
        return f"{sizes}: a resized copy; --scale-boxes scales its boxes"
    if boxes.scale_factors(stated, actual[::-1]) is not None:
        return f"{sizes}: turned by 90 degrees, perhaps by its EXIF orientation"
    return f"{sizes}: another aspect ratio"
