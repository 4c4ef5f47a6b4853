"""Score a model on a task's examples: a trained model, a baseline, or one of your own.

The families define what a right answer is (``families``). This module only iterates over the examples. All models
are therefore scored by the same code on the same examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.data.retrieval_pool import CAPTION_BATCH_SIZE, RetrievalPool
from twelvefold.data.task_batches import TaskBatches, evenly_spaced
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES, PredictionRecord
from twelvefold.evaluation.scores import ShortlistUse
from twelvefold.evaluation.shortlist import PoolShortlists
from twelvefold.evaluation.task_result import TaskResult
from twelvefold.families import load_family, retrieval
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.model import Model
from twelvefold.model.twin_encoder import TwinEncoder, require_twin_encoder
from twelvefold.schema import CONSISTENCY_ONLY, ExamplePrediction, TwelvefoldError

CPU = torch.device("cpu")

VERSION = 5
"""Version of the results of this module. Increase it when a change gives other results: tasks are then scored again."""

MAX_PARTS, MAX_PART_BATCHES = 64, 16
"""A task is cut into about 64 parts, and into more if a part would have more than 16 batches."""
CAPTIONS_PER_PART = 4 * CAPTION_BATCH_SIZE
MAX_CACHED_BYTES = 2**31
"""Region features of a pool up to which a process keeps the images in memory; those of a larger pool are read again for
each part. The paper's pool of 1,000 images has 0.8 GB."""


class ScoredModel(Protocol):
    """What :class:`TaskScoring` scores."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return the logits of the batch's task, in the shape of its family."""

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        """Return the (n, m) scores of every caption with every image of a batch of each. Called for retrieval only."""


class PartResult(msgspec.Struct):
    """Predictions of some examples of a task, in order.

    uncalibrated_confidences: probability of the best answer without the temperature; 0 if there is no answer.
    pool_scores: of retrieval tasks, the float32 scores of the captions with all images of the pool, row by row; with
    shortlists minus infinity for captions that are not on an image's list. num_pairs: that shortlists had scored.
    num_listed: captions whose own image was on their shortlist.
    """

    records: list[PredictionRecord] = []
    uncalibrated_confidences: list[float] = []
    pool_scores: bytes = b""
    num_pairs: int = 0
    num_listed: int = 0

    def append(
        self,
        predictions: Sequence[ExamplePrediction],
        uncalibrated: Sequence[ExamplePrediction],
        scores: Iterable[float | None],
        ranks: Iterable[int | None],
    ) -> None:
        """Add predictions. ``uncalibrated``: the same without the temperature."""
        for prediction, score, rank in zip(predictions, scores, ranks, strict=True):
            record = PredictionRecord(prediction.example_id, prediction.task, score, prediction.ranked, rank)
            self.records.append(record)
        self.uncalibrated_confidences += [p.best.probability if p.ranked else 0.0 for p in uncalibrated]

    def pool_rows(self) -> Tensor:
        """Return ``pool_scores``: (n, M) float32."""
        scores = np.frombuffer(self.pool_scores, dtype=np.float32).reshape(len(self.records), -1)
        return torch.from_numpy(scores.copy())


