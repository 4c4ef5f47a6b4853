"""RefCOCO, RefCOCO+ and RefCOCOg: ``refs(unc).p`` or ``refs(umd).p``, a Python 2 pickle, and ``instances.json``."""

from __future__ import annotations

from typing import Final

from twelvefold.world.categories import CATEGORY_BY_NAME
from twelvefold.world.formats.captions import LICENSES, coco_image
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import CATEGORY_IDS, URL, SourceImage, how_many, polygon
from twelvefold.world.text.annotations import ReferStyle
from twelvefold.world.text.refer import generate_references

REFS: Final = {
    "refcoco": "refcoco/refs(unc).p", "refcoco+": "refcoco+/refs(unc).p", "refcocog": "refcocog/refs(umd).p",
}  # fmt: skip
_HEAD: Final = {
    "info": {
        "description": "Things of the embedded world, in the format of COCO 2014's instances.", "url": URL,
        "version": "1.0", "year": 2014, "contributor": "twelvefold", "date_created": "2015-01-27 09:11:52",
    },
    "licenses": LICENSES,
    "categories": [
        {"supercategory": CATEGORY_BY_NAME[name].supercategory, "id": id_, "name": name}
        for name, id_ in CATEGORY_IDS.items()
    ],
}  # fmt: skip
LAYOUTS: Final = (
    *(Layout(path, "pickle") for path in REFS.values()),
    *(Layout(f"{task}/instances.json", "fields", _HEAD, ("images", "annotations")) for task in REFS),
)

_DENSITY: Final = {
    "refcoco": {"train": 4, "tested": 2, "test": 4, "val": 4},
    "refcoco+": {"train": 4, "tested": 2, "test": 5, "val": 4},
    "refcocog": {"train": 2, "tested": 1, "test": 6, "val": 5},
}
"""Things referred to in a picture; each has a few expressions."""

MAX_OBJECTS, _MOST_SENTENCES = 32, 256


def write(source: SourceImage, task: ReferStyle, shard: AnnotationShard) -> int:
    """One picture's references and all its instances; how many expressions."""
    objects = how_many(source, task, **_DENSITY[task])
    refs = generate_references(source.scene, source.rng(task), objects, style=task)
    index = source.picture.index
    sentence = index * _MOST_SENTENCES
    for number, ref in enumerate(refs):
        sentences = [
            {"tokens": list(e.tokens), "raw": e.raw, "sent_id": sentence + place, "sent": e.sent}
            for place, e in enumerate(ref.expressions)
        ]
        sentence += len(sentences)
        ann_id = source.object_id(ref.target)
        record = {
            "sent_ids": [s["sent_id"] for s in sentences],
            # Not the picture's name: the publishers' ends in the annotation's number.
            "file_name": f"COCO_{source.picture.folder}_{source.picture.coco:012d}_{ann_id}.jpg",
            "ann_id": ann_id,
            "ref_id": index * MAX_OBJECTS + number,
            "image_id": source.picture.coco,
            "split": source.split(task),
            "sentences": sentences,
            "category_id": CATEGORY_IDS[source.scene.objects[ref.target].category],
        }
        shard.add(REFS[task], record)
    _write_instances(source, f"{task}/instances.json", shard)
    return sentence - index * _MOST_SENTENCES


def _write_instances(source: SourceImage, path: str, shard: AnnotationShard) -> None:
    shard.add(path, coco_image(source), "images")
    for place, obj in enumerate(source.scene.objects):
        bbox = source.xywh(place)
        annotation = {
            "segmentation": [polygon(obj.box_px)],
            "area": round(bbox[2] * bbox[3], 4),
            "iscrowd": 0,
            "image_id": source.picture.coco,
            "bbox": bbox,
            "category_id": CATEGORY_IDS[obj.category],
            "id": source.object_id(place),
        }
        shard.add(path, annotation, "annotations")
