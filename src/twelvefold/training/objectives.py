"""What the loop teaches: a task, or the hidden words and regions of a caption set, as batches, a loss and exams.

The loop knows no more of either than :class:`Task` says. Paper: section 2.1 (the twelve), 3.1 (pretraining).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from twelvefold import families
from twelvefold.batch import Batch, MaskedBatch
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches, evenly_spaced
from twelvefold.families import grounding, retrieval
from twelvefold.model import Model, pretraining
from twelvefold.schema import TaskSpec
from twelvefold.store.prepared import Prepared

CAPTIONS_AT_ONCE = 4
"""Captions searched together in the whole pool, as in scoring."""
TOLD = ("words", "regions", "alignment")
"""What pretraining is judged by: the mean of these three accuracies is its score. They are what it trains, so the best
checkpoint is the one that has learnt most of it; the search in the pool is for people to see."""
RECALLS = (1, 5, 10)


class Teaching(Protocol):
    """Batches to learn from, without end."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every example has come once: the paper's n_t."""

    def train_batch(self, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        """This rank's part of the batch of ``step``."""


@dataclass(frozen=True, slots=True)
class Exam:
    """A part of a validation. ``batches(size, rank, ranks)``: this rank's share of it. ``score``: of a batch, for each
    of ``measures`` a (n,) tensor in 0..1, whose mean over all batches is what is measured."""

    measures: tuple[str, ...]
    batches: Callable[[int, int, int], Iterator[Batch]]
    score: Callable[[Model, Batch], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Task:
    """One task while it is learnt.

    loss: of a batch, its mean loss and the logits behind it, a block of rows for each example, to find the example
    whose numbers are not finite. judged: the measures whose mean is the task's score. scale multiplies the loss.
    """

    spec: TaskSpec
    train: Teaching
    loss: Callable[[Model, Batch], tuple[Tensor, Tensor]]
    exams: tuple[Exam, ...]
    judged: tuple[str, ...]
    scale: float


def lesson(recipe: Recipe, spec: TaskSpec, scale: float, prepared: Prepared, regions: RegionSource) -> Task:
    """One of the twelve, or a task of one's own: its family's loss and score."""
    family = families.of(spec.family)
    of_logits = family.loss
    if spec.family == "grounding":
        of_logits = partial(grounding.loss, form=recipe.training.grounding_loss)

    def loss(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch)
        return of_logits(logits, batch), logits

    def score(model: Model, batch: Batch) -> list[Tensor]:
        return [family.score(model(batch), batch)]

    open_batches = partial(TaskBatches.open, prepared, regions, spec, seed=recipe.seed)
    train, val = open_batches("train"), open_batches("val", limit=recipe.training.validation_examples)
    return Task(spec, train, loss, (Exam(("score",), val.eval_batches, score),), ("score",), scale)


def masked_lesson(
    choice: PretrainingConfig,
    pieces: Sequence[int],
    recipe: Recipe,
    spec: TaskSpec,
    scale: float,
    prepared: Prepared,
    regions: RegionSource,
) -> Task:
    """A caption set to pretrain on: hidden words, hidden regions and whether the caption belongs to the picture.

    Validation hides what the paper hides, whatever the recipe's two changes say, so that runs with and without them
    compare. Differs: the original's validation tells words and regions of swapped pairs too.
    """

    def loss(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        masked, columns, logits = _told(model, batch)
        return pretraining.loss(logits, masked, columns, region_weight=choice.region_loss_weight), logits.alignment

    train = MaskedBatches.open(prepared, regions, spec, pieces, choice, seed=recipe.seed)
    captions = TaskBatches.open(prepared, regions, spec, "val", limit=recipe.training.validation_examples)
    as_in_paper = msgspec.structs.replace(choice, mask_overlapping=True, predict_on_mismatched=False)
    val = MaskedBatches(captions, pieces, as_in_paper)
    exams = (
        Exam(TOLD, val.eval_batches, told_right),
        search(TaskBatches.open(prepared, regions, spec, "val"), choice.retrieval_pool),
    )
    return Task(spec, train, loss, exams, TOLD, scale)


def told_right(model: Model, batch: Batch) -> Sequence[Tensor]:
    """The three of :data:`TOLD` for a masked batch: 1 where a word, a region, an alignment is told right, else 0."""
    masked, columns, logits = _told(model, batch)
    return pretraining.accuracies(logits, masked, columns)


def _told(model: Model, batch: Batch) -> tuple[MaskedBatch, Tensor, pretraining.PretrainingLogits]:
    """The batch, the columns of its hidden words, and the logits of what is hidden."""
    masked = cast(MaskedBatch, batch)
    logits = model.pretraining_logits(masked, masked.predict_tokens, masked.predict_regions)
    return masked, model.trunk.text_embeddings.token_to_row[masked.token_labels], logits


def search(captions: TaskBatches, pool: int) -> Exam:
    """Caption-based image retrieval by the alignment head alone: the first caption of each of ``pool`` pictures (0:
    all), evenly spaced over the split, against all of them. Paper: the zero-shot setting of ViLBERT."""
    _, firsts = np.unique(captions.table.first_images()[1], return_index=True)
    places = np.sort(firsts)[evenly_spaced(len(firsts), pool)]
    images = cache(lambda: captions.batch(places.tolist()))
    column = {captions.table[int(place)].id: i for i, place in enumerate(places)}

    def batches(size: int, rank: int, ranks: int) -> Iterator[Batch]:
        part = np.array_split(places, ranks)[rank]
        for start in range(0, len(part), CAPTIONS_AT_ONCE):
            yield captions.batch(part[start : start + CAPTIONS_AT_ONCE].tolist())

    def score(model: Model, batch: Batch) -> list[Tensor]:
        scores = model.zero_shot_alignments(batch, images().to(batch.features.device))
        true = torch.tensor([column[id_] for id_ in batch.example_ids], device=scores.device)
        ranks = retrieval.ranks(scores, true)
        return [(ranks < k).float() for k in RECALLS]

    return Exam(tuple(f"recall_at_{k}" for k in RECALLS), batches, score)
