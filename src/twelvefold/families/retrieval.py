"""Caption-based image retrieval (G2; COCO, Flickr30k): the true pair must score highest. Paper: Eq. 2, section 3.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.families.labels import known, labels
from twelvefold.families.probabilities import likeliest
from twelvefold.schema import Example, HeadSpec, PositivePair, Prediction, Ranked


def target(
    examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
) -> NDArray[np.int64] | None:
    """(B,) int64: which pair of each example belongs together."""
    given = labels(examples, PositivePair, head)
    return None if given is None else np.array([label.index for label in given], dtype=np.int64)


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Soft-max cross-entropy over the K pairs of an example, mean over the batch."""
    return F.cross_entropy(logits.float(), known(batch))


def score(logits: Tensor, batch: Batch) -> Tensor:
    """(B,) float32: 1 where the true pair scores higher than every other, else 0. Ties lose: a model that is
    blind to the text gives several pairs one score, and an arg-max would hand it the first."""
    return (ranks(logits, known(batch)) == 0).float()


def decode(logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0) -> list[Prediction]:
    """The ``top`` best pairs of every example, named by their place (``"0"`` is the first), soft-max over the K.

    A search over a whole pool of pictures, which ranks image keys, is :func:`decode_pool`.
    """
    names = [str(k) for k in range(logits.shape[1])]
    return decode_pool(logits, batch.example_ids, names, batch.task, top, temperature)


def decode_pool(
    scores: Tensor,
    example_ids: Sequence[str],
    image_keys: Sequence[str],
    task: str,
    top: int = 5,
    temperature: float = 1.0,
) -> list[Prediction]:
    """The ``top`` best pictures of every caption from scores (captions, images), soft-max over the pool."""
    values, places = likeliest(scores, top, temperature)
    return [
        Prediction(id_, task, tuple(Ranked(p, name=image_keys[i]) for p, i in zip(ps, at, strict=True)))
        for id_, ps, at in zip(example_ids, values, places, strict=True)
    ]


def ranks(scores: Tensor, true_image: Tensor) -> Tensor:
    """How many pictures of the pool stand before the true one, for every caption: (N,) int64, 0 is best.

    scores: (N, M), captions against pictures; any block of captions against the whole pool will do.
    true_image: (N,) int64, the column of the right picture.

    Differs: the usual script sorts, so a tie may fall either way. Here ties count against the model, and so
    does a score that is not a number.
    """
    true = scores.gather(1, true_image[:, None])
    return (~(scores < true)).sum(dim=1) - 1  # the true picture itself is not below itself


def recall_at(ranks: Tensor, k: int) -> float:
    """R@k: the share of captions whose true picture is among the first ``k``, in 0..1."""
    return float((ranks < k).double().mean())
