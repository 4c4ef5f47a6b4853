"""Score a model on a task's examples: a trained model, a baseline, or one of your own.

The families define what a right answer is (``families``). This module only iterates over the examples. All models
are therefore scored by the same code on the same examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.data.retrieval_pool import RetrievalPool
from twelvefold.data.task_batches import TaskBatches, evenly_spaced
from twelvefold.evaluation.bootstrap import RESAMPLES, bootstrap95
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES, PredictionRecord
from twelvefold.evaluation.reliability import measure_reliability
from twelvefold.evaluation.scores import QuestionTypeScore, Reliability, TaskScore, TextRetrievalScore
from twelvefold.families import load_family, retrieval
from twelvefold.families.shared.labels import require_target
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.schema import CONSISTENCY_ONLY, Example, ExamplePrediction, TaskSpec

CPU = torch.device("cpu")

VERSION = 4
"""Version of the results of this module. Increase it when a change gives other results: tasks are then scored again."""


class ScoredModel(Protocol):
    """What :func:`score_task` scores."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return the logits of the batch's task, in the shape of its family."""

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        """Return the (N, M) scores of every caption with every image. Called for retrieval tasks only."""


@dataclass(slots=True)
class TaskResult:
    """Predictions and scores of a task, example by example; all lists have the same order.

    uncalibrated_confidences: probability of the best answer without the temperature; 0 if there is no answer.
    text_ranks: of retrieval tasks, the rank of each image's best caption among all captions, (M,) int64.
    """

    task: TaskSpec
    records: list[PredictionRecord] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    extra_metrics: dict[str, float] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    text_ranks: Tensor | None = None
    temperature: float = 1.0
    uncalibrated_confidences: list[float] = field(default_factory=list)

    @property
    def example_scores(self) -> NDArray[np.float64]:
        """Scores in 0..1, (n,), without examples whose label is withheld or that only the consistency metric uses."""
        return np.array([self.records[i].score for i in self._scored_indices()], dtype=np.float64)

    def task_score(self, split: str, *, resamples: int = RESAMPLES) -> TaskScore:
        """Return the mean score in percent, its interval, and the score of every question type; None for the score
        and the interval if the labels of all examples are withheld."""
        indices, scores = self._scored_indices(), self.example_scores
        unlabeled = sum(record.score is None for record in self.records)
        if not indices:
            return TaskScore(self.task.metric, split, score=None, n=0, ci95=None, unlabeled=unlabeled)
        low, high = bootstrap95(scores, [str(self.examples[i].pairs[0].image) for i in indices], resamples=resamples)
        by_type: dict[str, list[float]] = defaultdict(list)
        for i, score in zip(indices, scores, strict=True):
            by_type[self.examples[i].question_type].append(float(score))
        return TaskScore(
            metric=self.task.metric,
            split=split,
            score=_percent(scores.mean()),
            n=len(scores),
            ci95=(_percent(low), _percent(high)),
            by_question_type={
                name: QuestionTypeScore(_percent(np.mean(s)), len(s)) for name, s in sorted(by_type.items()) if name
            },
            extra_metrics={name: _percent(value) for name, value in self.extra_metrics.items()},
            reliability=self._reliability(),
            limitations=tuple(self.limitations),
            text_retrieval=self._text_retrieval(resamples),
            unlabeled=unlabeled,
        )

    def append(
        self,
        examples: Sequence[Example],
        predictions: Sequence[ExamplePrediction],
        uncalibrated: Sequence[ExamplePrediction],
        scores: Sequence[float | None],
        ranks: Sequence[int | None],
    ) -> None:
        """Add the predictions of a batch. ``uncalibrated``: the predictions without the temperature."""
        self.examples += examples
        for prediction, score, rank in zip(predictions, scores, ranks, strict=True):
            self.records.append(
                PredictionRecord(prediction.example_id, prediction.task, score, prediction.ranked, rank)
            )
        self.uncalibrated_confidences += [p.best.probability if p.ranked else 0.0 for p in uncalibrated]

    def _text_retrieval(self, resamples: int) -> TextRetrievalScore | None:
        if self.text_ranks is None or not len(self.text_ranks):
            return None
        recalls = {f"recall_at_{k}": _percent(retrieval.recall_at(self.text_ranks, k)) for k in retrieval.RECALLS}
        metric = next(iter(recalls))
        images = [str(image) for image in range(len(self.text_ranks))]  # an image is one value and one cluster
        low, high = bootstrap95((self.text_ranks == 0).numpy(), images, resamples=resamples)
        return TextRetrievalScore(
            metric=metric,
            score=recalls.pop(metric),
            n=len(images),
            captions=len(self.records),
            ci95=(_percent(low), _percent(high)),
            extra_metrics=recalls,
        )

    def _reliability(self) -> Reliability | None:
        answered = [i for i in self._scored_indices() if self.records[i].ranked]
        if not answered:
            return None
        return measure_reliability(
            self.temperature,
            [self.records[i].ranked[0].probability for i in answered],
            [self.uncalibrated_confidences[i] for i in answered],
            [self.records[i].score or 0.0 for i in answered],
        )

    def _scored_indices(self) -> list[int]:
        return [
            i
            for i, record in enumerate(self.records)
            if record.score is not None and self.examples[i].question_type != CONSISTENCY_ONLY
        ]


