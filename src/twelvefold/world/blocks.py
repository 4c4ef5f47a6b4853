"""A block of images: the image files of every source, and the shards of the official files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from twelvefold.store.atomic_files import write_json
from twelvefold.world.formats import ADDED_LAYOUTS, ADDED_WRITERS, LAYOUTS, VG_TASKS, WRITERS, nlvr2
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage, coco_file
from twelvefold.world.image_variants import RenderedImage, make_vg_copy, render_image
from twelvefold.world.sources import SET_SIZE, VAL_SPLITS, PlannedImage, is_test

SCENES: Final = Layout("truth/scenes.jsonl", "lines")
"""What every image shows. Only tests and audits read it, neither readers nor models."""

PNG_EVERY: Final = 4
"""One of four NLVR2 images is a PNG. The others are JPEGs under a name in ``.png``, as many published ones are."""


def save_block(images: tuple[PlannedImage, ...], seed: int, folder: Path) -> None:
    """Write image files under ``images/``, a shard for each part of an official file, and ``examples.json``.

    ``examples.json`` is the number of examples by task and split, as the readers name it.
    """
    shard, examples = AnnotationShard((*LAYOUTS, SCENES)), Counter[str]()
    nlvr2_set: list[SourceImage] = []
    for planned in images:
        rendered = render_image(planned, seed)
        image = vg_image = SourceImage(planned, rendered.scene, seed)
        if planned.vg_id:
            vg_copy = make_vg_copy(rendered, planned)
            vg_image = SourceImage(planned, vg_copy.scene, seed)
            _save(folder, f"images/vg/{planned.vg_folder}/{planned.vg_id}.jpg", vg_copy.jpeg())
        for path, data in _files_outside_vg(planned, rendered):
            _save(folder, path, data)
        for task, split in planned.splits.items():
            num_examples = 0
            if task != "nlvr2":
                num_examples = WRITERS[task](vg_image if task in VG_TASKS else image, shard)
            else:
                nlvr2_set.append(image)
                if len(nlvr2_set) == SET_SIZE:
                    num_examples = nlvr2.write(nlvr2_set, shard)
                    nlvr2_set = []
            examples[f"{task} {_reader_split(task, split)}"] += num_examples
            examples += _write_added(image, task, shard)
        shard.add(SCENES.path, _describe(image, vg_image))
    shard.save(folder)
    write_json(folder / "examples.json", examples)


def _write_added(image: SourceImage, task: str, shard: AnnotationShard) -> Counter[str]:
    """Add the records of the tasks besides the twelve on the images of ``task``; return their examples as above."""
    split = _reader_split(task, image.split(task))
    return Counter({f"{name} {split}": write(image, shard) for name, write in ADDED_WRITERS.get(task, {}).items()})


def save_added(images: tuple[PlannedImage, ...], seed: int, folder: Path) -> None:
    """Write what :func:`save_block` writes of the tasks besides the twelve."""
    shard, examples = AnnotationShard(ADDED_LAYOUTS), Counter[str]()
    for planned in images:
        for task in filter(ADDED_WRITERS.__contains__, planned.splits):
            image = SourceImage(planned, render_image(planned, seed).scene, seed)
            examples += _write_added(image, task, shard)
    shard.save(folder)
    write_json(folder / "examples.json", examples)


def _reader_split(task: str, split: str) -> str:
    """Return train, val or test: the split under which a reader returns a publisher's split."""
    if is_test(split):
        return "test"
    trains = split == "val" and task in ("vqav2", "gqa")
    return "val" if split in VAL_SPLITS and not trains else "train"


def image_keys(planned: PlannedImage) -> list[str]:
    """Return the keys of an image in all sources, in the form of ``ImageKey``: ``coco/391895``, ``vg/2318324``."""
    keys = [f"coco/{planned.coco_id}"] if planned.coco_id else []
    keys += [f"vg/{planned.vg_id}"] if planned.vg_id else []
    if "nlvr2" in planned.splits:
        keys.append(f"nlvr2/{nlvr2.image_name(planned)}")
    elif planned.name:
        keys.append(f"{_named_source(planned)}/{planned.name}")
    return keys


def _named_source(planned: PlannedImage) -> str:
    return "gqa" if "gqa" in planned.splits else "flickr30k"


def _files_outside_vg(planned: PlannedImage, rendered: RenderedImage) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of the files of an image outside Visual Genome."""
    if planned.coco_id:
        yield f"images/coco/{planned.coco_folder}/{coco_file(planned)}", rendered.jpeg()
    elif "nlvr2" in planned.splits:
        data = _encode_png(rendered) if planned.index % PNG_EVERY == 0 else rendered.jpeg()
        yield f"images/nlvr2/{nlvr2.image_name(planned)}.png", data
    elif planned.name:
        yield f"images/{_named_source(planned)}/{planned.name}.jpg", rendered.jpeg()


def _encode_png(rendered: RenderedImage) -> bytes:
    out = BytesIO()
    rendered.image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _save(folder: Path, path: str, data: bytes) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)  # in an atomic folder, which appears when it is complete


def _describe(image: SourceImage, vg_image: SourceImage) -> dict[str, object]:
    planned, scene = image.planned, image.scene
    return {
        "index": planned.index,
        "keys": image_keys(planned),
        "roles": dict(planned.splits),
        "scene": planned.scene_index,
        "twin": planned.variant,
        "width": scene.width,
        "height": scene.height,
        "vg_size": [vg_image.scene.width, vg_image.scene.height] if planned.vg_id else None,
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
