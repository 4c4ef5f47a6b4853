"""Compare the speed of one-pass region selection with one NMS per class, for 1,600 classes.

    OMP_NUM_THREADS=1 python benchmarks/region_selection.py

The proposals resemble those of a crowded photograph: clusters of boxes around 60 objects, with class probabilities that
are peaked (as a trained detector's) or flat. Both methods must return the same rows and confidences. Seed 0.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from twelvefold.detectors.x152.per_class_nms import IOU_THRESHOLD, per_class_nms

PROPOSALS, CLASSES, MAX_REGIONS, REPEATS = 1000, 1601, 100, 5


def random_proposals(rng: np.random.Generator) -> Tensor:
    """Return boxes (1000, 4) in clusters."""
    centers = rng.uniform(50, 750, (60, 2))[rng.integers(0, 60, PROPOSALS)] + rng.normal(0, 12, (PROPOSALS, 2))
    sides = rng.uniform(30, 200, (60, 2))[rng.integers(0, 60, PROPOSALS)] * rng.uniform(0.8, 1.25, (PROPOSALS, 2))
    return torch.tensor(np.concatenate([centers - sides / 2, centers + sides / 2], axis=1), dtype=torch.float32)


def nms_per_class(boxes: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Run NMS once for each class, as in the original."""
    with_edges = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    confidences = torch.zeros(len(boxes))
    for scores in probabilities.T[1:]:
        keep = nms(with_edges, scores, IOU_THRESHOLD)
        confidences[keep] = torch.maximum(confidences[keep], scores[keep])
    values, rows = torch.sort(confidences, descending=True, stable=True)
    return rows[:MAX_REGIONS], values[:MAX_REGIONS]


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median duration of several calls."""
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def main() -> None:
    rng = np.random.default_rng(0)
    boxes = random_proposals(rng)
    for name, scale in (("peaked", 3.0), ("flat", 0.1)):
        logits = torch.tensor(rng.normal(0, scale, (PROPOSALS, CLASSES)), dtype=torch.float32)
        probabilities = logits.softmax(-1)
        rows, confidences = per_class_nms(boxes, probabilities, max_regions=MAX_REGIONS)
        expected, values = nms_per_class(boxes, probabilities)
        if not (np.array_equal(rows, expected.numpy()) and np.array_equal(confidences, values.numpy())):
            raise SystemExit("the two methods disagree")
        slow = median_seconds(lambda p=probabilities: nms_per_class(boxes, p), 1)  # type: ignore[misc]
        fast = median_seconds(lambda p=probabilities: per_class_nms(boxes, p, max_regions=MAX_REGIONS), REPEATS)  # type: ignore[misc]
        print(f"{name}: loop {slow * 1e3:,.0f} ms, one pass {fast * 1e3:,.1f} ms, {slow / fast:.0f} times as fast")


if __name__ == "__main__":
    main()
