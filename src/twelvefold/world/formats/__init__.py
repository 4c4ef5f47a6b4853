"""The official file formats of the tasks: from the scene of an image to the records of every file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from twelvefold.world.formats import (
    captions,
    flickr30k_entities,
    gqa,
    guesswhat,
    nlvr2,
    refer,
    snli_ve,
    vgqa,
    visual7w,
    vqav2,
)
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage

ADDED_LAYOUTS: Final[tuple[Layout, ...]] = flickr30k_entities.LAYOUTS
"""Files of the tasks besides the twelve."""

LAYOUTS: Final[tuple[Layout, ...]] = ADDED_LAYOUTS + tuple(
    layout
    for module in (vqav2, vgqa, gqa, captions, refer, visual7w, guesswhat, nlvr2, snli_ve)
    for layout in module.LAYOUTS
)

WRITERS: Final[dict[str, Callable[[SourceImage, AnnotationShard], int]]] = {
    "vqav2": vqav2.write,
    "gqa": gqa.write,
    "vgqa": vgqa.write,
    "coco": captions.write_coco,
    "flickr30k": captions.write_flickr,
    **{task: partial(refer.write, task=task) for task in refer.REFS},
    "visual7w": visual7w.write,
    "guesswhat": guesswhat.write,
    "snli_ve": snli_ve.write,
}
"""Functions that add an image's records of a task to a shard and return the number of examples.

NLVR2 is missing because its records are about eight images.
"""

ADDED_WRITERS: Final[dict[str, dict[str, Callable[[SourceImage, AnnotationShard], int]]]] = {
    flickr30k_entities.SPLITS_OF: {"flickr30k_entities": flickr30k_entities.write},
}
"""One of the twelve -> task with the same images and splits -> as in ``WRITERS``."""

VG_TASKS: Final = frozenset({"vgqa", "gqa", "visual7w"})
"""Tasks on Visual Genome's copy of an image, which may have another size than COCO's."""
