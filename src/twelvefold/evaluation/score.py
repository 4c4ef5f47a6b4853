"""Score anything that can answer on a task's examples: the trained model, a blind one, one of your own.

The families say what is right (``families``); this module only walks over the examples, so every answerer is
judged by the same code on the same examples.
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

from twelvefold import boxes, families
from twelvefold.batch import Batch
from twelvefold.data.collate import pictures_alone
from twelvefold.data.task_loader import TaskBatches, spread
from twelvefold.evaluation.bootstrap import RESAMPLES, bootstrap95
from twelvefold.evaluation.predictions import Line
from twelvefold.evaluation.reliability import reliability
from twelvefold.evaluation.scores import KindScore, Reliability, TaskScore
from twelvefold.families import answers, retrieval, verification
from twelvefold.schema import CONSISTENCY_ONLY, Example, Prediction, TargetBox, TaskSpec

CAPTIONS_AT_ONCE = 4
"""Captions scored together against the whole pool; four keep 200 pictures at about a thousand rows."""

FOUND = 20
"""Pictures kept for a caption, best first. Source: the original project's result files."""


class Answerer(Protocol):
    """What can be scored: logits for a batch, and for retrieval tasks every caption against every picture."""

    def __call__(self, batch: Batch) -> Tensor:
        """Logits of the batch's task, of its family's shape."""

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        """(N, M): how well each caption of one batch goes with each picture of the other."""


@dataclass(slots=True)
class Outcome:
    """What an answerer said of a task's examples and how right it was, example by example, in one order.
    ``raw``: how sure of the best answer without the temperature; 0 where there is none."""

    task: TaskSpec
    lines: list[Line] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    also: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    raw: list[float] = field(default_factory=list)

    @property
    def right(self) -> NDArray[np.float64]:
        """(n,) in 0..1: the examples that count, so none whose label is withheld or that only consistency needs."""
        return np.array([self.lines[i].score for i in self._counted()], dtype=np.float64)

    def task_score(self, split: str, *, resamples: int = RESAMPLES) -> TaskScore:
        """The mean score in percent, with its interval and the score of every kind of example."""
        known, right = self._counted(), self.right
        low, high = bootstrap95(right, [self.pictures[i] for i in known], resamples=resamples)
        by_kind: dict[str, list[float]] = defaultdict(list)
        for i, score in zip(known, right, strict=True):
            by_kind[self.kinds[i]].append(float(score))
        return TaskScore(
            metric=self.task.metric,
            split=split,
            score=_percent(right.mean()) if len(right) else float("nan"),
            n=len(right),
            ci95=(_percent(low), _percent(high)),
            by_kind={kind: KindScore(_percent(np.mean(s)), len(s)) for kind, s in sorted(by_kind.items()) if kind},
            also={name: _percent(value) for name, value in self.also.items()},
            reliability=self._reliability(),
        )

    def _reliability(self) -> Reliability | None:
        answered = [i for i in self._counted() if self.lines[i].ranked]
        if not answered:
            return None
        return reliability(
            self.temperature,
            [self.lines[i].ranked[0].probability for i in answered],
            [self.raw[i] for i in answered],
            [self.lines[i].score or 0.0 for i in answered],
        )

    def _counted(self) -> list[int]:
        return [i for i, line in enumerate(self.lines) if line.score is not None and self.kinds[i] != CONSISTENCY_ONLY]


@torch.inference_mode()
def score_task(
    answerer: Answerer,
    data: TaskBatches,
    *,
    max_examples: int = 0,
    pool: int = 0,
    batch_size: int = 128,
    temperature: float = 1.0,
) -> Outcome:
    """Score ``answerer`` on the table behind ``data``.

    ``max_examples``: so many of them, spread evenly over the table; 0: all. ``pool``: pictures that a caption is
    searched in (retrieval); 0: every picture of the table. ``temperature``: moves probabilities, no score.
    """
    if data.task.family == "retrieval":
        return _search(answerer, data, max_examples, pool, temperature)
    outcome = Outcome(data.task, temperature=temperature)
    family = families.of(data.task.family)
    examples: list[Example] = []
    counted = scored_places(data, max_examples)
    only_entailed = [] if max_examples else range(len(counted), len(data.table))
    for block, batch in _batches(data, [*counted, *only_entailed], batch_size):
        logits = answerer(batch)
        scores = [None] * len(block) if batch.target is None else family.score(logits, batch).tolist()
        _note(outcome, block, family.decode(logits, batch, data.head, temperature=temperature), scores)
        outcome.raw += map(_sureness, family.decode(logits, batch, data.head, top=1))
        examples += block
    outcome.also = _further(outcome, examples)
    return outcome