@torch.inference_mode()
def score_task(
    model: ScoredModel,
    data: TaskBatches,
    *,
    max_examples: int = 0,
    pool: int = 0,
    batch_size: int = 128,
    temperature: float = 1.0,
    device: torch.device = CPU,
) -> TaskResult:
    """Score ``model`` on the table behind ``data``.

    Args:
        model: Called with batches on ``device``.
        data: The task's examples.
        max_examples: Number of examples, evenly spaced over the table; 0 means all.
        pool: Number of images that a caption is searched in (retrieval); 0 means every image of the table.
        batch_size: Examples in a batch; retrieval has ``retrieval_pool.CAPTION_BATCH_SIZE``.
        temperature: Divides the logits before the probabilities; changes no score.
        device: Device of the model.
    """
    result = TaskResult(data.task, temperature=temperature)
    family = load_family(data.task.family)
    if family.searches_images:
        _score_retrieval(result, model, RetrievalPool.with_all_captions(data, pool, max_examples), device)
        return result
    indices = scored_indices(data, max_examples)
    consistency_only = [] if max_examples else range(len(indices), len(data.table))
    for block, batch in _batches(data, [*indices, *consistency_only], batch_size):
        logits = model(batch.to(device)).cpu()
        scores = [None] * len(block) if batch.target is None else family.score(logits, batch).tolist()
        predictions = family.decode(logits, batch, data.head, temperature=temperature)
        result.append(block, predictions, family.decode(logits, batch, data.head, top=1), scores, [None] * len(block))
    best = [record.ranked[0] if record.ranked else None for record in result.records]
    example_scores = [record.score for record in result.records]
    result.extra_metrics = family.extra_metrics(result.examples, best, example_scores)
    result.limitations = family.limitations(result.examples, example_scores)
    return result


def scored_indices(data: TaskBatches, max_examples: int) -> list[int]:
    """Return the indices of the examples that count for the score: ``max_examples``, evenly spaced; 0 means all."""
    count = len(data.table)
    while count and data.table[count - 1].question_type == CONSISTENCY_ONLY:  # they come last
        count -= 1
    indices: list[int] = evenly_spaced(count, max_examples).tolist()
    return indices


def _batches(data: TaskBatches, indices: Sequence[int], size: int) -> Iterator[tuple[list[Example], Batch]]:
    for start in range(0, len(indices), size):
        block = indices[start : start + size]
        yield [data.table[i] for i in block], data.batch(block)


def _score_retrieval(result: TaskResult, model: ScoredModel, pool: RetrievalPool, device: torch.device) -> None:
    """Rank the whole pool for every caption, and all captions for every image of the pool.

    Paper: image retrieval, R@1 on "the 1K test set" (Tables 2 and 4).
    """
    images, names, task = pool.image_batch.to(device), [str(key) for key in pool.images], result.task.name
    all_scores: list[Tensor] = []
    all_ranks: list[Tensor] = []
    for batch in pool.caption_batches():
        scores = model.alignments(batch.to(device), images).float().cpu()
        ranks = retrieval.rank_true_images(scores, require_target(batch))
        ids = batch.example_ids
        predictions = decode_names(scores, ids, names, task, MAX_RANKED_IMAGES, result.temperature)
        uncalibrated = decode_names(scores, ids, names, task, top=1)
        examples = [pool.data.table[i] for i in pool.captions[len(result.examples) :][: len(ids)].tolist()]
        result.append(examples, predictions, uncalibrated, (ranks == 0).float().tolist(), ranks.tolist())
        all_scores.append(scores)
        all_ranks.append(ranks)
    joined = torch.cat(all_ranks)
    result.extra_metrics = {f"recall_at_{k}": retrieval.recall_at(joined, k) for k in retrieval.RECALLS[1:]}
    result.text_ranks = retrieval.rank_true_texts(torch.cat(all_scores), torch.from_numpy(pool.true_images))


def _percent(share: float | np.floating) -> float:
    return round(100.0 * float(share), 2)
