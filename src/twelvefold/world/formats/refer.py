"""RefCOCO, RefCOCO+ and RefCOCOg: ``refs(unc).p`` or ``refs(umd).p``, a Python 2 pickle, and ``instances.json``."""

from __future__ import annotations

from typing import Final

from twelvefold.world.categories import CATEGORIES
from twelvefold.world.formats.captions import LICENSES, coco_image
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import CATEGORY_IDS, MAX_OBJECTS, SourceImage, file_info, polygon
from twelvefold.world.text.annotations import ReferStyle
from twelvefold.world.text.refer import generate_references

REFS: Final[dict[ReferStyle, str]] = {
    "refcoco": "refcoco/refs(unc).p", "refcoco+": "refcoco+/refs(unc).p", "refcocog": "refcocog/refs(umd).p",
}  # fmt: skip
_HEAD: Final = {
    "info": file_info("Things of the embedded world, in the format of COCO 2014's instances.", "2015-01-27 09:11:52"),
    "licenses": LICENSES,
    "categories": [{"supercategory": c.supercategory, "id": CATEGORY_IDS[c.name], "name": c.name} for c in CATEGORIES],
}  # fmt: skip
LAYOUTS: Final = (
    *(Layout(path, "pickle") for path in REFS.values()),
    *(Layout(f"{task}/instances.json", "fields", _HEAD, ("images", "annotations")) for task in REFS),
)
_MAX_SENTENCES: Final = 256


def write(image: SourceImage, shard: AnnotationShard, task: ReferStyle) -> int:
    """Add an image's references and all its instances, and return the number of expressions."""
    planned = image.planned
    references = generate_references(image.scene, image.rng(task), image.num_examples(task), style=task)
    sentence_id = first_id = planned.index * _MAX_SENTENCES
    for number, reference in enumerate(references):
        sentences = [
            {"tokens": list(e.tokens), "raw": e.raw, "sent_id": id_, "sent": " ".join(e.tokens)}
            for id_, e in enumerate(reference.expressions, start=sentence_id)
        ]
        sentence_id += len(sentences)
        ann_id = image.object_id(reference.target)
        record = {
            "sent_ids": [s["sent_id"] for s in sentences],
            # The publishers' file name ends in the annotation's id and is not the image's name.
            "file_name": f"COCO_{planned.coco_folder}_{planned.coco_id:012d}_{ann_id}.jpg",
            "ann_id": ann_id,
            "ref_id": planned.index * MAX_OBJECTS + number,
            "image_id": planned.coco_id,
            "split": image.split(task),
            "sentences": sentences,
            "category_id": CATEGORY_IDS[image.scene.objects[reference.target].category],
        }
        shard.add(REFS[task], record)
    _write_instances(image, f"{task}/instances.json", shard)
    return sentence_id - first_id


def _write_instances(image: SourceImage, path: str, shard: AnnotationShard) -> None:
    shard.add(path, coco_image(image), "images")
    for index, obj in enumerate(image.scene.objects):
        bbox = image.xywh(index)
        annotation = {
            "segmentation": [polygon(obj.box_px)],
            "area": round(bbox[2] * bbox[3], 4),
            "iscrowd": 0,
            "image_id": image.planned.coco_id,
            "bbox": bbox,
            "category_id": CATEGORY_IDS[obj.category],
            "id": image.object_id(index),
        }
        shard.add(path, annotation, "annotations")
