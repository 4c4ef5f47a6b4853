"""Multi-modal verification (G4; NLVR2, SNLI-VE): one class of a few, by soft-max. Paper: Eq. 4, section 3.2."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.families.labels import known, labels
from twelvefold.families.probabilities import likeliest
from twelvefold.schema import ClassName, Example, HeadSpec, Prediction, Ranked, TwelvefoldError, did_you_mean

NONE = -1
"""The target where the annotators found no gold label."""


def target(
    examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
) -> NDArray[np.int64] | None:
    """(B,) int64: the place of each example's class among the head's outputs, -1 without a gold label.

    Raises:
        TwelvefoldError: a class that the head doesn't have.
    """
    given = labels(examples, ClassName, head)
    if given is None:
        return None
    for example, label in zip(examples, given, strict=True):
        if label.name and label.name not in head.outputs:
            raise TwelvefoldError(
                f"example {example.id!r}: class {label.name!r} is not one of head {head.name!r}: "
                f"{', '.join(head.outputs)}{did_you_mean(label.name, head.outputs)}"
            )
    return np.array([head.outputs.index(x.name) if x.name else NONE for x in given], dtype=np.int64)


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Soft-max cross-entropy, mean over the batch; an example without a gold label contributes nothing.

    Differs: the original code trains each class by its own sigmoid; the paper says soft-max, and so do we.
    """
    return F.cross_entropy(logits.float(), known(batch), ignore_index=NONE, reduction="sum") / len(logits)


def score(logits: Tensor, batch: Batch) -> Tensor:
    """(B,) float32: 1 where the likeliest class is the gold one, else 0; never 1 without a gold label."""
    return (logits.argmax(dim=1) == known(batch)).float()


def decode(logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0) -> list[Prediction]:
    """The ``top`` likeliest classes of every example; over all classes their probabilities sum to one."""
    values, places = likeliest(logits, top, temperature)
    return [
        Prediction(id_, batch.task, tuple(Ranked(p, name=head.outputs[c]) for p, c in zip(ps, at, strict=True)))
        for id_, ps, at in zip(batch.example_ids, values, places, strict=True)
    ]


def consistency(right: Mapping[str, float], group: Mapping[str, str]) -> dict[str, float]:
    """NLVR2's consistency, group by group: 1 where every example of a group (one sentence) is right, else 0.

    The figure that NLVR2 reports is the mean of the values.
    """
    members: defaultdict[str, list[float]] = defaultdict(list)
    for id_, score_ in right.items():
        members[group[id_]].append(score_)
    return {name: min(scores) for name, scores in members.items()}
