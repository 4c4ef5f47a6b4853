"""Text retrieval is scored from the scores of image retrieval, with an interval, and is part of no average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.evaluation.score import score_task
from twelvefold.evaluation.scores import Scores
from twelvefold.store.prepared import Prepared

if TYPE_CHECKING:
    from tests.training.conftest import Toy


class RandomScores:
    """A model that scores every caption with every image by a random number, and keeps the scores."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, batch: Batch) -> Tensor:
        raise AssertionError("no other pass is needed")

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        self.rows.append(torch.rand(len(captions.example_ids), len(images.example_ids), generator=self.generator))
        return self.rows[-1]


@pytest.fixture
def captions(toy: Toy) -> TaskBatches:
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    return TaskBatches.open(prepared, regions, prepared.task("flickr30k"), "train")  # more than one caption an image


def test_text_retrieval_needs_no_second_pass_and_counts_any_caption(captions: TaskBatches) -> None:
    model = RandomScores()
    result = score_task(model, captions)
    task = result.task_score("test", resamples=200)
    text = task.text_retrieval
    assert text is not None
    matrix = torch.cat(model.rows)
    keys, image_of_caption = captions.table.first_images()
    assert matrix.shape == (len(captions), len(keys))  # every pair was scored once
    best_captions = image_of_caption[matrix.argsort(dim=0, descending=True).numpy()]
    for k, score in (1, text.score), (5, text.extra_metrics["recall_at_5"]), (10, text.extra_metrics["recall_at_10"]):
        hits = [image in best_captions[:k, image] for image in range(len(keys))]
        assert score == pytest.approx(100 * np.mean(hits), abs=0.01)
    assert (text.metric, text.n, text.captions) == ("recall_at_1", len(keys), len(captions))
    assert text.ci95[0] <= text.score <= text.ci95[1]
    assert text.extra_metrics["recall_at_10"] > text.score
    assert Scores({"flickr30k": task}, "latest", 1.0, 1.0).average == task.score  # the paper's: image retrieval, R@1


def test_limited_captions_are_the_only_texts(captions: TaskBatches) -> None:
    text = score_task(RandomScores(), captions, max_examples=7).task_score("test").text_retrieval
    assert text is not None
    assert (text.captions, text.n <= 7) == (7, True)
