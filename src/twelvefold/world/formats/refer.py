"""RefCOCO, RefCOCO+ and RefCOCOg: ``refs(unc).p`` or ``refs(umd).p``, a Python 2 pickle, and ``instances.json``."""

from __future__ import annotations

from typing import Final

from twelvefold.world.categories import KIND
from twelvefold.world.formats.captions import LICENSES, coco_image
from twelvefold.world.formats.official import Layout, Sheet
from twelvefold.world.formats.view import CATEGORIES, URL, View, how_many, polygon
from twelvefold.world.text.annotations import ReferStyle
from twelvefold.world.text.refer import references

REFS: Final = {
    "refcoco": "refcoco/refs(unc).p", "refcoco+": "refcoco+/refs(unc).p", "refcocog": "refcocog/refs(umd).p",
}  # fmt: skip
_HEAD: Final = {
    "info": {
        "description": "Things of the embedded world, in the format of COCO 2014's instances.", "url": URL,
        "version": "1.0", "year": 2014, "contributor": "twelvefold", "date_created": "2015-01-27 09:11:52",
    },
    "licenses": LICENSES,
    "categories": [{"supercategory": KIND[name].category, "id": id_, "name": name} for name, id_ in CATEGORIES.items()],
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

_MOST_THINGS, _MOST_SENTENCES = 32, 256


def write(view: View, task: ReferStyle, sheet: Sheet) -> int:
    """One picture's references and all its instances; how many expressions."""
    things = how_many(view, task, **_DENSITY[task])
    refs = references(view.scene, view.rng(task), things, style=task)
    index = view.picture.index
    sentence = index * _MOST_SENTENCES
    for number, ref in enumerate(refs):
        sentences = [
            {"tokens": list(e.tokens), "raw": e.raw, "sent_id": sentence + place, "sent": e.sent}
            for place, e in enumerate(ref.expressions)
        ]
        sentence += len(sentences)
        ann_id = view.thing_id(ref.target)
        record = {
            "sent_ids": [s["sent_id"] for s in sentences],
            # Not the picture's name: the publishers' ends in the annotation's number.
            "file_name": f"COCO_{view.picture.folder}_{view.picture.coco:012d}_{ann_id}.jpg",
            "ann_id": ann_id,
            "ref_id": index * _MOST_THINGS + number,
            "image_id": view.picture.coco,
            "split": view.split(task),
            "sentences": sentences,
            "category_id": CATEGORIES[view.scene.things[ref.target].kind],
        }
        sheet.add(REFS[task], record)
    _write_instances(view, f"{task}/instances.json", sheet)
    return sentence - index * _MOST_SENTENCES


def _write_instances(view: View, path: str, sheet: Sheet) -> None:
    sheet.add(path, coco_image(view), "images")
    for place, thing in enumerate(view.scene.things):
        bbox = view.xywh(place)
        annotation = {
            "segmentation": [polygon(thing.box_px)],
            "area": round(bbox[2] * bbox[3], 4),
            "iscrowd": 0,
            "image_id": view.picture.coco,
            "bbox": bbox,
            "category_id": CATEGORIES[thing.kind],
            "id": view.thing_id(place),
        }
        sheet.add(path, annotation, "annotations")