def scored_places(data: TaskBatches, max_examples: int) -> list[int]:
    """The places of the examples that count for the score, at most so many, spread evenly; 0: all of them."""
    count = len(data.table)
    while count and data.table[count - 1].question_type == CONSISTENCY_ONLY:  # they come last
        count -= 1
    places: list[int] = spread(count, max_examples).tolist()
    return places


def _batches(data: TaskBatches, places: Sequence[int], size: int) -> Iterator[tuple[list[Example], Batch]]:
    for start in range(0, len(places), size):
        chosen = places[start : start + size]
        yield [data.table[i] for i in chosen], data.batch(chosen)


def _search(answerer: Answerer, data: TaskBatches, max_examples: int, pool: int, temperature: float) -> Outcome:
    """Rank the whole pool for every caption. Paper: R@1 over 1,000 pictures (Table 2)."""
    keys, of_example = data.table.images()
    keys = keys[:pool] if pool else keys
    captions = np.flatnonzero(of_example < len(keys))
    chosen: list[int] = captions[spread(len(captions), max_examples)].tolist()
    images = pictures_alone(keys, data.source, data.task, data.head)
    outcome = Outcome(data.task, temperature=temperature)
    ranks: list[Tensor] = []
    names = [str(key) for key in keys]
    for block, batch in _batches(data, chosen, CAPTIONS_AT_ONCE):
        scores = answerer.alignments(batch, images).float()
        true = torch.tensor([int(of_example[i]) for i in chosen[len(outcome.lines) : len(outcome.lines) + len(block)]])
        rank = retrieval.ranks(scores.cpu(), true)
        ids, task = batch.example_ids, data.task.name
        predictions = retrieval.decode_pool(scores, ids, names, task, FOUND, temperature)
        outcome.raw += map(_sureness, retrieval.decode_pool(scores, ids, names, task, top=1))
        _note(outcome, block, predictions, (rank == 0).float().tolist(), rank.tolist())
        ranks.append(rank)
    everything = torch.cat(ranks)
    outcome.also = {f"recall_at_{k}": retrieval.recall_at(everything, k) for k in (5, 10)}
    return outcome


def _note(
    outcome: Outcome,
    block: Sequence[Example],
    predictions: Sequence[Prediction],
    scores: Sequence[float | None],
    ranks: Sequence[int | None] = (),
) -> None:
    for example, prediction, score, rank in zip(block, predictions, scores, ranks or [None] * len(block), strict=True):
        outcome.lines.append(Line.of(prediction, score, rank))
        outcome.kinds.append(example.question_type)
        outcome.pictures.append(str(example.pairs[0].image))


def _further(outcome: Outcome, examples: Sequence[Example]) -> dict[str, float]:
    """Figures beside the score: consistency where examples hang together, the original project's overlap rule."""
    right = {line.id: line.score for line in outcome.lines if line.score is not None}
    also: dict[str, float] = {}
    entailed = answers.consistency(right, {e.id: e.linked for e in examples}).scores
    if entailed:
        also["consistency"] = float(np.mean(list(entailed.values())))
    group = {e.id: e.group for e in examples if e.group}
    together = verification.consistency({id_: score for id_, score in right.items() if id_ in group}, group)
    if together:
        also["consistency"] = float(np.mean(list(together.values())))
    hits = [
        _original_hit(line, example.label)
        for line, example in zip(outcome.lines, examples, strict=True)
        if isinstance(example.label, TargetBox)
    ]
    if hits:
        also["iou_above_0.5_original"] = float(np.mean(hits))
    return also


def _original_hit(line: Line, label: TargetBox) -> bool:
    if not line.ranked or line.ranked[0].box_px is None:
        return False
    return bool(boxes.is_hit(boxes.iou([line.ranked[0].box_px], [label.box_px], "original")[0, 0], "original"))


def _sureness(prediction: Prediction) -> float:
    return prediction.best.probability if prediction.ranked else 0.0


def _percent(share: float | np.floating) -> float:
    return round(100.0 * float(share), 2)
