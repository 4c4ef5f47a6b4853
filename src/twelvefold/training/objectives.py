"""Training objectives: one of the twelve tasks, or masked pretraining on a caption set.

The training loop uses only the fields of :class:`Objective`. Paper: sections 2.1 (tasks) and 3.1 (pretraining).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from twelvefold.batch import Batch, MaskedBatch
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import CAPTION_BATCH_SIZE, TaskBatches, evenly_spaced
from twelvefold.families import load_family, retrieval
from twelvefold.model import Model, pretraining
from twelvefold.schema import TaskSpec
from twelvefold.store.prepared import Prepared

METRICS = ("words", "regions", "alignment")
"""Accuracies of pretraining. Their mean is its validation score: they measure what is trained, so the best checkpoint
is the one that learned most of it. Recall in zero-shot retrieval is only reported."""
RECALLS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A part of validation.

    ``batches(batch_size, shard, num_shards)`` yields the batches of a shard of the examples. ``score(model, batch)``
    returns for each of ``metrics`` a tensor (n,) in 0..1; the metric is its mean over all batches.
    """

    metrics: tuple[str, ...]
    batches: Callable[[int, int, int], Iterator[Batch]]
    score: Callable[[Model, Batch], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Objective:
    """What is trained and validated in a task's turn.

    ``loss(model, batch)`` returns the mean loss of a batch and the logits from which it was computed, with the same
    number of rows for each example, so that examples with non-finite logits can be named. The validation score is the
    mean of ``score_metrics``.
    """

    spec: TaskSpec
    train_batches: TaskBatches | MaskedBatches
    loss: Callable[[Model, Batch], tuple[Tensor, Tensor]]
    evaluators: tuple[Evaluator, ...]
    score_metrics: tuple[str, ...]


def make_objective(
    recipe: Recipe, spec: TaskSpec, prepared: Prepared, regions: RegionSource, word_pieces: Sequence[int]
) -> Objective:
    """Return the objective of a task: its family's loss and score, or pretraining if the recipe has it.

    ``word_pieces`` are the ids that have an embedding; pretraining replaces tokens by others of these.

    Raises:
        TwelvefoldError: the recipe pretrains, and the task has no captions or its regions no class probabilities.
    """
    if recipe.pretraining is not None:
        return _pretraining_objective(recipe, recipe.pretraining, spec, prepared, regions, word_pieces)
    family = load_family(spec.family)

    def loss(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch)
        return family.loss(logits, batch, recipe.training), logits

    def score(model: Model, batch: Batch) -> list[Tensor]:
        return [family.score(model(batch), batch)]

    open_batches = partial(TaskBatches.open, prepared, regions, spec, seed=recipe.seed)
    train, val = open_batches("train"), open_batches("val", limit=recipe.training.validation_examples)
    return Objective(spec, train, loss, (Evaluator(("score",), val.eval_batches, score),), ("score",))


def _pretraining_objective(
    recipe: Recipe,
    config: PretrainingConfig,
    spec: TaskSpec,
    prepared: Prepared,
    regions: RegionSource,
    word_pieces: Sequence[int],
) -> Objective:
    """Masked tokens, masked regions and alignment on a caption set.

    Validation always masks as the paper does, whatever ``mask_overlapping`` and ``predict_on_mismatched`` say, so that
    runs with different values compare. Differs: the original's validation also predicts tokens and regions of
    mismatched pairs.
    """

    def loss(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        masked, token_rows, logits = _masked_logits(model, batch)
        return pretraining.loss(logits, masked, token_rows, region_weight=config.region_loss_weight), logits.alignment

    train = MaskedBatches.open(prepared, regions, spec, word_pieces, config, seed=recipe.seed)
    captions = TaskBatches.open(prepared, regions, spec, "val", limit=recipe.training.validation_examples)
    paper_masking = msgspec.structs.replace(config, mask_overlapping=True, predict_on_mismatched=False)
    val = MaskedBatches(captions, word_pieces, paper_masking)
    pool = TaskBatches.open(prepared, regions, spec, "val")
    evaluators = (
        Evaluator(METRICS, val.eval_batches, masked_accuracies),
        retrieval_evaluator(pool, config.retrieval_pool),
    )
    return Objective(spec, train, loss, evaluators, METRICS)


def masked_accuracies(model: Model, batch: Batch) -> Sequence[Tensor]:
    """Return the three :data:`METRICS` of a masked batch: 1 where a prediction is right, 0 elsewhere.

    The tensors have one entry for each token to predict, region to predict, and pair.
    """
    masked, token_rows, logits = _masked_logits(model, batch)
    return pretraining.accuracies(logits, masked, token_rows)


def _masked_logits(model: Model, batch: Batch) -> tuple[MaskedBatch, Tensor, pretraining.PretrainingLogits]:
    """Return the batch, the embedding rows of the tokens to predict (M,), and the logits of what to predict."""
    masked = cast(MaskedBatch, batch)
    logits = model.pretraining_logits(masked, masked.predict_tokens, masked.predict_regions)
    return masked, model.trunk.text_embeddings.token_to_row[masked.token_labels], logits


def retrieval_evaluator(captions: TaskBatches, pool: int) -> Evaluator:
    """Return an evaluator of zero-shot caption-based image retrieval with the alignment head.

    ``pool`` images (0: all), evenly spaced over the split, are ranked for the first caption of each of them.
    Paper: the zero-shot setting of ViLBERT.
    """
    _, first_captions = np.unique(captions.table.first_images()[1], return_index=True)
    indices = np.sort(first_captions)[evenly_spaced(len(first_captions), pool)]
    images = cache(lambda: captions.batch(indices.tolist()))
    columns = {captions.table[int(index)].id: column for column, index in enumerate(indices)}

    def batches(batch_size: int, shard: int, num_shards: int) -> Iterator[Batch]:
        shard_indices = np.array_split(indices, num_shards)[shard]
        for start in range(0, len(shard_indices), CAPTION_BATCH_SIZE):
            yield captions.batch(shard_indices[start : start + CAPTION_BATCH_SIZE].tolist())

    def score(model: Model, batch: Batch) -> list[Tensor]:
        scores = model.zero_shot_alignments(batch, images().to(batch.features.device))
        target = torch.tensor([columns[id_] for id_ in batch.example_ids], device=scores.device)
        ranks = retrieval.rank_true_images(scores, target)
        return [(ranks < k).float() for k in RECALLS]

    return Evaluator(tuple(f"recall_at_{k}" for k in RECALLS), batches, score)
