"""Read the publishers' id maps, which state that two keys name the same image. Paper: section 2.2.

Many datasets share keys: COCO's ids are used by VQAv2, COCO captions, RefCOCO/+/g and GuessWhat; Visual Genome's by VG
QA, Visual7W and GQA's train and val; Flickr30k's by SNLI-VE. In addition, half of Visual Genome's images are COCO's,
and some may be Flickr30k's, whose file names are Flickr's photo ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.image_sources import COCO, FLICKR30K, VG
from twelvefold.datasets.reading.records import BadRecords, RecordReader
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.schema import ImageKey, SameImageLink, Size


class VisualGenomeImage(msgspec.Struct, gc=False):
    """A record of ``image_data.json``. The first release, and copies of it, call ``image_id`` ``id``."""

    image_id: int | None = None
    id: int | None = None
    coco_id: int | None = None
    flickr_id: int | None = None
    width: int | None = None
    height: int | None = None


def read_links(root: Path, *, bad: BadRecords) -> Iterator[SameImageLink]:
    """Yield the links that the id maps of a data folder state; none for a missing map (see :func:`limitations`).

    A key may name an image that no task uses.
    """
    path = visual_genome_map(root)
    if not path.exists():
        return
    reader = RecordReader("identity", path, bad)
    for record, image in reader.items("", VisualGenomeImage):
        id_ = image.image_id if image.image_id is not None else image.id
        if id_ is None:
            reader.reject(record, "expected image_id or id, got neither")
            continue
        key = ImageKey(VG, str(id_))
        if image.coco_id is not None:
            yield SameImageLink(key, ImageKey(COCO, str(image.coco_id)), "ids", f"coco_id in {path.name}")
        if image.flickr_id is not None:
            yield SameImageLink(key, ImageKey(FLICKR30K, str(image.flickr_id)), "ids", f"flickr_id in {path.name}")


def visual_genome_sizes(root: Path) -> dict[int, Size]:
    """Return the sizes of Visual Genome's images that its map states, by image id; none if it is missing.

    Malformed records are left out: :func:`read_links` reports them.
    """
    path = visual_genome_map(root)
    if not path.exists():
        return {}
    return decode_once(RecordReader("identity", path, BadRecords(skip=True)), "sizes", _sizes_by_id)


def _sizes_by_id(reader: RecordReader) -> dict[int, Size]:
    sizes: dict[int, Size] = {}
    for _, image in reader.items("", VisualGenomeImage):
        id_ = image.image_id if image.image_id is not None else image.id
        if id_ is not None and image.width and image.height:
            sizes[id_] = (image.width, image.height)
    return sizes


def limitations(root: Path, sources: Collection[str]) -> list[str]:
    """Return one sentence for each missing id map that matters: what cleaning cannot know without it.

    ``sources``: of the images that the tasks use (``ImageKey.source``). Visual Genome's map matters if they use its
    images and those of COCO or Flickr30k.
    """
    path = visual_genome_map(root)
    if path.exists() or VG not in sources or not {COCO, FLICKR30K} & set(sources):
        return []
    return [
        f"{path} is missing: an image that Visual Genome (VG QA, Visual7W, GQA) shares with COCO or Flickr30k counts "
        "as two images, so cleaning does not find the COCO tasks' test images in Visual Genome's training questions, "
        "nor the reverse, unless the image files are compared"
    ]


def visual_genome_map(root: Path) -> Path:
    """Return the path of Visual Genome's map."""
    return root / "vg" / "image_data.json"
