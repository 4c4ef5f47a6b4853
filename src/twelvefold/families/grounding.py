"""Referring expressions and pointing (G3; RefCOCO, RefCOCO+, RefCOCOg, Visual7W, GuessWhat): a score for every
region, of which one is meant. Paper: Eq. 3, section 3.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold import boxes
from twelvefold.batch import Batch
from twelvefold.families.labels import known, labels
from twelvefold.families.probabilities import likeliest
from twelvefold.schema import Box, Candidate, Example, HeadSpec, Prediction, Ranked, TargetBox, TwelvefoldError

KEEP = 0.5
"""Regions that overlap the meant box by less train towards 0. Source: the original project's targets."""

KINDS: tuple[type[TargetBox | Candidate], ...] = (TargetBox, Candidate)
"""The labels of this family."""


def target(
    examples: Sequence[Example],
    boxes_px: NDArray[Any],
    candidate_mask: NDArray[Any],
    head: HeadSpec,
    convention: boxes.Convention = "publishers",
) -> NDArray[np.float32] | None:
    """(P, R, 2) float32: what each row trains towards, and what choosing it earns; 0 where no candidate stands.

    ``[..., 0]``: the overlap with the box meant where it is at least 0.5, else 0; the original project's
    overlap (one pixel added to every side), as in its code. ``[..., 1]``: for a ``TargetBox``, the overlap by
    ``convention``, of which :func:`score` makes a hit; for a ``Candidate``, 1 for the right box and any box
    identical to it, else 0.

    Raises:
        TwelvefoldError: a Candidate's index is not among the pair's boxes, or the rows hold other boxes.
    """
    given = labels(examples, KINDS, head)
    if given is None:
        return None
    counts = candidate_mask.sum(axis=1).tolist()
    meant = np.array(
        [
            label.box_px if isinstance(label, TargetBox) else _candidate(example, label, rows)
            for example, label, rows in zip(examples, given, counts, strict=True)
        ]
    ).reshape(-1, 1, 4)
    soft = boxes.paired_iou(boxes_px, meant, "original")
    identical = (boxes_px == meant.astype(boxes_px.dtype)).all(axis=-1)
    told = np.array([[isinstance(label, TargetBox)] for label in given])
    earned = np.where(told, boxes.paired_iou(boxes_px, meant, convention), identical)
    wanted = np.stack([np.where(soft >= KEEP, soft, 0.0), earned], axis=-1)
    return np.asarray(wanted * candidate_mask[..., None], dtype=np.float32)


def loss(logits: Tensor, batch: Batch, form: Literal["sigmoid", "softmax"] = "sigmoid") -> Tensor:
    """How far the candidates' scores are from their targets; mean over the batch.

    ``sigmoid``: binary cross-entropy of every candidate, summed over candidates, as in the paper's code.
    ``softmax``: cross-entropy of a soft-max over the candidates against the targets made to sum to one; an
    expression none of whose candidates reaches 0.5 contributes nothing.

    Differs: ``softmax`` is not in the paper; a small model that starts from nothing learns faster by it at first.
    """
    wanted = known(batch)[..., 0]
    mask = batch.candidate_mask
    logits = logits.float()
    if form == "sigmoid":
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return each.masked_fill(~mask, 0.0).sum() / len(logits)
    shares = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=KEEP)
    each = F.log_softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), dim=1)
    return -(shares * each).sum() / len(logits)


def score(logits: Tensor, batch: Batch, convention: boxes.Convention = "publishers") -> Tensor:
    """(B,) float32: 1 where the chosen row is a hit (IoU >= 0.5; ``original``: > 0.5) or the right candidate.

    ``convention`` is the one that :func:`target` was given.
    """
    earned = overlap(logits, batch)
    return (earned > KEEP if convention == "original" else earned >= KEEP).float()


def overlap(logits: Tensor, batch: Batch) -> Tensor:
    """(B,) float32: what the chosen row earns, for a TargetBox its IoU with the box meant. Ties lose: of
    several rows with the highest score the worst counts. 0 where there is nothing to choose from."""
    scores = among_candidates(logits, batch)
    chosen = (scores == scores.amax(dim=1, keepdim=True)) & batch.candidate_mask
    worst = known(batch)[..., 1].masked_fill(~chosen, float("inf")).amin(dim=1)
    return worst.masked_fill(~chosen.any(dim=1), 0.0)


def decode(logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0) -> list[Prediction]:
    """The ``top`` likeliest boxes of every example, soft-max over its candidates; none where there are none."""
    values, rows = likeliest(among_candidates(logits, batch), top, temperature)
    counts = batch.candidate_mask.sum(dim=1).tolist()
    return [
        Prediction(
            id_,
            batch.task,
            tuple(Ranked(p, box_px=_box(batch.boxes_px[i, r])) for p, r in zip(ps[:n], at[:n], strict=True)),
        )
        for i, (id_, ps, at, n) in enumerate(zip(batch.example_ids, values, rows, counts, strict=True))
    ]


def among_candidates(logits: Tensor, batch: Batch) -> Tensor:
    """(P, R) float32: the logits of rows that may be pointed at, minus infinity elsewhere."""
    return logits.float().masked_fill(~batch.candidate_mask, float("-inf"))


def _candidate(example: Example, label: Candidate, rows: int) -> Box:
    """The box that a Candidate label means, checked against the pair's boxes and the batch's rows."""
    given = example.pairs[0].candidates_px
    if not 0 <= label.index < len(given):
        raise TwelvefoldError(
            f"example {example.id!r}: the label means candidate {label.index}, but there are {len(given)} of them"
        )
    if rows != len(given):
        raise TwelvefoldError(f"example {example.id!r}: {len(given)} candidates given, but {rows} rows in the batch")
    return given[label.index]


def _box(row: Tensor) -> Box:
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2
