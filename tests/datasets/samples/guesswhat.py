"""GuessWhat?!: games in the published layout."""

from __future__ import annotations

import copy
from typing import Any

from twelvefold.schema import Candidate

from .sample import FirstRecord, Sample

TURNS = [{"id": 5200, "question": "is it a boat?", "answer": "No"}, {"id": 1, "question": "red?", "answer": "Yes"}]


def make_files() -> dict[str, Any]:
    def game(id_: int, status: str) -> dict[str, Any]:
        objects = [
            {"category": "boat", "area": 10.5, "category_id": 9, "id": 180748 - i, "segment": [[1.0, 2.0]]}
            | {"bbox": [100.5 * i, 20.0, 140.25, 36.5]}
            for i in range(3)
        ]
        image = {"file_name": "", "coco_url": "", "height": 426, "width": 340, "flickr_url": "", "id": 175527}
        turns = [] if status == "incomplete" else copy.deepcopy(TURNS)
        return {"status": status, "qas": turns, "questioner_id": 34, "timestamp": "", "image": image, "id": id_} | {
            "object_id": 180747,
            "objects": objects,
        }

    return {
        "guesswhat/guesswhat.train.jsonl.gz": [game(2488, "success"), game(2489, "incomplete")],
        "guesswhat/guesswhat.valid.jsonl.gz": [game(2490, "failure")],
        "guesswhat/guesswhat.test.jsonl.gz": [game(2491, "success"), game(2492, "failure")],
    }


SAMPLE = Sample(
    make_files,
    FirstRecord("guesswhat/guesswhat.train.jsonl.gz", "line 1", lambda game: (game["qas"][0], "question")),
    Candidate,
    has_empty_texts=True,
)
