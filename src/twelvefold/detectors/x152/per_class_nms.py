"""Which proposals of the published detector become regions: the best of those that survive in some class.

Every class suppresses on its own (overlap above 0.5 with a proposal that is surer of the class), a proposal's
confidence is its highest probability among the classes in which it survives, and the 100 most confident are kept.
Paper: section 3.1, "100 regions". The original runs one suppression for each of 1,600 classes, on the GPU, over half a
second a picture.

Differs: one pass over (proposal, class) pairs, the surest first, for all classes at once; it ends when enough
proposals have a confidence, as no later pair could be surer. The boxes are the same in every class, so an overlap
is measured once, and whom a proposal overlaps is one long integer: surviving is a single ``and``. Ties go to the
earlier proposal; the original leaves them open.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.5
"""The original's threshold between proposals of one class."""
PAIRS = 8192
"""Pairs sorted at first: a trained detector's 100 regions are found among a few hundred, and sorting all 1.6 million
takes longer than everything else."""


def select(
    boxes_px: Tensor, probabilities: Tensor, *, most: int, least: int | None = None, confidence: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the proposals kept, the most confident first, and their confidences.

    ``boxes_px`` (N, 4) in pixels of the original picture, both edges counted; ``probabilities`` (N, C), background in
    column 0. Classes count where they are surer than ``confidence``; proposals that survive in no class have
    confidence 0 and fill up, in their order, to ``least`` regions (None: to ``most``, as in the original).
    """
    classes = probabilities[:, 1:].cpu().numpy()
    overlaps = _Overlaps(boxes_px.cpu().numpy())
    kept = [0] * classes.shape[1]
    sure: dict[int, float] = {}
    for row, column, value in _surest_first(classes, confidence):
        if overlaps.of(row) & kept[column]:
            continue
        kept[column] |= 1 << row
        if row not in sure:
            sure[row] = value
            if len(sure) == most:
                break
    wanted = min(most if least is None else min(least, most), len(classes))
    rest = (row for row in range(len(classes)) if row not in sure)
    rows = [*sure, *(next(rest) for _ in range(wanted - len(sure)))]
    return np.array(rows, np.int64), np.array([sure.get(row, 0.0) for row in rows], np.float32)


class _Overlaps:
    """For each proposal whom it overlaps too much, measured when first asked: few proposals ever are."""

    def __init__(self, boxes_px: NDArray[np.float32]) -> None:
        self._low, self._high = boxes_px[:, :2], boxes_px[:, 2:] + np.float32(1.0)  # both edges are pixels of the box
        self._areas = (self._high - self._low).prod(axis=1)
        self._known: dict[int, int] = {}

    def of(self, row: int) -> int:
        """Bit i of the integer stands for proposal i."""
        if row not in self._known:
            sides = np.minimum(self._high, self._high[row]) - np.maximum(self._low, self._low[row])
            shared = np.maximum(sides, np.float32(0.0)).prod(axis=1)
            near = shared / (self._areas + self._areas[row] - shared) > OVERLAP
            self._known[row] = int.from_bytes(np.packbits(near, bitorder="little").tobytes(), "little")
        return self._known[row]


def _surest_first(classes: NDArray[np.float32], above: float) -> Iterator[tuple[int, int, float]]:
    """(row, column, value) of every value over ``above``, in descending order, ties by row.

    Sorted in parts that grow: who stops early pays for the first alone.
    """
    flat = classes.reshape(-1)
    before, size = np.float32(np.inf), PAIRS
    while True:
        last = size >= flat.size
        floor = np.float32(-np.inf) if last else np.partition(flat, flat.size - size)[flat.size - size]
        places = np.flatnonzero((flat < before) & (flat >= floor) & (flat > above))
        places = places[np.argsort(-flat[places], kind="stable")]
        rows, columns = np.divmod(places, classes.shape[1])
        yield from zip(rows.tolist(), columns.tolist(), flat[places].tolist(), strict=True)
        if last or floor <= above:
            return
        before, size = floor, size * 16
