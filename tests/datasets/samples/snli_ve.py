"""SNLI-VE: hypotheses, with each spelling of the image's field."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import ClassName

from .sample import FirstRecord, Sample, get_key


def make_hypothesis(i: int, key: str, image: str) -> dict[str, Any]:
    gold = ("contradiction", "neutral", "entailment")[i % 3]
    return {key: image, "gold_label": gold, "pairID": f"{image}#2r{i}c", "sentence2": "A boat sails."} | {
        "sentence1": "A boat.",
        "annotator_labels": [gold],
    }


def make_files() -> dict[str, Any]:
    return {
        "snli_ve/snli_ve_train.jsonl": [make_hypothesis(i, "Flikr30kID", f"{900 + i}.jpg") for i in range(3)],
        "snli_ve/snli_ve_dev.jsonl": [make_hypothesis(1, "Flickr30kID", "902.jpg")],
        "snli_ve/snli_ve_test.jsonl": [make_hypothesis(2, "Flickr30K_ID", "903")],
    }


SAMPLE = Sample(
    make_files, FirstRecord("snli_ve/snli_ve_train.jsonl", "line 1", get_key("sentence2")), ClassName, has_lines=True
)
