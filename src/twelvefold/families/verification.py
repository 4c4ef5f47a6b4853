"""Multi-modal verification (G4; NLVR2, SNLI-VE): one of a few classes. Paper: Eq. 4, section 3.2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.families.shared.consistency import consistency
from twelvefold.families.shared.interface import Family
from twelvefold.families.shared.labels import read_labels, require_target
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.schema import (
    ClassName,
    Example,
    ExamplePrediction,
    HeadSpec,
    Label,
    Ranked,
    TaskForm,
    TwelvefoldError,
    did_you_mean,
)

NO_LABEL = -1
"""Target of an example for which the annotators found no gold label."""


class VerificationFamily(Family):
    """One class of the head's list is right."""

    group = "G4"
    title = "Multi-modal verification"
    text_label = "Statement"
    form = TaskForm(
        tab="Statement",
        heading="Judge a statement",
        label="Statement",
        placeholder="Two animals are outdoors.",
        verb="Judge",
    )
    head_kind = "classifier"
    logits_description = "(batch, classes) float32: softmax over the classes"
    is_slow = True

    def target(
        self, examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
    ) -> NDArray[np.int64] | None:
        """Return the index of each example's class in the head's outputs: (B,) int64, -1 without a gold label.

        Raises:
            TwelvefoldError: a class is not among the head's outputs.
        """
        labels = read_labels(examples, ClassName, head)
        if labels is None:
            return None
        for example, label in zip(examples, labels, strict=True):
            if label.name and label.name not in head.outputs:
                raise TwelvefoldError(
                    f"example {example.id!r}: class {label.name!r} is not one of head {head.name!r}: "
                    f"{', '.join(head.outputs)}{did_you_mean(label.name, head.outputs)}"
                )
        return np.array([head.outputs.index(x.name) if x.name else NO_LABEL for x in labels], dtype=np.int64)

    def loss(self, logits: Tensor, batch: Batch, config: TrainingConfig | None = None) -> Tensor:
        """Return softmax cross-entropy, mean over the batch; an example without a gold label adds nothing.

        Differs: the original code trains each class by a sigmoid; the paper says softmax.
        """
        expected = require_target(batch)
        return F.cross_entropy(logits.float(), expected, ignore_index=NO_LABEL, reduction="sum") / len(logits)

    def score(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return 1 if the most probable class is the gold one, else 0: (B,) float32. Without a gold label it is 0."""
        return (logits.argmax(dim=1) == require_target(batch)).float()

    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[ExamplePrediction]:
        """Return the ``top`` most probable classes of each example; the probabilities of all classes sum to one."""
        return decode_names(logits, batch.example_ids, head.outputs, batch.task, top, temperature)

    def chance(self, batch: Batch, head: HeadSpec) -> list[float]:
        """Return 1 / number of classes for each example."""
        return [1 / len(head.outputs)] * len(batch.example_ids)

    def votes(self, label: Label, head: HeadSpec) -> Iterable[tuple[int, float]]:
        """Yield the index of the label's class."""
        if isinstance(label, ClassName) and label.name in head.outputs:
            yield head.outputs.index(label.name), 1.0

    def extra_metrics(
        self, examples: Sequence[Example], best: Sequence[Ranked | None], scores: Sequence[float | None]
    ) -> dict[str, float]:
        """Return NLVR2's consistency: the share of sentences for which all examples are right."""
        return consistency(examples, scores)


FAMILY = VerificationFamily()
