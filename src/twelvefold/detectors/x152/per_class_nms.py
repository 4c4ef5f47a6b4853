"""Select regions among the proposals of the published detector by non-maximum suppression per class.

In every class a proposal is suppressed if it overlaps (IoU above 0.5) one with a higher probability of the class. A
proposal's confidence is its highest probability among the classes in which it survives; the 100 most confident
proposals are kept, as in the original project (paper: section 3.1, "image region features"). It runs NMS once for each
of 1,600 classes, on the GPU, which takes over half a second per image.

Differs: one pass over (proposal, class) pairs of all classes, sorted by probability, which ends as soon as enough
proposals have a confidence, because later pairs cannot be more confident. Boxes do not depend on the class, so each
overlap is computed once, and the proposals that a proposal overlaps are the bits of one integer: testing whether it
survives is a single ``and``. Ties go to the earlier proposal; the original leaves them undefined.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

IOU_THRESHOLD = 0.5
"""The original's threshold between proposals of a class."""
NUM_SORTED_PAIRS = 8192
"""Pairs sorted at first: a trained detector's 100 regions are among the first few hundred, and sorting all 1.6 million
takes longer than everything else."""


def per_class_nms(
    boxes_px: Tensor,
    probabilities: Tensor,
    *,
    max_regions: int,
    min_regions: int | None = None,
    confidence: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows of the kept proposals, most confident first, and their confidences.

    ``boxes_px`` (N, 4) in pixels of the original image, both edges counted; ``probabilities`` (N, C), background in
    column 0. Only probabilities above ``confidence`` count. Proposals that survive in no class have confidence 0 and
    fill up, in their order, to ``min_regions`` (None: to ``max_regions``, as in the original).
    """
    classes = probabilities[:, 1:].cpu().numpy()
    overlaps = _Overlaps(boxes_px.cpu().numpy())
    kept_in_class = [0] * classes.shape[1]
    confidences: dict[int, float] = {}
    for row, column, probability in _iter_by_probability(classes, confidence):
        if overlaps.bits(row) & kept_in_class[column]:
            continue
        kept_in_class[column] |= 1 << row
        if row not in confidences:
            confidences[row] = probability
            if len(confidences) == max_regions:
                break
    num_wanted = min(max_regions if min_regions is None else min(min_regions, max_regions), len(classes))
    rest = (row for row in range(len(classes)) if row not in confidences)
    rows = [*confidences, *(next(rest) for _ in range(num_wanted - len(confidences)))]
    return np.array(rows, np.int64), np.array([confidences.get(row, 0.0) for row in rows], np.float32)


class _Overlaps:
    """The proposals that each proposal overlaps; computed on first use, because few are ever needed."""

    def __init__(self, boxes_px: NDArray[np.float32]) -> None:
        self._low, self._high = boxes_px[:, :2], boxes_px[:, 2:] + np.float32(1.0)  # both edges are pixels of the box
        self._areas = (self._high - self._low).prod(axis=1)
        self._bits: dict[int, int] = {}

    def bits(self, row: int) -> int:
        """Return an integer whose bit i is set if proposal ``row`` overlaps proposal i."""
        if row not in self._bits:
            sides = np.minimum(self._high, self._high[row]) - np.maximum(self._low, self._low[row])
            intersection = np.maximum(sides, np.float32(0.0)).prod(axis=1)
            overlapping = intersection / (self._areas + self._areas[row] - intersection) > IOU_THRESHOLD
            self._bits[row] = int.from_bytes(np.packbits(overlapping, bitorder="little").tobytes(), "little")
        return self._bits[row]


def _iter_by_probability(classes: NDArray[np.float32], minimum: float) -> Iterator[tuple[int, int, float]]:
    """Yield (row, column, value) of every value above ``minimum``, in descending order, ties by row.

    Sorted in growing parts, so that a caller that stops early pays for the first part only.
    """
    flat = classes.reshape(-1)
    upper, size = np.float32(np.inf), NUM_SORTED_PAIRS
    while True:
        is_last = size >= flat.size
        lower = np.float32(-np.inf) if is_last else np.partition(flat, flat.size - size)[flat.size - size]
        indices = np.flatnonzero((flat < upper) & (flat >= lower) & (flat > minimum))
        indices = indices[np.argsort(-flat[indices], kind="stable")]
        rows, columns = np.divmod(indices, classes.shape[1])
        yield from zip(rows.tolist(), columns.tolist(), flat[indices].tolist(), strict=True)
        if is_last or lower <= minimum:
            return
        upper, size = lower, size * 16
