"""Grounding referring expressions (G3; RefCOCO, RefCOCO+, RefCOCOg, Visual7W, GuessWhat): choose one of the regions.

Paper: Eq. 3, section 3.2; phrase grounding (Flickr30k Entities) of Table 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold import boxes
from twelvefold.batch import Batch
from twelvefold.config.model import ModelConfig
from twelvefold.config.training import TrainingConfig
from twelvefold.families.shared.interface import Family
from twelvefold.families.shared.labels import read_labels, require_target
from twelvefold.families.shared.probabilities import top_k
from twelvefold.schema import (
    Box,
    Candidate,
    Example,
    ExamplePrediction,
    HeadSpec,
    Label,
    Ranked,
    TargetBox,
    TargetBoxes,
    TaskForm,
    TwelvefoldError,
)

IOU_THRESHOLD = 0.5
"""Regions whose IoU with the true box is smaller have target 0 (original project) and are not a hit (RefCOCO)."""

LABEL_TYPES: tuple[type[TargetBox | TargetBoxes | Candidate], ...] = (TargetBox, TargetBoxes, Candidate)
RECALLS = 1, 5, 10
"""Numbers of best regions among which a hit is looked for, where a phrase has several boxes."""


class GroundingFamily(Family):
    """Choose the region that a text refers to."""

    group = "G3"
    title = "Grounding referring expressions"
    text_label = "Expression"
    form = TaskForm(
        tab="Point at",
        heading="Point at what a phrase describes",
        label="What should it point at?",
        placeholder="the red car on the left",
        hint="Describe one object; the model finds its box.",
        verb="Point",
    )
    head_kind = "region_score"
    chooses_region = True
    logits_description = "(batch, regions) float32: softmax over the candidate rows; ignore masked rows"
    first_in_curriculum = "easy_first"

    def target(
        self,
        examples: Sequence[Example],
        boxes_px: NDArray[Any],
        candidate_mask: NDArray[Any],
        head: HeadSpec,
        convention: boxes.Convention = "official",
    ) -> NDArray[np.float32] | None:
        """Return (P, R, 2) float32: for each row its training target and the value of choosing it.

        Both are 0 for rows that may not be chosen.

        ``[..., 0]``: the IoU with the true box if it is at least 0.5, else 0, by the convention ``vilbert_mt``, as in
        the original code. ``[..., 1]``: for a ``TargetBox`` the IoU by ``convention``, which :meth:`score` compares
        with the threshold; for a ``Candidate`` 1 for the true box and any box identical to it, else 0; for
        ``TargetBoxes``, of which the first is the true box, 1 if the IoU is above 0.5 by ``vilbert_mt``, else 0.

        Raises:
            TwelvefoldError: a Candidate's index is not among the pair's boxes, or the rows hold other boxes.
        """
        labels = read_labels(examples, LABEL_TYPES, head)
        if labels is None:
            return None
        counts = candidate_mask.sum(axis=1).tolist()
        true_box = np.array(
            [
                _candidate_box(example, label, rows) if isinstance(label, Candidate) else _first_box(label)
                for example, label, rows in zip(examples, labels, counts, strict=True)
            ]
        ).reshape(-1, 1, 4)  # (P, 1, 4)
        iou = boxes.paired_iou(boxes_px, true_box, "vilbert_mt")  # (P, R)
        identical = (boxes_px == true_box.astype(boxes_px.dtype)).all(axis=-1)
        is_target_box = np.array([[isinstance(label, TargetBox)] for label in labels])
        has_several = np.array([[isinstance(label, TargetBoxes)] for label in labels])
        value = np.where(is_target_box, boxes.paired_iou(boxes_px, true_box, convention), identical)
        value = np.where(has_several, boxes.is_hit(iou, "vilbert_mt"), value)
        result = np.stack([np.where(iou >= IOU_THRESHOLD, iou, 0.0), value], axis=-1)
        return np.asarray(result * candidate_mask[..., None], dtype=np.float32)

    def loss(self, logits: Tensor, batch: Batch, config: TrainingConfig | None = None) -> Tensor:
        """Return the loss over the rows that may be chosen, mean over the batch.

        ``config.grounding_loss`` = ``sigmoid`` (default): binary cross-entropy of each row, summed over rows, as in the
        paper's code. ``softmax``: cross-entropy of a softmax over the rows with the targets normalized to sum to one;
        an expression without any row at 0.5 or above adds nothing.

        Differs: ``softmax`` is not in the paper; a small model trained from scratch learns faster with it at first.
        """
        expected = require_target(batch)[..., 0]
        choosable = batch.candidate_mask
        logits = logits.float()
        if config is None or config.grounding_loss == "sigmoid":
            row_loss = F.binary_cross_entropy_with_logits(logits, expected, reduction="none")
            return row_loss.masked_fill(~choosable, 0.0).sum() / len(logits)
        normalized = expected / expected.sum(dim=1, keepdim=True).clamp(min=IOU_THRESHOLD)
        log_probabilities = F.log_softmax(logits.masked_fill(~choosable, torch.finfo(logits.dtype).min), dim=1)
        return -(normalized * log_probabilities).sum() / len(logits)

    def score(self, logits: Tensor, batch: Batch, convention: boxes.Convention = "official") -> Tensor:
        """Return 1 if the chosen row is a hit (IoU >= 0.5; ``vilbert_mt``: > 0.5) or the true candidate: (B,) float32.

        ``convention`` must be that of :meth:`target`.
        """
        value = self.chosen_value(logits, batch)
        return (value > IOU_THRESHOLD if convention == "vilbert_mt" else value >= IOU_THRESHOLD).float()

    def chosen_value(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the value of the chosen row (for a TargetBox its IoU with the true box): (B,) float32.

        If several rows have the highest logit, the lowest of their values counts. 0 if there is nothing to choose from.
        """
        logits = self.mask_logits(logits, batch)
        chosen = (logits == logits.amax(dim=1, keepdim=True)) & batch.candidate_mask
        lowest = require_target(batch)[..., 1].masked_fill(~chosen, float("inf")).amin(dim=1)
        return lowest.masked_fill(~chosen.any(dim=1), 0.0)

    def mask_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logits in float32, with minus infinity for rows that may not be chosen: (P, R)."""
        return logits.float().masked_fill(~batch.candidate_mask, float("-inf"))

    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[ExamplePrediction]:
        """Return the ``top`` most probable boxes of each example, softmax over its candidates."""
        values, rows = top_k(self.mask_logits(logits, batch), top, temperature)
        counts = batch.candidate_mask.sum(dim=1).tolist()
        predictions = []
        for i, (id_, count) in enumerate(zip(batch.example_ids, counts, strict=True)):
            chosen = zip(values[i][:count], rows[i][:count], strict=True)
            ranked = tuple(Ranked(p, box_px=_to_box(batch.boxes_px[i, row])) for p, row in chosen)
            predictions.append(ExamplePrediction(id_, batch.task, ranked))
        return predictions

    def initial_bias(self, config: ModelConfig) -> float:
        """Return the configured bias; if negative, all regions are improbable at first."""
        return config.region_bias

    def chance(self, batch: Batch, head: HeadSpec) -> list[float]:
        """Return the share of rows that are a hit for each example with a label."""
        if batch.target is None:
            return []
        hits = (batch.target[..., 1] >= IOU_THRESHOLD) & batch.candidate_mask
        return (hits.sum(dim=1) / batch.candidate_mask.sum(dim=1).clamp(min=1)).tolist()

    def votes(self, label: Label, head: HeadSpec) -> Iterable[tuple[int, float]]:
        """Yield the index of the true candidate; a box that is not one of the candidates votes for nothing."""
        if isinstance(label, Candidate):
            yield label.index, 1.0

    def constant_logits(self, index: int, batch: Batch, head: HeadSpec) -> Tensor:
        """Return logits that choose the candidate ``index``: (P, R)."""
        return (batch.candidate_mask.cumsum(dim=1) - 1 == index).float()

    def extra_metrics(
        self, examples: Sequence[Example], best: Sequence[Ranked | None], scores: Sequence[float | None]
    ) -> dict[str, float]:
        """Return the share of hits by the original project's rule (IoU > 0.5, its convention), for box labels."""
        hits = [
            ranked is not None and ranked.box_px is not None and _is_vilbert_mt_hit(ranked.box_px, example.label.box_px)
            for ranked, example in zip(best, examples, strict=True)
            if isinstance(example.label, TargetBox)
        ]
        return {"iou_above_0.5_original": float(np.mean(hits))} if hits else {}

    def num_ranked(self, label: Label | None) -> int:
        """Return 10 for labels of several boxes, else 5."""
        return RECALLS[-1] if isinstance(label, TargetBoxes) else super().num_ranked(label)

    def ranked_metrics(self, examples: Sequence[Example], ranked: Sequence[Sequence[Ranked]]) -> dict[str, float]:
        """Return the shares of hits among the best 1, 5 and 10 regions, for labels of several boxes.

        ``recall_at_K``: IoU above 0.5 with the first box, as the score, which is K = 1. ``any_box_recall_at_K``: IoU of
        at least 0.5 with any box. ``merged_box_recall_at_K``: with the smallest box around all of them. One is added
        to every side (``vilbert_mt``) for all three. Of regions with one logit the first in the list counts.
        """
        hits: dict[str, list[bool]] = {}
        for example, regions in zip(examples, ranked, strict=True):
            if not isinstance(example.label, TargetBoxes):
                continue
            chosen = [region.box_px for region in regions if region.box_px is not None]
            for name, first_hit in _first_hits(chosen, example.label).items():
                for k in RECALLS:
                    hits.setdefault(f"{name}recall_at_{k}", []).append(first_hit < k)
        hits.pop("recall_at_1", None)
        return {name: float(np.mean(each)) for name, each in hits.items()}


