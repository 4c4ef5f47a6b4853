"""Pretraining batches: captions with masked tokens, masked regions and mismatched captions. Paper: section 3.1.

The random numbers for a step's whole batch are a function of (seed, task, step), so the masks do not depend
on how the batch is split into shards. The paper's two changes to ViLBERT's masking are fields of
:class:`twelvefold.config.recipe.PretrainingConfig`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold import boxes
from twelvefold.batch import Batch, MaskedBatch
from twelvefold.config.recipe import PretrainingConfig
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP, UNK
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.prepared import Prepared

MASK_TOKEN_PROB, RANDOM_TOKEN_PROB = 0.8, 0.1
"""Probabilities that a token to predict becomes [MASK] or a random token; else it stays. Source: BERT."""
ZERO_FEATURE_PROB = 0.9
"""Probability that the feature of a region to predict becomes zero; else it stays. As in the original project."""
MAX_OVERLAP = 0.4
"""Regions whose IoU with a region to predict is greater are masked too. Paper: section 3.1."""
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
_VALIDATION_SEED = (12, 2)
"""Seed of the masks in validation. Arbitrary."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Uniforms:
    """Uniform random numbers in [0, 1) for n examples, from which all masks follow.

    captions (n, 2): whether the caption is mismatched, and by which caption. tokens (n, L, 3): for each token whether
    to predict it, what replaces it, and which random token it is. regions (n, R, 2): whether to predict it, and what
    replaces it.
    """

    captions: NDArray[np.float64]
    tokens: NDArray[np.float64]
    regions: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.int64]) -> _Uniforms:
        return _Uniforms(self.captions[rows], self.tokens[rows], self.regions[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What becomes of n examples, one row each; a shard of a batch is some of its rows.

    images, texts (n,): indices into the table, of the caption whose image and of the caption whose text the example
    has. tokens (n, L) and regions (n, R): what is selected for masking. mismatched (n,): the text is another image's.
    predict (n,): the model has to predict what is selected.
    """

    images: NDArray[np.int64]
    texts: NDArray[np.int64]
    tokens: Bools
    regions: Bools
    mismatched: Bools
    predict: Bools
    uniforms: _Uniforms

    def __getitem__(self, rows: NDArray[np.int64]) -> _Plan:
        return _Plan(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of examples, tokens to predict and regions to predict."""
        return len(self.texts), int(self.tokens[self.predict].sum()), int(self.regions[self.predict].sum())


class MaskedBatches:
    """Masked batches of one split of one caption set.

    Differs: a mismatched caption is always one of another image, and a random token is never a special token; the
    original draws from all captions and all tokens.
    """

    def __init__(self, captions: TaskBatches, word_pieces: Sequence[int], config: PretrainingConfig) -> None:
        """``word_pieces``: ids of the tokens that the model has, from which random tokens are drawn.

        Raises:
            TwelvefoldError: the set has no captions, or its regions have no class probabilities.
        """
        task = captions.task
        if captions.multiple_choice is None:
            raise TwelvefoldError(f"can't pretrain on {task.name!r}: it has no captions (its family is {task.family})")
        self.captions = captions
        self.config = config
        self.num_categories = num_region_categories(captions.table, captions.source)
        self.task: TaskSpec = task
        self.table = captions.table
        self._multiple_choice = captions.multiple_choice
        self._random_tokens = np.array(sorted(set(word_pieces).difference(SPECIAL_TOKENS)), dtype=np.int64)

    @classmethod
    def open(
        cls,
        prepared: Prepared,
        source: RegionSource,
        task: TaskSpec,
        word_pieces: Sequence[int],
        config: PretrainingConfig,
        *,
        seed: int = 0,
    ) -> MaskedBatches:
        """Open the training captions of a prepared set."""
        captions = TaskBatches(prepared.table(task.name, "train"), source, task, prepared.head(task.name), seed=seed)
        return cls(captions, word_pieces, config)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in which every caption occurs once."""
        return self.captions.steps_per_epoch

    def train_batch(self, step: int, shard: int = 0, num_shards: int = 1) -> MaskedBatch:
        """Return a shard of the batch of ``step`` (0, 1, 2 ... without end).

        Raises:
            TwelvefoldError: there are more shards than examples in a batch, or an image has no regions.
        """
        uniforms = self._uniforms(self.captions.generator("masks", step), self.task.batch_size)
        plan = self._plan(self.captions.indices_for_step(step), uniforms)
        return self._batch(plan[self.captions.shard_rows(shard, num_shards)], plan.counts)

    def eval_batches(self, batch_size: int = 0, shard: int = 0, num_shards: int = 1) -> Iterator[MaskedBatch]:
        """Yield the batches of a shard of all captions, in order; the masks are the same in every run."""
        indices = self.captions.indices
        uniforms = self._uniforms(np.random.Generator(np.random.PCG64(_VALIDATION_SEED)), len(indices))
        shard_rows = np.array_split(np.arange(len(indices)), num_shards)[shard]
        size = batch_size or self.task.batch_size
        for rows in (shard_rows[start : start + size] for start in range(0, len(shard_rows), size)):
            plan = self._plan(indices[rows], uniforms[rows])
            yield self._batch(plan, plan.counts)

    def _uniforms(self, random: np.random.Generator, num_examples: int) -> _Uniforms:
        n, tokens, regions = num_examples, self.task.max_tokens - 2, self.task.max_regions - 1
        return _Uniforms(random.random((n, 2)), random.random((n, tokens, 3)), random.random((n, regions, 2)))

    def _plan(self, images: NDArray[np.int64], uniforms: _Uniforms) -> _Plan:
        """Decide what becomes of the captions with these indices in the table, each of which stands for its image."""
        mismatched = uniforms.captions[:, 0] < self.config.mismatch_prob
        others = self._multiple_choice.draw_captions_of_other_images(images, uniforms.captions[:, 1])
        texts = np.where(mismatched, others, images)
        detected = (self.captions.source.detected[self._image(index)] for index in images)
        num_tokens = np.array([len(self.table.token_ids(int(text))) for text in texts])
        num_regions = np.array([len(regions.boxes_px) for regions in detected])
        return _Plan(
            images=images,
            texts=texts,
            tokens=_select(uniforms.tokens, self.config.token_mask_prob, num_tokens),
            regions=_select(uniforms.regions, self.config.region_mask_prob, num_regions),
            mismatched=mismatched,
            predict=~mismatched | self.config.predict_on_mismatched,
            uniforms=uniforms,
        )

    def _batch(self, plan: _Plan, whole_batch_counts: tuple[int, int, int]) -> MaskedBatch:
        """Return the planned batch."""
        examples = [
            Example(
                self.table[int(image)].id,
                (Pair(self._image(image), self.table[int(text)].pairs[0].text),),
                PositivePair(),
            )
            for image, text in zip(plan.images, plan.texts, strict=True)
        ]
        batch = self.captions.collate(examples, [self.table.token_ids(int(text)) for text in plan.texts])
        predict_tokens, token_labels = self._mask_tokens(batch, plan)
        predict_regions = self._mask_regions(batch, plan)
        fields: dict[str, Any] = {field.name: getattr(batch, field.name) for field in dataclasses.fields(Batch)}
        fields["target"] = torch.from_numpy(plan.mismatched.astype(np.int64))
        return MaskedBatch(
            **fields,
            predict_tokens=torch.from_numpy(predict_tokens),
            token_labels=torch.from_numpy(token_labels),
            predict_regions=torch.from_numpy(predict_regions),
            region_labels=torch.from_numpy(self._region_labels(examples, predict_regions)),
            whole_batch_counts=whole_batch_counts,
        )

    def _image(self, index: int | np.int64) -> ImageKey:
        return self.table[int(index)].pairs[0].image

    def _mask_tokens(self, batch: Batch, plan: _Plan) -> tuple[Bools, NDArray[np.int64]]:
        """Mask the selected tokens in the batch; return which to predict (P, L) and their original ids (M,)."""
        token_ids = batch.token_ids.numpy()
        words = token_ids[:, 1:-1]  # without [CLS] and, in the longest text, [SEP]
        length = words.shape[1]
        selected, replacement = plan.tokens[:, :length], plan.uniforms.tokens[:, :length, 1]
        predict_tokens = np.zeros(token_ids.shape, dtype=bool)
        predict_tokens[:, 1:-1] = selected & plan.predict[:, None]
        labels = token_ids[predict_tokens]
        random_index = plan.uniforms.tokens[:, :length, 2] * len(self._random_tokens)
        random_tokens = self._random_tokens[random_index.astype(np.int64)]
        words[selected & (replacement < MASK_TOKEN_PROB)] = MASK
        is_random = (replacement >= MASK_TOKEN_PROB) & (replacement < MASK_TOKEN_PROB + RANDOM_TOKEN_PROB)
        words[selected & is_random] = random_tokens[selected & is_random]
        return predict_tokens, labels

    def _mask_regions(self, batch: Batch, plan: _Plan) -> Bools:
        """Mask the selected regions in the batch; return which to predict (P, R).

        IMG, the mean of all regions, becomes the mean of the unmasked ones. Differs: the original keeps the features of
        masked overlapping regions as input and in that sum, and only leaves them out of the count that divides it.
        """
        real, features = batch.region_mask.numpy()[:, 1:], batch.features.numpy()
        num_regions = real.shape[1]
        selected = plan.regions[:, :num_regions]
        masked = selected & (plan.uniforms.regions[:, :num_regions, 1] < ZERO_FEATURE_PROB)
        if self.config.mask_overlapping:
            masked |= overlapping(batch.boxes_px.numpy()[:, 1:], real, selected)
        ends = batch.lengths[1].cumsum()
        for start, end, columns in zip(ends - batch.lengths[1], ends, masked, strict=True):
            if columns.any():
                regions, is_masked = features[start + 1 : end], columns[: end - start - 1]
                regions[is_masked] = 0.0
                features[start] = regions.sum(axis=0) / max(int((~is_masked).sum()), 1)
        predict_regions = np.zeros(batch.region_mask.shape, dtype=bool)
        predict_regions[:, 1:] = selected & plan.predict[:, None]
        return predict_regions

    def _region_labels(self, examples: Sequence[Example], predict_regions: Bools) -> NDArray[np.float32]:
        """Return the detector's category probabilities of the regions to predict: (N, C)."""
        labels = [np.zeros((0, self.num_categories), dtype=np.float32)]
        for example, predict in zip(examples, predict_regions[:, 1:], strict=True):
            labels.append(_class_probs(self.captions.source, example.pairs[0].image)[np.flatnonzero(predict)])
        return np.concatenate(labels, dtype=np.float32)


def num_region_categories(table: ExampleTable, source: RegionSource) -> int:
    """Return the number of categories of the detector that extracted the regions of these images.

    Raises:
        TwelvefoldError: the table is empty, or the regions have no class probabilities.
    """
    if not len(table):
        raise TwelvefoldError(f"{table.path} has no captions to pretrain on; prepare more data")
    return int(_class_probs(source, table[0].pairs[0].image).shape[1])


def overlapping(boxes_px: NDArray[np.float32], real: Bools, selected: Bools) -> Bools:
    """Return the real regions whose IoU with another, selected region is above :data:`MAX_OVERLAP`: (P, R) bool."""
    overlaps = boxes.paired_iou(boxes_px[:, :, None], boxes_px[:, None], "vilbert_mt") > MAX_OVERLAP
    overlaps &= selected[:, None, :] & ~np.eye(boxes_px.shape[1], dtype=bool)
    result: Bools = overlaps.any(axis=2) & real
    return result


def _class_probs(source: RegionSource, image: ImageKey) -> NDArray[Any]:
    """Return the detector's category probabilities of an image's regions: (N, C)."""
    class_probs = source.detected[image].class_probs
    if class_probs is None:
        raise TwelvefoldError(
            f"image {image}: its regions in {source.detected.folder} have no class probabilities, which are the "
            "labels of masked regions; extract them with a detector (patches of a backbone have none), or import "
            "them from a file that has cls_prob"
        )
    return class_probs


def _select(uniforms: NDArray[np.float64], probability: float, lengths: NDArray[np.int64]) -> Bools:
    """Select each of a row's first ``lengths`` entries with a probability: (n, W, ...) uniforms -> (n, W) bool."""
    real: Bools = np.arange(uniforms.shape[1]) < lengths[:, None]
    return real & (uniforms[..., 0] < probability)
