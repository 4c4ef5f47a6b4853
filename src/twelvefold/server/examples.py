"""Examples in the API reference: questions about the sample images, which every server can answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twelvefold.config import default_tasks
from twelvefold.serving.samples import Sample, Suggestion

FORM = "multipart/form-data"
POOL_SIZE = 4
"""Images to search in the example."""


def make_examples(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Return the form fields of an example request, by path."""
    sample, question = _first_suggestion(samples, default_tasks.ASK)
    point_sample, phrase = _first_suggestion(samples, default_tasks.POINT)
    choose_sample, which_question = _first_suggestion(samples, default_tasks.CHOOSE)
    guess_sample, dialogue = _first_suggestion(samples, default_tasks.GUESS)
    left_sample, comparison = _first_suggestion(samples, default_tasks.COMPARE)
    entails_sample, statement = _first_suggestion(samples, default_tasks.ENTAILS)
    find_sample, caption = _first_suggestion(samples, default_tasks.FIND)
    pool = [find_sample.name, *(each.name for each in samples if each is not find_sample)][:POOL_SIZE]
    phrases = [each.text for each in point_sample.suggestions if each.task == default_tasks.POINT][:2]
    return {
        "/v1/pictures": {"picture": sample.name},
        "/v1/ask": {"picture": sample.name, "question": question.text},
        "/v1/find": {"pictures": pool, "text": caption.text},
        "/v1/point": {"picture": point_sample.name, "phrase": phrase.text},
        "/v1/choose": {
            "picture": choose_sample.name,
            "question": which_question.text,
            "boxes": json.dumps(which_question.boxes_px),
        },
        "/v1/guess": {
            "picture": guess_sample.name,
            "dialogue": json.dumps(dialogue.dialogue),
            "boxes": json.dumps(dialogue.boxes_px),
        },
        "/v1/compare": {
            "picture_a": left_sample.name,
            "picture_b": comparison.other,
            "statement": comparison.text,
        },
        "/v1/entails": {"picture": entails_sample.name, "statement": statement.text},
        "/v1/ground": {
            "picture": point_sample.name,
            "caption": " and ".join(phrases),
            "phrases": json.dumps(phrases),
        },
    }


def add_examples(document: dict[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """Add an example to every form of an OpenAPI document, and to the path that contains a sample's name."""
    for path, example in make_examples(samples).items():
        document["paths"][path]["post"]["requestBody"]["content"][FORM]["example"] = example
    [name] = document["paths"]["/v1/samples/{name}"]["get"]["parameters"]
    name["example"] = samples[0].name
    return document


def _first_suggestion(samples: Sequence[Sample], task: str) -> tuple[Sample, Suggestion]:
    return next((sample, each) for sample in samples for each in sample.suggestions if each.task == task)
