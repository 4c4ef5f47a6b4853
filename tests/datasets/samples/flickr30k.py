"""Flickr30k captions in Karpathy's format."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import PositivePair

from .coco import SPLITS, first_image, make_image
from .sample import Sample


def make_files() -> dict[str, Any]:
    images = [
        {**make_image(i, split), "filename": f"10000{i}.jpg"} for i, split in enumerate(SPLITS) if split != "restval"
    ]
    return {"flickr30k/dataset_flickr30k.json": {"images": images, "dataset": "flickr30k"}}


SAMPLE = Sample(make_files, first_image("flickr30k/dataset_flickr30k.json"), PositivePair)
