"""How good a detector is: recall, mean average precision, and how often kind and attributes are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twelvefold.boxes import iou
from twelvefold.detectors.world_detector.detector import Seen

OVERLAP = 0.5
"""From which a box counts as found (Pascal VOC)."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in a picture: boxes (n, 4), and kind, colour, size, pattern (n,) as places in the detector's words."""

    boxes_px: NDArray[np.float32]
    kind: NDArray[np.int64]
    colour: NDArray[np.int64]
    size: NDArray[np.int64]
    pattern: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measures:
    """All in 0..1. ``found_*``: of things matched by a detected region, the share with this word right. ``given_*``: of
    all things, at their true boxes. ``regions``: detected regions a picture, on average."""

    pictures: int
    things: int
    regions: float
    recall: float
    map50: float
    found_kind: float
    found_colour: float
    found_size: float
    found_pattern: float
    given_kind: float
    given_colour: float
    given_size: float
    given_pattern: float


def measure(truths: Sequence[Truth], answers: Sequence[tuple[Seen, Seen]], kinds: int) -> Measures:
    """``answers``: of each picture, what was detected and what was said at the true boxes, in their order."""
    found: dict[str, list[NDArray[np.bool_]]] = {}
    given: dict[str, list[NDArray[np.bool_]]] = {}
    hits, things = 0, 0
    for truth, (seen, told) in zip(truths, answers, strict=True):
        overlap = iou(truth.boxes_px, seen.regions.boxes_px)
        best = overlap.argmax(axis=1) if overlap.shape[1] else np.zeros(len(truth.kind), np.int64)
        hit = overlap.max(axis=1, initial=0.0) >= OVERLAP
        hits, things = hits + int(hit.sum()), things + len(hit)
        said, at_truth = _words(seen), _words(told)
        for name in ("kind", "colour", "size", "pattern"):
            true = getattr(truth, name)
            found.setdefault(name, []).append(said[name][best[hit]] == true[hit])
            given.setdefault(name, []).append(at_truth[name] == true)
    regions = float(np.mean([len(seen.scores) for seen, _ in answers])) if answers else 0.0
    return Measures(
        pictures=len(truths),
        things=things,
        regions=regions,
        recall=hits / max(1, things),
        map50=average_precision(truths, [seen for seen, _ in answers], kinds),
        **{f"found_{name}": _mean(right) for name, right in found.items()},
        **{f"given_{name}": _mean(right) for name, right in given.items()},
    )


def average_precision(truths: Sequence[Truth], seen: Sequence[Seen], kinds: int) -> float:
    """Mean, over the kinds that occur, of the area under precision and recall (VOC, all points).

    A true box is found once. A region stands for every kind, with its score times the kind's probability.
    """
    picture = np.concatenate([np.full(len(s.scores), i) for i, s in enumerate(seen)]) if seen else np.zeros(0)
    areas = []
    for kind in range(kinds):
        true = [t.boxes_px[t.kind == kind] for t in truths]
        total = sum(len(t) for t in true)
        if not total:
            continue
        overlaps = [iou(t, s.regions.boxes_px) for t, s in zip(true, seen, strict=True)]
        column = np.concatenate([np.arange(o.shape[1]) for o in overlaps])
        score = np.concatenate([s.scores * _probabilities(s)[:, kind] for s in seen])
        taken = [np.zeros(len(t), np.bool_) for t in true]
        right = np.zeros(len(score), np.bool_)
        order = np.argsort(-score, kind="stable")
        order = order[score[order] > 0.01]  # what is surely another kind moves the area by less than it costs
        for place, at in enumerate(order):
            i = int(picture[at])
            overlap = overlaps[i][:, column[at]]
            if len(overlap) and overlap.max() >= OVERLAP and not taken[i][overlap.argmax()]:
                taken[i][overlap.argmax()] = True
                right[place] = True
        areas.append(_area(right[: len(order)], total))
    return float(np.mean(areas)) if areas else 0.0


def _area(right: NDArray[np.bool_], total: int) -> float:
    """Area under the curve of precision over recall, precision made falling."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[right].sum() / total)


def _words(seen: Seen) -> dict[str, NDArray[np.int64]]:
    kind = _probabilities(seen).argmax(axis=1)
    return {"kind": kind, "colour": seen.colour, "size": seen.size, "pattern": seen.pattern}


def _probabilities(seen: Seen) -> NDArray[np.floating]:
    probabilities = seen.regions.class_probs
    if probabilities is None:
        raise ValueError("regions without class probabilities can't be measured")
    return probabilities


def _mean(right: list[NDArray[np.bool_]]) -> float:
    flat = np.concatenate(right) if right else np.zeros(0, np.bool_)
    return float(flat.mean()) if len(flat) else 0.0
