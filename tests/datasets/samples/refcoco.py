"""RefCOCO, and the refer toolkit's format."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import TargetBox

from .sample import FirstRecord, Sample


def refer_files(name: str, split_by: str, splits: list[str]) -> dict[str, Any]:
    refs = [
        {
            "sent_ids": [2 * i, 2 * i + 1],
            "file_name": f"COCO_train2014_{581857 + i:012}_16.jpg",
            "ann_id": 1719310 + i,
            "ref_id": i,
            "image_id": 581857 + i,
            "split": split,
            "sentences": [
                {"tokens": ["the", "boat"], "raw": raw, "sent_id": 2 * i + j, "sent": "the boat"}
                for j, raw in enumerate(("THE BOAT ", "a café".encode("latin1")))
            ],
            "category_id": 9,
        }
        for i, split in enumerate(splits)
    ]
    images = [{"file_name": "", "height": 424, "width": 640, "id": ref["image_id"]} for ref in refs]
    annotations = [
        {
            "segmentation": [[1.5, 2.5, 3.5]],
            "area": 1.0,
            "iscrowd": 0,
            "image_id": ref["image_id"],
            "bbox": [263.5, 216.0, 21.0, 15.25],
            "category_id": 9,
            "id": ref["ann_id"],
        }
        for ref in refs
    ]
    return {
        f"{name}/refs({split_by}).p": refs,
        f"{name}/instances.json": {"images": images, "annotations": annotations, "categories": []},
    }


def first_sentence(ref: Any) -> tuple[dict[str, Any], str]:
    return ref["sentences"][0], "raw"


def refer_sample(name: str, split_by: str, splits: list[str]) -> Sample:
    first = FirstRecord(f"{name}/refs({split_by}).p", "[0]", first_sentence)
    return Sample(lambda: refer_files(name, split_by, splits), first, TargetBox)


SAMPLE = refer_sample("refcoco", "unc", ["train", "testA", "val", "testB"])
