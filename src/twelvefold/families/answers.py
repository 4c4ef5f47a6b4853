"""Vocab-based question answering (G1; VQAv2, VG QA, GQA): every answer of a list gets a probability. Paper: Eq. 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.families.labels import known, labels
from twelvefold.families.probabilities import likeliest
from twelvefold.schema import Example, HeadSpec, Prediction, Ranked, SoftAnswers


def target(
    examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
) -> NDArray[np.float32] | None:
    """(B, A) float32: the score of every answer of the head, 0 for answers that nobody gave.

    Answers outside the head's list are dropped; a question with none inside keeps a row of zeros and stays.
    """
    given = labels(examples, SoftAnswers, head)
    if given is None:
        return None
    place = _places(head.outputs)
    scores = np.zeros((len(given), len(head.outputs)), dtype=np.float32)
    for row, label in zip(scores, given, strict=True):
        for answer, score in label.scores.items():
            if answer in place:
                row[place[answer]] = score
    return scores


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy of every answer against its soft score, summed over answers, mean over the batch."""
    wanted = known(batch)
    return F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum") / len(logits)


def score(logits: Tensor, batch: Batch) -> Tensor:
    """(B,) float32: the soft score of the likeliest answer, which is VQA's accuracy with ten annotators."""
    return known(batch).gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)


def decode(logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0) -> list[Prediction]:
    """The ``top`` likeliest answers of every example, each with its own probability (they need not sum to one)."""
    values, places = likeliest(logits, top, temperature, own=True)
    return [
        Prediction(id_, batch.task, tuple(Ranked(p, name=head.outputs[a]) for p, a in zip(ps, at, strict=True)))
        for id_, ps, at in zip(batch.example_ids, values, places, strict=True)
    ]


class Consistency(NamedTuple):
    """``scores``: for every question answered right that entails others, the share of those answered right.
    ``missing``: entailed questions that were never asked; they count neither way."""

    scores: dict[str, float]
    missing: tuple[str, ...]


def consistency(right: Mapping[str, float], linked: Mapping[str, Sequence[str]]) -> Consistency:
    """GQA's consistency: who answers a question rightly should answer what it entails rightly too.

    ``right`` holds each question's score, ``linked`` the ids that it entails; the figure that GQA reports is
    the mean of ``scores``. An id that entails itself is ignored, as in the official script.

    Differs: the official script stops at the first entailed question that was not asked (most are only in the
    ``all`` files); here they are listed.
    """
    scores: dict[str, float] = {}
    missing: dict[str, None] = {}
    for id_, score_ in right.items():
        entailed = [other for other in linked.get(id_, ()) if other != id_]
        missing.update(dict.fromkeys(other for other in entailed if other not in right))
        asked = [right[other] for other in entailed if other in right]
        if score_ > 0 and asked:
            scores[id_] = sum(asked) / len(asked)
    return Consistency(scores, tuple(missing))


@lru_cache(maxsize=16)
def _places(outputs: tuple[str, ...]) -> dict[str, int]:
    """Answer -> its place, made once per answer list and process."""
    return {answer: place for place, answer in enumerate(outputs)}
