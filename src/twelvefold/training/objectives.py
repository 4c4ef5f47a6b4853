"""Training objectives: one of the twelve tasks, or masked pretraining on a caption set.

The training loop uses only the interface of :class:`Objective`. Paper: sections 3.2 (tasks) and 3.1 (pretraining).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from twelvefold.batch import Batch, MaskedBatch
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.retrieval_pool import RetrievalPool
from twelvefold.data.task_batches import TaskBatches
from twelvefold.families import load_family, retrieval
from twelvefold.families.shared.labels import require_target
from twelvefold.model import Model, pretraining
from twelvefold.schema import TaskSpec
from twelvefold.store.prepared import Prepared


class Evaluator(ABC):
    """A part of validation: metrics that are means over the same batches."""

    metrics: ClassVar[tuple[str, ...]]

    def __init__(self, data: TaskBatches | MaskedBatches) -> None:
        self.data = data

    def batches(self, batch_size: int, shard: int, num_shards: int) -> Iterator[Batch]:
        """Yield the batches of a shard of the examples."""
        return self.data.eval_batches(batch_size, shard, num_shards)

    @abstractmethod
    def score(self, model: Model, batch: Batch) -> Sequence[Tensor]:
        """Return for each metric a tensor (n,) in 0..1; the metric is its mean over all batches."""


class TaskEvaluator(Evaluator):
    """A task's official score on its validation examples."""

    metrics = ("score",)

    def score(self, model: Model, batch: Batch) -> list[Tensor]:
        return [load_family(self.data.task.family).score(model(batch), batch)]


class MaskedEvaluator(Evaluator):
    """Accuracies of pretraining: 1 where a prediction is right, for each token to predict, region to predict and pair.

    Their mean is the validation score: they measure what is trained, so the best checkpoint is the one that learned
    most of it. Recall in zero-shot retrieval is only reported.
    """

    metrics = ("words", "regions", "alignment")

    def score(self, model: Model, batch: Batch) -> Sequence[Tensor]:
        return pretraining.accuracies(*_masked_logits(model, batch))


class ZeroShotRetrievalEvaluator(Evaluator):
    """Caption-based image retrieval with the alignment head. Paper: the zero-shot setting of ViLBERT.

    ``num_images`` images (0: all), evenly spaced over the split, are ranked for the first caption of each of them.
    """

    metrics = tuple(f"recall_at_{k}" for k in retrieval.RECALLS)

    def __init__(self, data: TaskBatches, num_images: int) -> None:
        super().__init__(data)
        self.pool = RetrievalPool.with_first_captions(data, num_images)

    def batches(self, batch_size: int, shard: int, num_shards: int) -> Iterator[Batch]:
        return self.pool.caption_batches(np.array_split(np.arange(len(self.pool.captions)), num_shards)[shard])

    def score(self, model: Model, batch: Batch) -> list[Tensor]:
        images = (each.to(batch.features.device) for each in self.pool.image_batches)
        scores = torch.cat([model.zero_shot_alignments(batch, each) for each in images], dim=1)
        ranks = retrieval.rank_true_images(scores, require_target(batch))
        return [(ranks < k).float() for k in retrieval.RECALLS]


class Objective(ABC):
    """What is trained and validated in a task's turn. The validation score is the mean of ``score_metrics``."""

    spec: TaskSpec
    train_batches: TaskBatches | MaskedBatches
    evaluators: Sequence[Evaluator]
    score_metrics: tuple[str, ...]

    @abstractmethod
    def loss(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch and the logits from which it was computed.

        The logits have the same number of rows for each example, so that examples with non-finite ones can be named.
        """


class TaskObjective(Objective):
    """A task: its family's loss and score."""

    def __init__(self, recipe: Recipe, spec: TaskSpec, prepared: Prepared, regions: RegionSource) -> None:
        self.spec = spec
        self.config = recipe.training
        self.family = load_family(spec.family)
        self.train_batches = TaskBatches.open(prepared, regions, spec, "train", seed=recipe.seed)
        val = TaskBatches.open(prepared, regions, spec, "val", limit=self.config.validation_examples)
        self.evaluators = [TaskEvaluator(val)]
        self.score_metrics = TaskEvaluator.metrics

    def loss(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch)
        return self.family.loss(logits, batch, self.config), logits


class PretrainingObjective(Objective):
    """Masked tokens, masked regions and alignment on a caption set.

    Validation always masks as the paper does, whatever ``mask_overlapping`` and ``predict_on_mismatched`` say, so that
    runs with different values compare. Differs: the original's validation also predicts tokens and regions of
    mismatched pairs.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: PretrainingConfig,
        spec: TaskSpec,
        prepared: Prepared,
        regions: RegionSource,
        word_pieces: Sequence[int],
    ) -> None:
        """``word_pieces``: ids of the tokens that have an embedding; masked tokens are replaced by others of these."""
        self.spec = spec
        self.config = config
        self.train_batches = MaskedBatches.open(prepared, regions, spec, word_pieces, config, seed=recipe.seed)
        val = TaskBatches.open(prepared, regions, spec, "val", limit=recipe.training.validation_examples)
        paper_masking = msgspec.structs.replace(config, mask_overlapping=True, predict_on_mismatched=False)
        all_val = TaskBatches.open(prepared, regions, spec, "val")
        self.evaluators = [
            MaskedEvaluator(MaskedBatches(val, word_pieces, paper_masking)),
            ZeroShotRetrievalEvaluator(all_val, config.retrieval_pool),
        ]
        self.score_metrics = MaskedEvaluator.metrics

    def loss(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, masked, token_rows = _masked_logits(model, batch)
        loss = pretraining.loss(logits, masked, token_rows, region_weight=self.config.region_loss_weight)
        return loss, logits.alignment


def make_objective(
    recipe: Recipe, spec: TaskSpec, prepared: Prepared, regions: RegionSource, word_pieces: Sequence[int]
) -> Objective:
    """Return the objective of a task, or pretraining if the recipe has it. ``word_pieces`` have an embedding.

    Raises:
        TwelvefoldError: the recipe pretrains, and the task has no captions or its regions no class probabilities.
    """
    if recipe.pretraining is None:
        return TaskObjective(recipe, spec, prepared, regions)
    return PretrainingObjective(recipe, recipe.pretraining, spec, prepared, regions, word_pieces)


def _masked_logits(model: Model, batch: Batch) -> tuple[pretraining.PretrainingLogits, MaskedBatch, Tensor]:
    """Return the logits of what to predict, the batch, and the embedding rows of the tokens to predict (M,)."""
    masked = cast(MaskedBatch, batch)
    logits = model.pretraining_logits(masked, masked.predict_tokens, masked.predict_regions)
    return logits, masked, model.trunk.text_embeddings.token_to_row[masked.token_labels]
