"""Captions with hidden words, hidden regions and swapped texts: the batches of pretraining. Paper: section 3.1.

What is hidden is drawn for the whole batch of a step and is a function of (seed, task, step), so any number of ranks
and parts hides the same. The paper's two changes to ViLBERT's masking are options of :class:`Masking`.
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
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP, UNK
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.prepared import Prepared

MASKED, OTHER = 0.8, 0.1
"""Of the words to be told so many become [MASK], so many another word; the rest stay. BERT's shares, the original's."""
BLANKED = 0.9
"""Of the regions to be told so many lose their feature; the rest keep it. The original's share."""
OVERLAP = 0.4
"""A region that overlaps one to be told by more than this is hidden too. Paper: section 3.1."""
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
_FIXED = (12, 2)
"""Seed of what validation hides. Ours: any constant would do."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Masking:
    """What of a batch is hidden, swapped and told.

    words, regions, swapped: shares. hide_overlapping: regions that overlap a region to be told are hidden too, so that
    its look can't be copied from them. tell_of_swapped: words and regions are to be told of pairs that don't belong
    together as well. The defaults are the paper's; ViLBERT's two are False and True.
    """

    words: float = 0.15
    regions: float = 0.15
    swapped: float = 0.5
    hide_overlapping: bool = True
    tell_of_swapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Random numbers in 0..1 for n examples: (n, 2) whether and by which caption it is swapped; (n, L, 3) for each
    word whether it is told, what becomes of it, and which word it becomes; (n, R, 2) the first two for regions."""

    swaps: NDArray[np.float64]
    words: NDArray[np.float64]
    regions: NDArray[np.float64]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> _Drawn:
        return _Drawn(self.swaps[rows], self.words[rows], self.regions[rows])


