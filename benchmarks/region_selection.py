"""How much faster regions are selected in one pass than by one suppression for each of 1,600 classes.

    OMP_NUM_THREADS=1 python benchmarks/region_selection.py

The proposals are drawn like a crowded photograph's: clusters of boxes around 60 things, class probabilities peaked
(as a trained detector's) or flat. Both ways must agree on every row and confidence. Seed 0.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from twelvefold.detectors.x152.per_class_nms import OVERLAP, select

PROPOSALS, CLASSES, KEPT, REPEATS = 1000, 1601, 100, 5


def proposals(rng: np.random.Generator) -> Tensor:
    """(1000, 4) boxes in clusters."""
    centres = rng.uniform(50, 750, (60, 2))[rng.integers(0, 60, PROPOSALS)] + rng.normal(0, 12, (PROPOSALS, 2))
    sides = rng.uniform(30, 200, (60, 2))[rng.integers(0, 60, PROPOSALS)] * rng.uniform(0.8, 1.25, (PROPOSALS, 2))
    return torch.tensor(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1), dtype=torch.float32)


def loop(boxes: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """One suppression for each class, as in the original."""
    counted = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    sure = torch.zeros(len(boxes))
    for scores in probabilities.T[1:]:
        keep = nms(counted, scores, OVERLAP)
        sure[keep] = torch.maximum(sure[keep], scores[keep])
    values, rows = torch.sort(sure, descending=True, stable=True)
    return rows[:KEPT], values[:KEPT]


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median of some calls."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    rng = np.random.default_rng(0)
    boxes = proposals(rng)
    for name, spread in (("peaked", 3.0), ("flat", 0.1)):
        logits = torch.tensor(rng.normal(0, spread, (PROPOSALS, CLASSES)), dtype=torch.float32)
        probabilities = logits.softmax(-1)
        rows, sure = select(boxes, probabilities, most=KEPT)
        expected, values = loop(boxes, probabilities)
        if not (np.array_equal(rows, expected.numpy()) and np.array_equal(sure, values.numpy())):
            raise SystemExit("the two ways disagree")
        slow = seconds(lambda p=probabilities: loop(boxes, p), 1)  # type: ignore[misc]
        quick = seconds(lambda p=probabilities: select(boxes, p, most=KEPT), REPEATS)  # type: ignore[misc]
        print(f"{name}: loop {slow * 1e3:,.0f} ms, one pass {quick * 1e3:,.1f} ms, {slow / quick:.0f} times as fast")


if __name__ == "__main__":
    main()
