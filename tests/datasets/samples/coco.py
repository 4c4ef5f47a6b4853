"""COCO captions in Karpathy's format."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import PositivePair

from .sample import FirstRecord, Sample

SPLITS = ("train", "restval", "val", "test", "test")


def make_image(i: int, split: str) -> dict[str, Any]:
    sentences = [{"tokens": ["a"], "raw": f"A boat {i}{k}. ", "imgid": i, "sentid": 10 * i + k} for k in range(2)]
    return {"sentids": [10 * i, 10 * i + 1], "imgid": i, "sentences": sentences, "split": split}


def make_files() -> dict[str, Any]:
    images = [
        {**make_image(i, split), "filepath": "val2014", "filename": f"COCO_val2014_{i + 7:012}.jpg", "cocoid": i + 7}
        for i, split in enumerate(SPLITS)
    ]
    return {"coco/dataset_coco.json": {"images": images, "dataset": "coco"}}


def first_caption(image: Any) -> tuple[dict[str, Any], str]:
    return image["sentences"][0], "raw"


def first_image(file: str) -> FirstRecord:
    return FirstRecord(file, "images[0]", first_caption, lambda content: content["images"])


SAMPLE = Sample(make_files, first_image("coco/dataset_coco.json"), PositivePair)
