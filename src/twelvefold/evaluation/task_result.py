"""Predictions of a model on all examples of a task, and the task's score with its interval and other metrics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.evaluation.bootstrap import RESAMPLES, bootstrap95
from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.evaluation.reliability import measure_reliability
from twelvefold.evaluation.scores import QuestionTypeScore, Reliability, ShortlistUse, TaskScore, TextRetrievalScore
from twelvefold.families import retrieval
from twelvefold.schema import CONSISTENCY_ONLY, Example, TaskSpec


@dataclass(slots=True)
class TaskResult:
    """Predictions and scores of a task, example by example; all lists have the same order.

    uncalibrated_confidences: probability of the best answer without the temperature; 0 if there is no answer.
    text_ranks: of retrieval tasks, the rank of each image's best caption among all captions, (M,) int64.
    shortlist: None if every caption was compared with every image.
    """

    task: TaskSpec
    records: list[PredictionRecord] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    extra_metrics: dict[str, float] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    text_ranks: Tensor | None = None
    shortlist: ShortlistUse | None = None
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
            limitations=(*self.limitations, *_describe_unlabeled(unlabeled, len(self.records))),
            text_retrieval=self._text_retrieval(resamples),
            unlabeled=unlabeled,
            shortlist=self.shortlist,
        )

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


def _describe_unlabeled(unlabeled: int, total: int) -> list[str]:
    verb = "has" if unlabeled == 1 else "have"
    return [f"{unlabeled:,} of {total:,} examples {verb} no label and are not scored"] if unlabeled else []


def _percent(share: float | np.floating) -> float:
    return round(100.0 * float(share), 2)
