"""Visual7W: questions and boxes."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import Candidate

from .sample import FirstRecord, Sample, get_key


def make_files() -> dict[str, Any]:
    boxes = [
        {"box_id": 100 + 7 * i, "name": "boat", "x": 10 * i - 1, "y": -1, "width": 20, "height": 30} for i in range(12)
    ]
    images = [
        {
            "image_id": 2318324 + i,
            "filename": f"v7w_{2318324 + i}.jpg",
            "split": split,
            "qa_pairs": [
                {
                    "qa_id": 400 + i,
                    "image_id": 2318324 + i,
                    "question": "Which boat is red?",
                    "answer": 114 + 28 * i,
                    "multiple_choices": [121 + 28 * i, 100 + 28 * i, 107 + 28 * i],
                    "type": "which",
                }
            ],
        }
        for i, split in enumerate(("train", "val", "test"))
    ]
    return {"visual7w/dataset_v7w_pointing.json": {"dataset": "v7w_pointing", "boxes": boxes, "images": images}}


SAMPLE = Sample(
    make_files,
    FirstRecord(
        "visual7w/dataset_v7w_pointing.json",
        "images[0].qa_pairs[0]",
        get_key("question"),
        lambda content: content["images"][0]["qa_pairs"],
    ),
    Candidate,
)
