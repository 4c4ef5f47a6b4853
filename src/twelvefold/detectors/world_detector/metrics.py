"""Evaluate a detector: recall, mean average precision, and accuracy of categories and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.boxes import iou
from twelvefold.detectors.world_detector.detector import RegionsWithAttributes
from twelvefold.detectors.world_detector.network import ATTRIBUTES

IOU_THRESHOLD = 0.5
"""IoU from which a box counts as detected (Pascal VOC)."""
JSON_NAMES = {
    "images": "pictures",
    "objects": "things",
    "detected_category": "found_kind",
    "detected_color": "found_colour",
    "detected_size": "found_size",
    "detected_pattern": "found_pattern",
    "given_category": "given_kind",
    "given_color": "given_colour",
}
"""Attribute of ``DetectionMetrics`` -> key in the JSON of ``twelvefold detector``."""


class GroundTruth(NamedTuple):
    """Objects of an image: boxes (n, 4), and label indices (n,) of each attribute."""

    boxes_px: NDArray[np.float32]
    labels: dict[str, NDArray[np.int64]]


class DetectionMetrics(msgspec.Struct, frozen=True, kw_only=True, rename=JSON_NAMES):
    """Metrics, 0 to 1 except for the three counts.

    regions: detected regions per image, on average. detected_*: accuracy on objects matched by a detected region.
    given_*: accuracy on all objects, at their true boxes.
    """

    images: int
    objects: int
    regions: float
    recall: float
    map50: float
    detected_category: float
    detected_color: float
    detected_size: float
    detected_pattern: float
    given_category: float
    given_color: float
    given_size: float
    given_pattern: float


def compute_metrics(
    truths: Sequence[GroundTruth],
    outputs: Sequence[tuple[RegionsWithAttributes, RegionsWithAttributes]],
    num_categories: int,
) -> DetectionMetrics:
    """Compare the detected regions, and the regions at the true boxes in their order, with the truth of each image."""
    at_hits: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in ATTRIBUTES}
    at_true_boxes: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in ATTRIBUTES}
    hits = [np.zeros(0, np.bool_)]
    for truth, (detected, given) in zip(truths, outputs, strict=True):
        overlap = iou(truth.boxes_px, detected.regions.boxes_px)
        hit = overlap.max(axis=1, initial=0.0) >= IOU_THRESHOLD
        best = overlap[hit].argmax(axis=1) if hit.any() else np.zeros(0, np.int64)
        hits.append(hit)
        for name, true in truth.labels.items():
            at_hits[name].append(detected.labels[name][best] == true[hit])
            at_true_boxes[name].append(given.labels[name] == true)
    return DetectionMetrics(
        images=len(truths),
        objects=sum(map(len, hits)),
        regions=float(np.mean([len(detected.scores) for detected, _ in outputs])) if outputs else 0.0,
        recall=_mean(hits),
        map50=average_precision(truths, [detected for detected, _ in outputs], num_categories),
        **{f"detected_{name}": _mean(correct) for name, correct in at_hits.items()},
        **{f"given_{name}": _mean(correct) for name, correct in at_true_boxes.items()},
    )


def average_precision(
    truths: Sequence[GroundTruth], detected: Sequence[RegionsWithAttributes], num_categories: int
) -> float:
    """Return the mean over the categories that occur of the area under the precision-recall curve (VOC, all points).

    A true box counts once. A region is ranked in every category, by its score times the category's probability.
    """
    image_of = np.concatenate([np.full(len(d.scores), i) for i, d in enumerate(detected)]) if detected else np.zeros(0)
    areas = []
    for category in range(num_categories):
        true = [t.boxes_px[t.labels["category"] == category] for t in truths]
        num_true = sum(len(t) for t in true)
        if not num_true:
            continue
        overlaps = [iou(t, d.regions.boxes_px) for t, d in zip(true, detected, strict=True)]
        column = np.concatenate([np.arange(o.shape[1]) for o in overlaps])
        score = np.concatenate([d.scores * np.asarray(d.regions.class_probs)[:, category] for d in detected])
        matched = [np.zeros(len(t), np.bool_) for t in true]
        correct = np.zeros(len(score), np.bool_)
        order = np.argsort(-score, kind="stable")
        order = order[score[order] > 0.01]  # the rest changes the area by less than its computation is worth
        for rank, row in enumerate(order):
            i = int(image_of[row])
            overlap = overlaps[i][:, column[row]]
            if len(overlap) and overlap.max() >= IOU_THRESHOLD and not matched[i][overlap.argmax()]:
                matched[i][overlap.argmax()] = True
                correct[rank] = True
        areas.append(_area(correct[: len(order)], num_true))
    return float(np.mean(areas)) if areas else 0.0


def _area(correct: NDArray[np.bool_], num_true: int) -> float:
    """Return the area under precision over recall, with precision made monotonically decreasing."""
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(correct) + 1)
    decreasing = np.maximum.accumulate(precision[::-1])[::-1]
    return float(decreasing[correct].sum() / num_true)


def _mean(correct: list[NDArray[np.bool_]]) -> float:
    flat = np.concatenate(correct) if correct else np.zeros(0, np.bool_)
    return float(flat.mean()) if len(flat) else 0.0
