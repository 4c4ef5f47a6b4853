"""Vocab-based VQA (G1; VQAv2, VG QA, GQA): each answer of a list gets a probability of its own. Paper: Eq. 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.config.model import ModelConfig
from twelvefold.config.training import TrainingConfig
from twelvefold.families.shared.consistency import consistency, consistency_limitations
from twelvefold.families.shared.interface import Family
from twelvefold.families.shared.labels import output_index, read_labels, require_target
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.schema import Example, ExamplePrediction, HeadSpec, Label, Ranked, SoftAnswers, TaskForm


class AnswersFamily(Family):
    """Each answer of the head's list gets a probability of its own."""

    group = "G1"
    title = "Vocab-based VQA"
    text_label = "Question"
    form = TaskForm(
        tab="Question",
        heading="Ask a question about the image",
        label="Your question",
        placeholder="What color is the dog?",
        hint="Any question about colors, counts, positions, or yes and no. The answer comes from a fixed list.",
    )
    head_kind = "classifier"
    logits_description = "(batch, answers) float32: the sigmoid of each logit is the probability of that answer"
    independent = True
    first_in_curriculum = "hard_first"

    def target(
        self, examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
    ) -> NDArray[np.float32] | None:
        """Return the soft score of every answer of the head: (B, A) float32, 0 for answers that no annotator gave.

        Answers outside the head's list are dropped; a question without any other answer keeps a row of zeros.
        """
        labels = read_labels(examples, SoftAnswers, head)
        if labels is None:
            return None
        index = output_index(head.outputs)
        scores = np.zeros((len(labels), len(head.outputs)), dtype=np.float32)
        for row, label in zip(scores, labels, strict=True):
            for answer, score in label.scores.items():
                if answer in index:
                    row[index[answer]] = score
        return scores

    def loss(self, logits: Tensor, batch: Batch, config: TrainingConfig | None = None) -> Tensor:
        """Return binary cross-entropy with the soft scores, summed over answers, mean over the batch."""
        expected = require_target(batch)
        return F.binary_cross_entropy_with_logits(logits.float(), expected, reduction="sum") / len(logits)

    def score(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the soft score of the most probable answer: (B,) float32. With ten annotators it is VQA accuracy."""
        return require_target(batch).gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)

    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[ExamplePrediction]:
        """Return the ``top`` most probable answers of each example; probabilities need not sum to one."""
        return decode_names(logits, batch.example_ids, head.outputs, batch.task, top, temperature, independent=True)

    def initial_bias(self, config: ModelConfig) -> float:
        """Return the configured bias, which starts all answers off as improbable."""
        return config.answer_bias

    def chance(self, batch: Batch, head: HeadSpec) -> list[float]:
        """Return the mean score over all answers for each example with a label."""
        return [] if batch.target is None else batch.target.mean(dim=1).tolist()

    def votes(self, label: Label, head: HeadSpec) -> Iterable[tuple[int, float]]:
        """Yield the index and score of each answer of the label that is in the head's list."""
        index = output_index(head.outputs)
        if isinstance(label, SoftAnswers):
            yield from ((index[answer], score_) for answer, score_ in label.scores.items() if answer in index)

    def extra_metrics(
        self, examples: Sequence[Example], best: Sequence[Ranked | None], scores: Sequence[float | None]
    ) -> dict[str, float]:
        """Return GQA's consistency: how well questions are answered that a rightly answered one entails."""
        return consistency(examples, scores)

    def limitations(self, examples: Sequence[Example], scores: Sequence[float | None]) -> list[str]:
        """Return a sentence about entailed questions that were not asked."""
        return consistency_limitations(examples, scores)


FAMILY = AnswersFamily()
