"""Examples for the reference that work as they stand: questions about the pictures that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twelvefold.serving.samples import Sample, Suggestion

FORM = "multipart/form-data"
POOL = 4
"""Pictures to search in the example."""


def examples(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """By path, the fields of a request that is answered by this very server."""
    sample, question = _first(samples, "vqav2")
    pointing, phrase = _first(samples, "refcoco")
    which, among = _first(samples, "visual7w")
    secret, dialogue = _first(samples, "guesswhat")
    left, pair = _first(samples, "nlvr2")
    premise, hypothesis = _first(samples, "snli_ve")
    described, caption = _first(samples, "coco")
    pool = [described.name, *(one.name for one in samples if one is not described)][:POOL]
    phrases = [one.text for one in pointing.suggestions if one.task == "refcoco"][:2]
    turns, boxes = json.dumps(dialogue.dialogue), json.dumps(dialogue.boxes_px)
    return {
        "/v1/pictures": {"picture": sample.name},
        "/v1/ask": {"picture": sample.name, "question": question.text},
        "/v1/find": {"pictures": pool, "text": caption.text},
        "/v1/point": {"picture": pointing.name, "phrase": phrase.text},
        "/v1/choose": {"picture": which.name, "question": among.text, "boxes": json.dumps(among.boxes_px)},
        "/v1/guess": {"picture": secret.name, "dialogue": turns, "boxes": boxes},
        "/v1/compare": {"picture_a": left.name, "picture_b": pair.other, "statement": pair.text},
        "/v1/entails": {"picture": premise.name, "statement": hypothesis.text},
        "/v1/ground": {
            "picture": pointing.name,
            "caption": " and ".join(phrases),
            "phrases": json.dumps(phrases),
        },
    }


def add_examples(spec: dict[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """The OpenAPI document with an example in every form, and in the one path that names a sample."""
    for path, example in examples(samples).items():
        spec["paths"][path]["post"]["requestBody"]["content"][FORM]["example"] = example
    [name] = spec["paths"]["/v1/samples/{name}"]["get"]["parameters"]
    name["example"] = samples[0].name
    return spec


def _first(samples: Sequence[Sample], task: str) -> tuple[Sample, Suggestion]:
    return next((sample, one) for sample in samples for one in sample.suggestions if one.task == task)