class TaskScoring:
    """The examples of a task that are scored, cut into parts that any process can score in any order.

    A part has whole batches, and a batch does not depend on the parts. So the results are the same to the bit however
    the parts are distributed. ``indices`` (N,): the examples in order, indices into the table; those without a label
    come last. ``pool``: of retrieval.
    """

    def __init__(
        self,
        data: TaskBatches,
        *,
        max_examples: int = 0,
        pool: int = 0,
        batch_size: int = 128,
        temperature: float = 1.0,
        shortlist: int = 0,
        twin: TwinEncoder | None = None,
    ) -> None:
        """See :func:`score_task`. ``shortlist``: images that each caption of a retrieval task is compared with, chosen
        by ``twin``; 0 means all."""
        self.data, self.batch_size, self.temperature = data, batch_size, temperature
        self.shortlist, self.twin = shortlist, twin
        self._shortlists: PoolShortlists | None = None
        self.family, self.pool = load_family(data.task.family), None
        if self.family.searches_images:
            self.pool = RetrievalPool.with_all_captions(data, pool, max_examples)
            self.indices: NDArray[np.int64] = self.pool.captions
        else:
            indices = scored_indices(data, max_examples)
            consistency_only = [] if max_examples else range(len(indices), len(data.table))
            self.indices = np.array([*indices, *consistency_only], dtype=np.int64)
            self.is_labeled = data.table.is_labeled()
            self.indices = self.indices[np.argsort(~self.is_labeled[self.indices], kind="stable")]
            label = data.table[int(self.indices[0])].label if len(self.indices) else None
            self.num_ranked = self.family.num_ranked(label)

    @property
    def pairs_per_caption(self) -> int:
        """Number of images that a caption of a pool is compared with; an upper estimate for a shortlist, with the
        pairs of text retrieval."""
        if self.pool is None:
            return 1
        count, per_image = len(self.pool.images), self.shortlist * len(self.pool.images) // max(1, len(self))
        return min(count, self.shortlist + per_image) if self.shortlist else count

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.indices)

    def parts(self) -> list[range]:
        """Return the parts as ranges of rows of ``indices``."""
        batches = -(-len(self) // self.batch_size)
        size = self.batch_size * min(max(1, batches // MAX_PARTS), MAX_PART_BATCHES)
        size = size if self.pool is None else CAPTIONS_PER_PART
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    @torch.inference_mode()
    def score(self, model: ScoredModel, rows: range, device: torch.device = CPU) -> PartResult:
        """Score the examples of a part with a model that is on ``device``."""
        if self.pool is not None and self.shortlist:
            return self._search_shortlists(self.pool, model, rows, device)
        if self.pool is not None:
            return self._search(self.pool, model, rows, device)
        result, head = PartResult(), self.data.head
        for batch in self._batches(rows):
            count = len(batch.example_ids)
            logits = model(batch.to(device)).cpu()
            scores = [None] * count if batch.target is None else self.family.score(logits, batch).tolist()
            predictions = self.family.decode(logits, batch, head, top=self.num_ranked, temperature=self.temperature)
            result.append(predictions, self.family.decode(logits, batch, head, top=1), scores, [None] * count)
        return result

    def _batches(self, rows: range) -> Iterator[Batch]:
        """Yield the batches of a part; none has examples both with and without a label."""
        for start in range(rows.start, rows.stop, self.batch_size):
            block = self.indices[start : min(start + self.batch_size, rows.stop)]
            is_labeled = self.is_labeled[block]
            yield from (self.data.batch(each.tolist()) for each in (block[is_labeled], block[~is_labeled]) if len(each))

    def _search(self, pool: RetrievalPool, model: ScoredModel, rows: range, device: torch.device) -> PartResult:
        """Rank the whole pool for every caption, a batch of captions and a batch of images at a time.

        Paper: image retrieval, R@1 on "the 1K test set" (Tables 2 and 4).
        """
        captions = [batch.to(device) for batch in pool.caption_batches(rows)]
        columns = []
        for images in self._image_batches(pool):
            on_device = images.to(device)
            columns.append(torch.cat([model.alignments(batch, on_device).float().cpu() for batch in captions]))
        scores = torch.cat(columns, dim=1)  # (n, M)
        return self._rank(pool, rows, scores, scores)

    def _search_shortlists(
        self, pool: RetrievalPool, model: ScoredModel, rows: range, device: torch.device
    ) -> PartResult:
        """Rank the images on each caption's shortlist."""
        if self._shortlists is None:
            if not isinstance(model, Model):
                raise TwelvefoldError(f"a shortlist needs a trained model, got {type(model).__name__}")
            twin = require_twin_encoder(self.twin, "the model").to(device)
            self._shortlists = PoolShortlists(pool, model, twin, self.shortlist, device)
        scores = self._shortlists.score(rows)
        result = self._rank(pool, rows, scores.images, scores.texts)
        true_images = torch.from_numpy(pool.true_images[rows.start : rows.stop])
        result.num_pairs = scores.num_pairs
        result.num_listed = int(scores.images.gather(1, true_images[:, None]).isfinite().sum())
        return result

    def _rank(self, pool: RetrievalPool, rows: range, scores: Tensor, text_scores: Tensor) -> PartResult:
        """Rank the images for each caption by ``scores`` (n, M). ``text_scores``: of text retrieval."""
        ranks = retrieval.rank_true_images(scores, torch.from_numpy(pool.true_images[rows.start : rows.stop]))
        ids = [self.data.table[index].id for index in self.indices[rows.start : rows.stop].tolist()]
        names, task = [str(key) for key in pool.images], self.data.task.name
        result = PartResult(pool_scores=text_scores.numpy().tobytes())
        top = min(MAX_RANKED_IMAGES, self.shortlist or MAX_RANKED_IMAGES)
        predictions = decode_names(scores, ids, names, task, top, self.temperature)
        uncalibrated = decode_names(scores, ids, names, task, top=1)
        result.append(predictions, uncalibrated, (ranks == 0).float().tolist(), ranks.tolist())
        return result

    def _image_batches(self, pool: RetrievalPool) -> Iterable[Batch]:
        num_bytes = len(pool.images) * self.data.task.max_regions * self.data.source.feature_size * 4
        return pool.image_batches if num_bytes <= MAX_CACHED_BYTES else pool.iter_image_batches()

    def merge(self, parts: Iterable[PartResult]) -> TaskResult:
        """Return the result of the whole task from those of all parts in order.

        ``parts`` are iterated twice, and only one of them is needed at a time: they may be read from files.
        """
        result = TaskResult(self.data.task, temperature=self.temperature)
        num_pairs, num_listed = 0, 0
        for part in parts:
            num_pairs, num_listed = num_pairs + part.num_pairs, num_listed + part.num_listed
            result.records += part.records
            result.uncalibrated_confidences += part.uncalibrated_confidences
        result.examples = [self.data.table[index] for index in self.indices.tolist()]
        if self.pool is not None:
            ranks = torch.tensor([record.rank for record in result.records])
            result.extra_metrics = {f"recall_at_{k}": retrieval.recall_at(ranks, k) for k in retrieval.RECALLS[1:]}
            true_images = torch.from_numpy(self.pool.true_images)
            result.text_ranks = retrieval.rank_true_texts(lambda: (part.pool_rows() for part in parts), true_images)
            if self.shortlist:
                share, digest = round(100 * num_listed / max(1, len(self)), 2), self.twin.digest if self.twin else ""
                result.shortlist = ShortlistUse(self.shortlist, share, num_pairs, self.pool.num_pairs, digest)
                result.limitations = [result.shortlist.describe()]
            return result
        best = [record.ranked[0] if record.ranked else None for record in result.records]
        example_scores = [record.score for record in result.records]
        result.extra_metrics = self.family.extra_metrics(result.examples, best, example_scores)
        result.extra_metrics |= self.family.ranked_metrics(result.examples, [each.ranked for each in result.records])
        result.limitations = self.family.limitations(result.examples, example_scores)
        return result


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
    """Score ``model`` on the table behind ``data``, in this process.

    Args:
        model: Called with batches on ``device``.
        data: The task's examples.
        max_examples: Number of examples, evenly spaced over the table; 0 means all.
        pool: Number of images that a caption is searched in (retrieval); 0 means every image of the table.
        batch_size: Examples in a batch; those of retrieval have the sizes of ``retrieval_pool``.
        temperature: Divides the logits before the probabilities; changes no score.
        device: Device of the model.
    """
    scoring = TaskScoring(data, max_examples=max_examples, pool=pool, batch_size=batch_size, temperature=temperature)
    return scoring.merge([scoring.score(model, rows, device) for rows in scoring.parts()])


def scored_indices(data: TaskBatches, max_examples: int) -> list[int]:
    """Return the indices of the examples that count for the score: ``max_examples``, evenly spaced; 0 means all."""
    count = len(data.table)
    while count and data.table[count - 1].question_type == CONSISTENCY_ONLY:  # they come last
        count -= 1
    indices: list[int] = evenly_spaced(count, max_examples).tolist()
    return indices
