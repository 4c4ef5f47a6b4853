"""Examples in the API reference: requests about the sample images that the loaded model can answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twelvefold.server.schemas import FormOut
from twelvefold.serving.samples import Sample, Suggestion

FORM = "multipart/form-data"
POOL_SIZE = 4
"""Images to search in the example."""
DETECT, ANY_TASK = "/v1/pictures", "/v1/answer"


def make_examples(samples: Sequence[Sample], forms: Sequence[FormOut]) -> dict[str, dict[str, Any]]:
    """Return the form fields of an example request, by path; a path without a task of the model has none.

    ``forms``: the tabs of the model's tasks, whose placeholder is the text where no sample has a question.
    """
    examples: dict[str, dict[str, Any]] = {DETECT: {"picture": samples[0].name}}
    for form in forms:
        examples.setdefault(f"/v1/{form.method}", _example(samples, form))
    texts = [form for form in forms if form.input == "text"]
    if ANY_TASK not in examples and texts:
        form = texts[0].model_copy(update={"method": "answer", "field": "text", "takes_task": True})
        examples[ANY_TASK] = _example(samples, form)
    return examples


def add_examples(document: dict[str, Any], samples: Sequence[Sample], forms: Sequence[FormOut]) -> dict[str, Any]:
    """Add an example to the forms of an OpenAPI document, and to the path that contains a sample's name."""
    for path, example in make_examples(samples, forms).items():
        document["paths"][path]["post"]["requestBody"]["content"][FORM]["example"] = example
    [name] = document["paths"]["/v1/samples/{name}"]["get"]["parameters"]
    name["example"] = samples[0].name
    return document


def _example(samples: Sequence[Sample], form: FormOut) -> dict[str, Any]:
    task = form.tasks[0].name
    suggested = [(sample, each) for sample in samples for each in sample.suggestions if each.task == task]
    sample, suggestion = suggested[0] if suggested else (samples[0], Suggestion(task=task, text=form.example))
    names = list(dict.fromkeys([sample.name, suggestion.other or sample.name, *(each.name for each in samples)]))
    fields: dict[str, Any] = {**_pictures(form, names), **_texts(form, sample, suggestion)}
    if form.takes_task:
        fields["task"] = task
    if suggestion.boxes_px:
        fields["boxes"] = json.dumps(suggestion.boxes_px)
    return fields


def _pictures(form: FormOut, names: Sequence[str]) -> dict[str, Any]:
    if form.images is None:
        return {"pictures": names[:POOL_SIZE]}
    if form.method == "answer":
        return {"pictures": names[: form.images]}
    return {"picture_a": names[0], "picture_b": names[1]} if form.images == 2 else {"picture": names[0]}


def _texts(form: FormOut, sample: Sample, suggestion: Suggestion) -> dict[str, Any]:
    text = suggestion.text or form.label
    if form.input == "texts":
        return {"texts": json.dumps([each.text for each in sample.suggestions if each.text][:3])}
    if form.input == "dialogue":
        return {form.field: json.dumps(suggestion.dialogue or [(form.example, "Yes")])}
    if form.input == "phrases":
        phrases = [each.text for each in sample.suggestions if each.task == suggestion.task][:2] or [text]
        return {"caption": " and ".join(phrases), "phrases": json.dumps(phrases)}
    return {form.field: text}
