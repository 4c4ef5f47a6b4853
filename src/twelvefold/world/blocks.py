"""A block of pictures made whole: the image files under every source's name, and the sheets of the official files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from twelvefold.store.atomic_files import write_json
from twelvefold.world.formats import LAYOUTS, ON_VG, WRITERS, nlvr2
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage, coco_file
from twelvefold.world.image_variants import RenderedImage, render_image, vg_copy
from twelvefold.world.sources import SET_SIZE, PlannedImage

SCENES: Final = Layout("truth/scenes.jsonl", "lines")
"""What every picture really shows. Only tests and audits read it; no reader and no model does."""

TRUE_PNGS: Final = 4
"""One NLVR2 picture of four is a PNG; the others are JPEGs under a name in ``.png``, as many published ones are."""


def save_block(pictures: tuple[PlannedImage, ...], seed: int, folder: Path) -> None:
    """Fill ``folder`` with ``images/``, one sheet for each part of an official file, and ``examples.json``: the
    number of examples by task and split, in the readers' words."""
    shard, examples = AnnotationShard((*LAYOUTS, SCENES)), Counter[str]()
    waiting: list[SourceImage] = []
    for picture in pictures:
        rendered = render_image(picture, seed)
        here, there = SourceImage(picture, rendered.scene, seed), SourceImage(picture, rendered.scene, seed)
        if picture.vg:
            copy = vg_copy(rendered, picture)
            there = SourceImage(picture, copy.scene, seed)
            _save(folder, vg_path(picture), copy.jpeg())
        for path, data in _own_files(picture, rendered):
            _save(folder, path, data)
        for task in picture.roles:
            if task != "nlvr2":
                made = WRITERS[task](there if task in ON_VG else here, shard)
                examples[f"{task} {reader_split(task, picture.roles[task])}"] += made
        if "nlvr2" in picture.roles:
            waiting.append(here)
            if len(waiting) == SET_SIZE:
                examples[f"nlvr2 {reader_split('nlvr2', picture.roles['nlvr2'])}"] += nlvr2.write(waiting, shard)
                waiting = []
        shard.add(SCENES.path, _facts(here, there))
    shard.save(folder)
    write_json(folder / "examples.json", examples)


def reader_split(task: str, split: str) -> str:
    """train, val or test: where a reader puts a publisher's split."""
    if split.startswith("test"):
        return "test"
    if split in ("valid", "dev", "minval") or (split == "val" and task not in ("vqav2", "gqa")):
        return "val"
    return "train"


def image_keys(picture: PlannedImage) -> list[str]:
    """Every name of a picture, as ``ImageKey`` writes it: ``coco/391895``, ``vg/2318324``."""
    keys = [f"coco/{picture.coco}"] if picture.coco else []
    keys += [f"vg/{picture.vg}"] if picture.vg else []
    if "nlvr2" in picture.roles:
        keys.append(f"nlvr2/{nlvr2.image_name(picture)}")
    elif picture.name:
        keys.append(f"{'gqa' if 'gqa' in picture.roles else 'flickr30k'}/{picture.name}")
    return keys


def vg_path(picture: PlannedImage) -> str:
    return f"images/vg/{picture.vg_folder}/{picture.vg}.jpg"


def _own_files(picture: PlannedImage, rendered: RenderedImage) -> Iterator[tuple[str, bytes]]:
    """The picture's files outside Visual Genome: path and bytes."""
    if picture.coco:
        yield f"images/coco/{picture.folder}/{coco_file(picture)}", rendered.jpeg()
    elif "nlvr2" in picture.roles:
        data = _png(rendered) if picture.index % TRUE_PNGS == 0 else rendered.jpeg()
        yield f"images/nlvr2/{nlvr2.image_name(picture)}.png", data
    elif picture.name:
        source = "gqa" if "gqa" in picture.roles else "flickr30k"
        yield f"images/{source}/{picture.name}.jpg", rendered.jpeg()


def _png(rendered: RenderedImage) -> bytes:
    out = BytesIO()
    rendered.image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _save(folder: Path, path: str, data: bytes) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)  # inside an atomic folder: nobody sees it before all of it is there


def _facts(here: SourceImage, there: SourceImage) -> dict[str, object]:
    picture, scene = here.picture, here.scene
    return {
        "index": picture.index,
        "keys": image_keys(picture),
        "roles": dict(picture.roles),
        "scene": picture.scene,
        "twin": picture.twin,
        "width": scene.width,
        "height": scene.height,
        "vg_size": [there.scene.width, there.scene.height] if picture.vg else None,
        "background": scene.background,
        "things": [
            {
                "kind": obj.category,
                "colour": obj.color,
                "size": obj.size,
                "pattern": obj.pattern,
                "drawing": obj.drawing,
                "box_px": [round(edge, 2) for edge in obj.box_px],
                "visible": round(obj.visible, 3),
                "relation": obj.relation,
            }
            for obj in scene.objects
        ],
    }
