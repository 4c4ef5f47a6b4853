"""The suggestions of the samples are questions that the shipped model answers correctly."""

from __future__ import annotations

import pytest
from tools.make_samples import MIN_MARGIN, answers_correctly

import twelvefold
from twelvefold.images import load_image
from twelvefold.serving.samples import load_samples

pytestmark = pytest.mark.slow


def test_the_shipped_model_answers_every_suggestion_correctly() -> None:
    samples, predictor = load_samples(), twelvefold.load()
    images = {sample.name: load_image(sample.path) for sample in samples}
    wrong = [
        (sample.name, question.task, question.text or question.dialogue)
        for sample in samples
        for question in sample.suggestions
        if not answers_correctly(predictor, images, sample.name, question)
    ]
    assert wrong == []
    assert MIN_MARGIN > 0


def test_every_task_has_suggestions() -> None:
    tasks = {question.task for sample in load_samples() for question in sample.suggestions}
    assert tasks == set(twelvefold.load().about.tasks)
