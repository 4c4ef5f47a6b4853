"""Names of the publishers of images: ``ImageKey.source``, and the folders under ``images/`` of a data folder."""

from __future__ import annotations

from twelvefold.schema import ImageKey

COCO = "coco"
VG = "vg"
"""Visual Genome. Its images also have these keys in Visual7W and in GQA's train and val."""
GQA = "gqa"
"""GQA's own images: those of its test sets."""
FLICKR30K = "flickr30k"
NLVR2 = "nlvr2"

VISUAL7W = "visual7w"
"""A folder, and a source only by name: Visual7W's copies of Visual Genome's images, whose keys have the source VG."""

NUMERIC_SOURCES = {COCO: COCO, VG: VG, VISUAL7W: VG}
"""Publishers whose ids are numbers, with or without leading zeros, and the source of their keys."""


def image_key(source: str, id_: str) -> ImageKey:
    """Return the key of an image by the id that its publisher uses, with or without leading zeros if it is a number."""
    if source in NUMERIC_SOURCES and id_.isdecimal():
        return ImageKey(NUMERIC_SOURCES[source], str(int(id_)))
    return ImageKey(source, id_)