class MaskedBatches:
    """Batches of one split of one caption set, with something hidden in each.

    Differs: a caption that is swapped in is always of another picture, and a word that stands for another is no
    special piece; the original draws from all captions and all pieces.
    """

    def __init__(self, captions: TaskBatches, pieces: Sequence[int], masking: Masking) -> None:
        """``pieces``: the word pieces that the model has; a word becomes one of these.

        Raises:
            TwelvefoldError: no captions with pictures, or their regions keep no probabilities of kinds.
        """
        task = captions.task
        if captions.four_way is None:
            raise TwelvefoldError(
                f"{task.name!r} has no captions (its family is {task.family}): nothing to pretrain on"
            )
        self.captions = captions
        self.masking = masking
        self.kinds = kinds_of(captions.table, captions.source)
        self.task: TaskSpec = task
        self.table = captions.table
        self._elsewhere = captions.four_way
        self._pieces = np.array(sorted(set(pieces).difference(SPECIAL)), dtype=np.int64)

    @classmethod
    def open(
        cls,
        prepared: Prepared,
        source: RegionSource,
        task: TaskSpec,
        pieces: Sequence[int],
        masking: Masking,
        *,
        seed: int = 0,
    ) -> MaskedBatches:
        """Batches to learn from: the training captions of a prepared set."""
        captions = TaskBatches(prepared.table(task.name, "train"), source, task, prepared.head(task.name), seed=seed)
        return cls(captions, pieces, masking)

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every caption has come once."""
        return self.captions.steps_per_epoch

    def train_batch(self, step: int, rank: int = 0, ranks: int = 1) -> MaskedBatch:
        """This rank's part of the batch of ``step`` (0, 1, 2 ... without end).

        Raises:
            TwelvefoldError: more ranks than examples in a batch, or a picture without regions.
        """
        drawn = self._draw(self.captions.generator("masks", step), self.task.batch_size)
        return self._batch(self.captions.of_step(step), drawn, self.captions.part(rank, ranks))

    def eval_batches(self, batch_size: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[MaskedBatch]:
        """Every caption once and in order, this rank's share of them; what is hidden is the same in every run."""
        places = self.captions.places
        drawn = self._draw(np.random.Generator(np.random.PCG64(_FIXED)), len(places))
        part = np.array_split(np.arange(len(places)), ranks)[rank]
        size = batch_size or self.task.batch_size
        for rows in (part[start : start + size] for start in range(0, len(part), size)):
            yield self._batch(places[rows], drawn[rows], np.arange(len(rows)))

    def _draw(self, random: np.random.Generator, count: int) -> _Drawn:
        words, regions = self.task.max_tokens - 2, self.task.max_regions - 1
        return _Drawn(random.random((count, 2)), random.random((count, words, 3)), random.random((count, regions, 2)))

    def _batch(self, places: NDArray[np.int64], drawn: _Drawn, part: NDArray[np.int64]) -> MaskedBatch:
        """The rows ``part`` of the batch of captions at ``places``."""
        swapped = drawn.swaps[:, 0] < self.masking.swapped
        texts = np.where(swapped, self._elsewhere.swapped(places, drawn.swaps[:, 1]), places)
        ids = [self.table.token_ids(int(text)) for text in texts]
        examples = [self.table[int(place)] for place in places]
        images = [example.pairs[0].image for example in examples]
        lengths = np.array([len(one) for one in ids])
        regions = np.array([len(self.captions.source.detected[image].boxes_px) for image in images])
        words_chosen = _chosen(drawn.words, self.masking.words, lengths)
        regions_chosen = _chosen(drawn.regions, self.masking.regions, regions)
        told = ~swapped | self.masking.tell_of_swapped
        of = (len(places), int(words_chosen[told].sum()), int(regions_chosen[told].sum()))
        pairs = [Pair(images[row], self.table[int(texts[row])].pairs[0].text) for row in part]
        kept = [Example(examples[row].id, (pair,), PositivePair()) for row, pair in zip(part, pairs, strict=True)]
        batch = self.captions.collated(kept, [ids[row] for row in part])
        words_at, words = self._hide_words(batch, words_chosen[part], told[part], drawn[part])
        regions_at, kinds = self._hide_regions(batch, regions_chosen[part], told[part], drawn[part], kept)
        fields: dict[str, Any] = {field.name: getattr(batch, field.name) for field in dataclasses.fields(Batch)}
        fields["target"] = torch.from_numpy(swapped[part].astype(np.int64))
        return MaskedBatch(**fields, words_at=words_at, words=words, regions_at=regions_at, kinds=kinds, of=of)

    def _hide_words(self, batch: Batch, chosen: Bools, told: Bools, drawn: _Drawn) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide the chosen words in the batch; which are to be told (P, L), and what they were (M,)."""
        ids = batch.token_ids.numpy()
        inside = ids[:, 1:-1]  # without [CLS] and, of the longest, [SEP]
        width = inside.shape[1]
        chosen, becomes, which = chosen[:, :width], drawn.words[:, :width, 1], drawn.words[:, :width, 2]
        words_at = np.zeros(ids.shape, dtype=bool)
        words_at[:, 1:-1] = chosen & told[:, None]
        words = ids[words_at]
        other = self._pieces[(which * len(self._pieces)).astype(np.int64)]
        inside[chosen & (becomes < MASKED)] = MASK
        replaced = chosen & (becomes >= MASKED) & (becomes < MASKED + OTHER)
        inside[replaced] = other[replaced]
        return torch.from_numpy(words_at), torch.from_numpy(words)

    def _hide_regions(
        self, batch: Batch, chosen: Bools, told: Bools, drawn: _Drawn, examples: Sequence[Example]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide the chosen regions in the batch; which are to be told (P, R), and what the detector said (N, C).

        IMG, the mean of all regions, becomes that of the visible ones. Differs: the original lets hidden neighbours
        be seen, and their features in the sum, and only leaves them out of the count that divides it.
        """
        mask, features = batch.region_mask.numpy()[:, 1:], batch.features.numpy()
        width = mask.shape[1]
        chosen = chosen[:, :width]
        hidden = chosen & (drawn.regions[:, :width, 1] < BLANKED)
        if self.masking.hide_overlapping:
            hidden |= overlapping(batch.boxes_px.numpy()[:, 1:], mask, chosen)
        features[:, 1:][hidden] = 0.0
        changed = hidden.any(axis=1)
        seen = np.maximum((mask & ~hidden).sum(axis=1, keepdims=True), 1)
        features[changed, 0] = (features[:, 1:].sum(axis=1) / seen)[changed]
        regions_at = np.zeros(batch.region_mask.shape, dtype=bool)
        regions_at[:, 1:] = chosen & told[:, None]
        kinds = [np.zeros((0, self.kinds), dtype=np.float32)]
        kinds += [
            _probabilities(self.captions.source, example.pairs[0].image)[np.flatnonzero(at)]
            for example, at in zip(examples, regions_at[:, 1:], strict=True)
        ]
        return torch.from_numpy(regions_at), torch.from_numpy(np.concatenate(kinds, dtype=np.float32))


def kinds_of(table: ExampleTable, source: RegionSource) -> int:
    """How many kinds of region the detector of these pictures knows.

    Raises:
        TwelvefoldError: there are none, or their regions keep no probabilities of kinds.
    """
    if not len(table):
        raise TwelvefoldError(f"{table.path} has no captions to pretrain on; prepare more data")
    return int(_probabilities(source, table[0].pairs[0].image).shape[1])


def overlapping(boxes_px: NDArray[np.float32], real: Bools, chosen: Bools) -> Bools:
    """(P, R): real regions that overlap another, chosen one by more than :data:`OVERLAP`; measured as the original."""
    overlaps = boxes.paired_iou(boxes_px[:, :, None], boxes_px[:, None], "original") > OVERLAP
    overlaps &= chosen[:, None, :] & ~np.eye(boxes_px.shape[1], dtype=bool)
    near: Bools = overlaps.any(axis=2) & real
    return near


def _probabilities(source: RegionSource, image: ImageKey) -> NDArray[Any]:
    """(N, C): what the detector takes a picture's regions for."""
    found = source.detected[image].class_probs
    if found is None:
        raise TwelvefoldError(
            f"picture {image}: its regions in {source.detected.folder} keep no class probabilities, by which masked "
            "regions are to be told; extract them, or import them from a file that has cls_prob"
        )
    return found


def _chosen(draws: NDArray[np.float64], share: float, lengths: NDArray[np.int64]) -> Bools:
    """(n, W): of each row's first ``lengths`` places those that are drawn."""
    real: Bools = np.arange(draws.shape[1]) < lengths[:, None]
    return real & (draws[..., 0] < share)
