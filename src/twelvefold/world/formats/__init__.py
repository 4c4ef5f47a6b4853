"""The twelve official formats, file for file: from a picture's scene to the records of every file that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twelvefold.world.formats import captions, gqa, guesswhat, nlvr2, refer, snli_ve, vgqa, visual7w, vqav2
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage
from twelvefold.world.text.annotations import ReferStyle

LAYOUTS: Final[tuple[Layout, ...]] = tuple(
    layout
    for module in (vqav2, vgqa, gqa, captions, refer, visual7w, guesswhat, nlvr2, snli_ve)
    for layout in module.LAYOUTS
)


def _refer(task: ReferStyle) -> Callable[[SourceImage, AnnotationShard], int]:
    return lambda source, shard: refer.write(source, task, shard)


WRITERS: Final[dict[str, Callable[[SourceImage, AnnotationShard], int]]] = {
    "vqav2": vqav2.write,
    "gqa": gqa.write,
    "vgqa": vgqa.write,
    "coco": captions.write_coco,
    "flickr30k": captions.write_flickr,
    "refcoco": _refer("refcoco"),
    "refcoco+": _refer("refcoco+"),
    "refcocog": _refer("refcocog"),
    "visual7w": visual7w.write,
    "guesswhat": guesswhat.write,
    "snli_ve": snli_ve.write,
}
"""One picture's records of a task, put on the sheet; they answer how many examples that made. NLVR2 needs a set."""

ON_VG: Final = frozenset({"vgqa", "gqa", "visual7w"})
"""The tasks that speak of Visual Genome's copy of a picture, which may have another size than COCO's."""
