"""From examples to one padded batch: the only padding of the project. Paper: section 3.1.

Differs: the original padded every text to the task's limit and every picture to 101 rows (NLVR2's two pictures
together, so that one could leak into the other); here a batch is as long as its longest, each picture alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold import boxes, families
from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource, Rows
from twelvefold.data.tokenizer import CLS, PAD, SEP
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, TaskSpec, TwelvefoldError

TokenIds = Sequence[int] | NDArray[np.int32]
"""One text's word pieces, uncut and without special pieces."""


def collate(
    examples: Sequence[Example],
    token_ids: Sequence[TokenIds],
    features: RegionSource,
    task: TaskSpec,
    head: HeadSpec,
) -> Batch:
    """One batch of a task.

    ``token_ids``: for every pair of every example in order, its text's ids, uncut and without special pieces.

    Raises:
        TwelvefoldError: examples differ in their number of pairs, or a picture or candidate has no features.
    """
    pairs = [pair for example in examples for pair in example.pairs]
    per_example = _pairs_of_each(examples, task)
    ids, token_mask = pad_tokens(token_ids, task.max_tokens)
    rows = [features.rows(pair, task.max_regions) for pair in pairs]
    images = pad_rows(rows, features.feature_size)
    target = families.of(task.family).target(examples, images["boxes_px"], images["candidate_mask"], head)
    return Batch(
        task=task.name,
        pairs_per_example=per_example,
        example_ids=[example.id for example in examples],
        token_ids=torch.from_numpy(ids),
        token_mask=torch.from_numpy(token_mask),
        target=None if target is None else torch.from_numpy(target),
        **{name: torch.from_numpy(array) for name, array in images.items()},
    )


def pictures_alone(keys: Sequence[ImageKey], features: RegionSource, task: TaskSpec, head: HeadSpec) -> Batch:
    """A batch of pictures without texts, an example each: what captions are searched in."""
    examples = [Example(str(key), (Pair(key, ""),), None) for key in keys]
    return collate(examples, [[] for _ in keys], features, task, head)


def pad_tokens(token_ids: Sequence[TokenIds], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(P, L) int64 ids and (P, L) bool mask: ``[CLS]``, at most ``max_tokens - 2`` ids, ``[SEP]``, padding.

    L is the longest of these texts. The end of a text beyond the limit is cut, never ``[SEP]``.
    """
    texts = [ids[: max(max_tokens - 2, 0)] for ids in token_ids]
    lengths = np.array([len(text) + 2 for text in texts], dtype=np.int64)
    mask: NDArray[np.bool_] = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.full(mask.shape, PAD, dtype=np.int64)
    ids[:, :1] = CLS
    for row, text in zip(ids, texts, strict=True):
        row[1 : 1 + len(text)] = text
        row[1 + len(text)] = SEP
    return ids, mask


def pad_rows(rows: Sequence[Rows], feature_size: int) -> dict[str, NDArray[Any]]:
    """The picture side of a batch, by the names of its fields: features, boxes_px, locations and two masks."""
    counts = np.array([len(one) for one in rows], dtype=np.int64)
    detected = np.array([one.detected for one in rows], dtype=np.int64)
    given = np.array([one.given for one in rows], dtype=np.int64)
    place = np.arange(counts.max(initial=0))
    region_mask = place < counts[:, None]
    features = np.zeros((*region_mask.shape, feature_size), dtype=np.float32)
    boxes_px = np.zeros((*region_mask.shape, 4), dtype=np.float32)
    for p, one in enumerate(rows):
        at = 0
        for part in one.features:
            features[p, at : at + len(part)] = part
            at += len(part)
        boxes_px[p, :at] = one.boxes_px
    sizes = np.array([[one.width, one.height] for one in rows]).reshape(-1, 2)
    each = np.repeat(sizes, region_mask.shape[1], axis=0)
    # Where boxes are given, one of them is meant; else a detected region. IMG is never pointed at.
    first = np.where(given > 0, 1 + detected, 1)
    return {
        "features": features,
        "boxes_px": boxes_px,
        "locations": boxes.locations(boxes_px, each[:, 0], each[:, 1]).reshape(*region_mask.shape, 5),
        "region_mask": region_mask,
        "candidate_mask": region_mask & (place >= first[:, None]),
    }


def _pairs_of_each(examples: Sequence[Example], task: TaskSpec) -> int:
    counts = {len(example.pairs): example.id for example in reversed(examples)}
    if len(counts) > 1:
        each = ", ".join(f"{id_!r} has {count}" for count, id_ in sorted(counts.items()))
        raise TwelvefoldError(f"task {task.name!r}: all examples of a batch need as many pairs as each other; {each}")
    return next(iter(counts), task.pairs_per_example)
