"""Which keys name one photograph, by the publishers' own id maps. Paper: section 2.2.

COCO's numbers are shared by VQAv2, COCO captions, RefCOCO/+/g and GuessWhat, Visual Genome's by VG QA, Visual7W and
GQA's train and val, Flickr30k's by SNLI-VE: those are one key already. What remains is that half of Visual Genome's
pictures are COCO's, and that some may be Flickr30k's, whose file names are Flickr's photo ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.records import BadRecords, Source
from twelvefold.schema import ImageKey, SameImageLink


class VisualGenomePicture(msgspec.Struct, gc=False):
    image_id: int
    coco_id: int | None = None
    flickr_id: int | None = None


def joins(root: Path, *, bad: BadRecords) -> Iterator[SameImageLink]:
    """The joins that the maps in a data folder state; a missing map states none (see :func:`hidden`).

    A key may name a picture that no task uses.
    """
    path = _visual_genome(root)
    if not path.exists():
        return
    for _, picture in Source("identity", path, bad).items("", VisualGenomePicture):
        key = ImageKey("vg", str(picture.image_id))
        if picture.coco_id is not None:
            yield SameImageLink(key, ImageKey("coco", str(picture.coco_id)), "ids", f"coco_id in {path.name}")
        if picture.flickr_id is not None:
            yield SameImageLink(key, ImageKey("flickr30k", str(picture.flickr_id)), "ids", f"flickr_id in {path.name}")


def files(root: Path) -> list[Path]:
    """The maps that are there, and that :func:`joins` reads."""
    return [path for path in (_visual_genome(root),) if path.exists()]


def hidden(root: Path) -> list[str]:
    """What stays hidden for want of a map: one plain sentence for each that is missing."""
    path = _visual_genome(root)
    if path.exists():
        return []
    return [
        f"{path} is missing: a photograph that Visual Genome (VG QA, Visual7W, GQA) shares with COCO or Flickr30k "
        f"counts as two, so cleaning misses the COCO tasks' test pictures in Visual Genome's training questions, and "
        f"the other way round, unless the pictures themselves are compared"
    ]


def _visual_genome(root: Path) -> Path:
    return root / "vg" / "image_data.json"
