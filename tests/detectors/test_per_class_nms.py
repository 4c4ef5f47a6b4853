"""One-pass region selection equals greedy NMS for each class, implemented here as plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twelvefold.detectors.x152 import per_class_nms as module
from twelvefold.detectors.x152.per_class_nms import per_class_nms

Floats = NDArray[np.float32]


def iou_with_edges(a: Floats, b: Floats) -> float:
    """Return the IoU of boxes whose both edges count."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return float(width * height / (areas[0] + areas[1] - width * height))


def confidences(boxes: Floats, probabilities: Floats, above: float) -> Floats:
    """Return each proposal's confidence, class by class and proposal by proposal."""
    actual = np.zeros(len(boxes), np.float32)
    for column in range(1, probabilities.shape[1]):
        scores = probabilities[:, column]
        kept: list[int] = []
        for row in sorted(range(len(boxes)), key=lambda row: (-scores[row], row)):
            if all(iou_with_edges(boxes[row], boxes[other]) <= 0.5 for other in kept):
                kept.append(row)
                if scores[row] > max(actual[row], above):
                    actual[row] = scores[row]
    return actual


def random_proposals(seed: int, proposals: int, classes: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (proposals, 2))
    boxes = np.concatenate([corner, corner + rng.integers(5, 30, (proposals, 2))], axis=1).astype(np.float32)
    logits = torch.tensor(rng.normal(0, 2, (proposals, classes)), dtype=torch.float32)
    return boxes, logits.softmax(-1).numpy()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 12), st.integers(1, 40), st.sampled_from([0.0, 0.2]))
def test_one_pass_equals_nms_for_each_class(
    seed: int, proposals: int, classes: int, max_regions: int, above: float
) -> None:
    boxes, probabilities = random_proposals(seed, proposals, classes)
    rows, actual = per_class_nms(
        torch.from_numpy(boxes), torch.from_numpy(probabilities), max_regions=max_regions, confidence=above
    )
    expected = confidences(boxes, probabilities, above)
    assert len(rows) == len(set(rows.tolist())) == min(max_regions, proposals)
    np.testing.assert_array_equal(actual, np.sort(expected)[::-1][: len(rows)])
    np.testing.assert_array_equal(actual, expected[rows])


@pytest.mark.parametrize("pairs", [1, 7])
def test_sorting_in_parts_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    boxes, probabilities = (torch.from_numpy(x) for x in random_proposals(3, 60, 9))
    whole = per_class_nms(boxes, probabilities, max_regions=50)
    monkeypatch.setattr(module, "NUM_SORTED_PAIRS", pairs)
    for expected, actual in zip(whole, per_class_nms(boxes, probabilities, max_regions=50), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_equal_scores_go_to_the_earlier_proposal() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    probabilities = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    rows, actual = per_class_nms(boxes, probabilities, max_regions=3, min_regions=1)
    assert rows.tolist() == [0, 2]
    assert actual.tolist() == [0.5, 0.5]


def test_rows_without_confidence_fill_up_to_min_regions() -> None:
    boxes = torch.zeros(6, 4)
    probabilities = torch.tensor([[0.1, 0.9]] * 6)
    for min_regions, expected in ((None, [0, 1, 2, 3, 4]), (3, [0, 1, 2]), (1, [0])):
        rows, actual = per_class_nms(boxes, probabilities, max_regions=5, min_regions=min_regions)
        assert rows.tolist() == expected
        assert actual.tolist() == pytest.approx([0.9] + [0.0] * (len(expected) - 1))


def test_background_does_not_contribute_to_the_confidence() -> None:
    rows, actual = per_class_nms(torch.zeros(1, 4), torch.tensor([[0.9, 0.1]]), max_regions=1)
    assert (rows.tolist(), actual.tolist()) == ([0], [pytest.approx(0.1)])
