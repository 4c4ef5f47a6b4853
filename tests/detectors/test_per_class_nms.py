"""Selecting regions in one pass gives what one greedy suppression for each class gives, written out plainly here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twelvefold.detectors.x152 import per_class_nms
from twelvefold.detectors.x152.per_class_nms import select

Floats = NDArray[np.float32]


def overlap(a: Floats, b: Floats) -> float:
    """Both edges count."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return float(wide * high / (areas[0] + areas[1] - wide * high))


def confidences(boxes: Floats, probabilities: Floats, above: float) -> Floats:
    """Class by class, proposal by proposal."""
    sure = np.zeros(len(boxes), np.float32)
    for column in range(1, probabilities.shape[1]):
        scores = probabilities[:, column]
        kept: list[int] = []
        for row in sorted(range(len(boxes)), key=lambda row: (-scores[row], row)):
            if all(overlap(boxes[row], boxes[other]) <= 0.5 for other in kept):
                kept.append(row)
                if scores[row] > max(sure[row], above):
                    sure[row] = scores[row]
    return sure


def drawn(seed: int, proposals: int, classes: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (proposals, 2))
    boxes = np.concatenate([corner, corner + rng.integers(5, 30, (proposals, 2))], axis=1).astype(np.float32)
    logits = torch.tensor(rng.normal(0, 2, (proposals, classes)), dtype=torch.float32)
    return boxes, logits.softmax(-1).numpy()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 12), st.integers(1, 40), st.sampled_from([0.0, 0.2]))
def test_one_pass_is_one_suppression_for_each_class(
    seed: int, proposals: int, classes: int, most: int, above: float
) -> None:
    boxes, probabilities = drawn(seed, proposals, classes)
    rows, sure = select(torch.from_numpy(boxes), torch.from_numpy(probabilities), most=most, confidence=above)
    expected = confidences(boxes, probabilities, above)
    assert len(rows) == len(set(rows.tolist())) == min(most, proposals)
    np.testing.assert_array_equal(sure, np.sort(expected)[::-1][: len(rows)])
    np.testing.assert_array_equal(sure, expected[rows])


@pytest.mark.parametrize("pairs", [1, 7])
def test_sorting_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    boxes, probabilities = (torch.from_numpy(x) for x in drawn(3, 60, 9))
    whole = select(boxes, probabilities, most=50)
    monkeypatch.setattr(per_class_nms, "PAIRS", pairs)
    for one, other in zip(whole, select(boxes, probabilities, most=50), strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_scores_go_to_the_earlier_proposal() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    probabilities = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    rows, sure = select(boxes, probabilities, most=3, least=1)
    assert rows.tolist() == [0, 2]
    assert sure.tolist() == [0.5, 0.5]


def test_rows_without_confidence_fill_up_to_the_least_and_no_further() -> None:
    boxes = torch.zeros(6, 4)
    probabilities = torch.tensor([[0.1, 0.9]] * 6)
    for least, expected in ((None, [0, 1, 2, 3, 4]), (3, [0, 1, 2]), (1, [0])):
        rows, sure = select(boxes, probabilities, most=5, least=least)
        assert rows.tolist() == expected
        assert sure.tolist() == pytest.approx([0.9] + [0.0] * (len(expected) - 1))


def test_the_background_never_makes_a_region_sure() -> None:
    rows, sure = select(torch.zeros(1, 4), torch.tensor([[0.9, 0.1]]), most=1)
    assert (rows.tolist(), sure.tolist()) == ([0], [pytest.approx(0.1)])
