"""Examples to one batch. Paper: section 3.1.

Differs: the original pads every text to the task's limit and every image to 101 rows (NLVR2's two images together, so
that one could leak into the other); here the features of all images of a batch are packed without padding, and only
small arrays (token ids, boxes, masks) are as long as the longest text or image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold import boxes
from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionRows, RegionSource, empty_features, fill_features
from twelvefold.data.tokenizer import CLS, PAD, SEP
from twelvefold.families import load_family
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, TaskSpec, TwelvefoldError

TokenIds = Sequence[int] | NDArray[np.int32]
"""Token ids of one text, not truncated and without special tokens."""


def collate(
    examples: Sequence[Example],
    token_ids: Sequence[TokenIds],
    source: RegionSource,
    task: TaskSpec,
    head: HeadSpec,
    *,
    half: bool = False,
) -> Batch:
    """Return one batch of a task.

    ``token_ids``: the token ids of the text of every pair of every example, in order. ``half``: features that are
    stored as float16 stay float16 until the batch is moved to a GPU; the numbers there are the same.

    Raises:
        TwelvefoldError: examples differ in their number of pairs, or an image or candidate box has no features.
    """
    _check_pairs(examples, task)
    rows = [source.rows(pair, task.max_regions) for example in examples for pair in example.pairs]
    batch = make_batch(task, [example.id for example in examples], token_ids, rows, source.feature_size, half=half)
    target = load_family(task.family).target(examples, batch.boxes_px.numpy(), batch.candidate_mask.numpy(), head)
    batch.target = None if target is None else torch.from_numpy(target)
    return batch


def make_batch(
    task: TaskSpec,
    example_ids: list[str],
    token_ids: Sequence[TokenIds],
    rows: Sequence[RegionRows],
    feature_size: int,
    *,
    half: bool = False,
) -> Batch:
    """Return one batch without a target. ``token_ids`` and ``rows`` of every pair of every example, in order."""
    ids, token_mask = pad_tokens(token_ids, task.max_tokens)
    images = pack_regions(rows, feature_size, half)
    image_lengths = images.pop("image_lengths")
    return Batch(
        task=task.name,
        pairs_per_example=len(rows) // len(example_ids) if example_ids else task.pairs_per_example,
        example_ids=example_ids,
        token_ids=torch.from_numpy(ids),
        token_mask=torch.from_numpy(token_mask),
        text_lengths=token_mask.sum(axis=1),
        image_lengths=image_lengths,
        **{name: torch.from_numpy(array) for name, array in images.items()},
    )


def image_only_batch(keys: Sequence[ImageKey], source: RegionSource, task: TaskSpec, head: HeadSpec) -> Batch:
    """Return a batch of images without texts, one an example: the pool in which captions are searched."""
    examples = [Example(str(key), (Pair(key, ""),), None) for key in keys]
    return collate(examples, [[] for _ in keys], source, task, head)


def pad_tokens(token_ids: Sequence[TokenIds], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (P, L) int64 ids and (P, L) bool mask: ``[CLS]``, at most ``max_tokens - 2`` ids, ``[SEP]``, padding.

    L is the length of the longest text. A longer text than the limit is truncated, but keeps its ``[SEP]``.
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


def pack_regions(images: Sequence[RegionRows], feature_size: int, half: bool = False) -> dict[str, NDArray[Any]]:
    """Return the image side of a batch by its fields' names: features, boxes_px, locations, region_mask,
    candidate_mask and image_lengths; with ``half`` also image_means, if all regions are stored as float16."""
    lengths = np.array([len(image) for image in images], dtype=np.int64)
    num_detected = np.array([image.num_detected for image in images], dtype=np.int64)
    num_candidates = np.array([image.num_candidates for image in images], dtype=np.int64)
    column = np.arange(lengths.max(initial=0))
    region_mask = column < lengths[:, None]
    half = half and bool(images) and all(part.dtype == np.float16 for image in images for part in image.features[1:])
    features = empty_features(int(lengths.sum()), feature_size, torch.float16 if half else torch.float32)
    fill_features(images, features)
    packed_boxes_px = np.concatenate([np.zeros((0, 4), dtype=np.float32), *(image.boxes_px for image in images)])
    boxes_px = np.zeros((*region_mask.shape, 4), dtype=np.float32)
    boxes_px[region_mask] = packed_boxes_px
    sizes = np.array([[image.width, image.height] for image in images]).reshape(-1, 2).repeat(lengths, axis=0)
    # One of the candidate boxes is meant if there are any, else one of the detected regions; never IMG.
    first = np.where(num_candidates > 0, 1 + num_detected, 1)
    return {
        "features": features.numpy(),
        "boxes_px": boxes_px,
        "locations": boxes.locations(packed_boxes_px, sizes[:, 0], sizes[:, 1]),
        "region_mask": region_mask,
        "candidate_mask": region_mask & (column >= first[:, None]),
        "image_lengths": lengths,
        **({"image_means": np.concatenate([image.features[0] for image in images])} if half else {}),
    }


def _check_pairs(examples: Sequence[Example], task: TaskSpec) -> None:
    counts = {len(example.pairs): example.id for example in reversed(examples)}
    if len(counts) > 1:
        differing = ", ".join(f"{id_!r} has {count}" for count, id_ in sorted(counts.items()))
        raise TwelvefoldError(
            f"task {task.name!r}: all examples of a batch must have the same number of pairs; {differing}"
        )