FAMILY = GroundingFamily()


def _is_vilbert_mt_hit(predicted: Box, true: Box) -> bool:
    return bool(boxes.is_hit(boxes.iou([predicted], [true], "vilbert_mt")[0, 0], "vilbert_mt"))


def _first_box(label: TargetBox | TargetBoxes) -> Box:
    return label.box_px if isinstance(label, TargetBox) else label.boxes_px[0]


def _first_hits(chosen: list[Box], label: TargetBoxes) -> dict[str, int]:
    """Return the position of the first hit among the chosen boxes by each rule, or a large number if there is none."""
    true_boxes = np.array(label.boxes_px)  # (n, 4)
    merged = np.concatenate([true_boxes[:, :2].min(axis=0), true_boxes[:, 2:].max(axis=0)])
    rules = {"": true_boxes[:1], "any_box_": true_boxes, "merged_box_": merged[None]}
    positions = {}
    for name, expected in rules.items():
        best = boxes.iou(chosen, expected, "vilbert_mt").max(axis=1)  # (number of chosen boxes,)
        is_hit = boxes.is_hit(best, "official" if name else "vilbert_mt")
        positions[name] = int(is_hit.argmax()) if is_hit.any() else RECALLS[-1]
    return positions


def _candidate_box(example: Example, label: Candidate, num_rows: int) -> Box:
    """Return the box of a Candidate label; check it against the pair's boxes and the batch's rows."""
    candidates = example.pairs[0].candidates_px
    if not 0 <= label.index < len(candidates):
        raise TwelvefoldError(
            f"example {example.id!r}: the label is candidate {label.index}, but there are {len(candidates)} candidates"
        )
    if num_rows != len(candidates):
        raise TwelvefoldError(
            f"example {example.id!r}: it has {len(candidates)} candidates, but the batch has {num_rows} rows for them"
        )
    return candidates[label.index]


def _to_box(row: Tensor) -> Box:
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2
