"""Examples in the API reference: questions about the sample images, which every server can answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twelvefold.config import default_tasks
from twelvefold.serving.samples import Sample

FORM = "multipart/form-data"
POOL_SIZE = 4
"""Images to search in the example."""


def make_examples(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Return the form fields of an example request, by path."""
    questions = [(sample.name, question) for sample in samples for question in sample.suggestions]

    def example(task: str, text_field: str) -> dict[str, Any]:
        name, question = next((name, each) for name, each in questions if each.task == task)
        pictures = {"picture_a": name, "picture_b": question.other} if question.other else {"picture": name}
        boxes = {"boxes": json.dumps(question.boxes_px)} if question.boxes_px else {}
        return {**pictures, text_field: question.text or json.dumps(question.dialogue), **boxes}

    ask, point = example(default_tasks.ASK, "question"), example(default_tasks.POINT, "phrase")
    find = example(default_tasks.FIND, "text")
    first = find.pop("picture")
    find["pictures"] = [first, *(sample.name for sample in samples if sample.name != first)][:POOL_SIZE]
    sample = point["picture"]
    phrases = [each.text for name, each in questions if (name, each.task) == (sample, default_tasks.POINT)][:2]
    return {
        "/v1/pictures": {"picture": ask["picture"]},
        "/v1/ask": ask,
        "/v1/find": find,
        "/v1/point": point,
        "/v1/choose": example(default_tasks.CHOOSE, "question"),
        "/v1/guess": example(default_tasks.GUESS, "dialogue"),
        "/v1/compare": example(default_tasks.COMPARE, "statement"),
        "/v1/entails": example(default_tasks.ENTAILS, "statement"),
        "/v1/ground": {"picture": sample, "caption": " and ".join(phrases), "phrases": json.dumps(phrases)},
    }


def add_examples(document: dict[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """Add an example to every form of an OpenAPI document, and to the path that contains a sample's name."""
    for path, example in make_examples(samples).items():
        document["paths"][path]["post"]["requestBody"]["content"][FORM]["example"] = example
    [name] = document["paths"]["/v1/samples/{name}"]["get"]["parameters"]
    name["example"] = samples[0].name
    return document
