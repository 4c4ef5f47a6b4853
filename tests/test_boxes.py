"""One IoU for the whole project: hand-worked values, its three conventions, and what holds for any boxes."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold import boxes

corner = st.floats(0, 500, allow_nan=False)
side = st.floats(2, 500, allow_nan=False)
any_box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def test_two_boxes_that_share_a_quarter() -> None:
    overlap = boxes.iou([[0, 0, 10, 10]], [[5, 5, 15, 15]])
    assert overlap[0, 0] == pytest.approx(25 / 175)


def test_the_original_convention_adds_one_pixel_to_every_side() -> None:
    overlap = boxes.iou([[0, 0, 9, 9]], [[5, 5, 14, 14]], "original")
    assert overlap[0, 0] == pytest.approx(25 / 175)


def test_conventions_disagree_near_the_threshold_in_the_original_projects_favour() -> None:
    ours, found = [[0, 0, 10, 10]], [[0, 0, 10, 4.99]]
    publishers = boxes.iou(ours, found, "publishers")[0, 0]
    original = boxes.iou(ours, found, "original")[0, 0]
    assert not boxes.is_hit(publishers, "publishers")
    assert boxes.is_hit(original, "original")


def test_exactly_a_half_is_a_hit_for_the_publishers_only() -> None:
    assert boxes.is_hit(0.5, "publishers")
    assert not boxes.is_hit(0.5, "original")


def test_the_publishers_count_a_one_pixel_sliver_as_nothing() -> None:
    a, b = [[0, 0, 10, 1]], [[0, 0, 10, 1]]
    assert boxes.iou(a, b, "continuous")[0, 0] == 1
    assert boxes.iou(a, b, "publishers")[0, 0] == 0


@given(any_box)
def test_a_box_overlaps_itself_wholly(box: tuple[float, ...]) -> None:
    for convention in get_args(boxes.Convention):
        assert boxes.iou([box], [box], convention)[0, 0] == pytest.approx(1)


@given(any_box, any_box)
def test_overlap_is_symmetric_and_between_nothing_and_all(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    forth, back = boxes.iou([a], [b])[0, 0], boxes.iou([b], [a])[0, 0]
    assert forth == pytest.approx(back)
    assert 0 <= forth <= 1 + 1e-12


@given(any_box)
def test_corner_and_size_forms_convert_back_and_forth(box: tuple[float, ...]) -> None:
    np.testing.assert_allclose(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(box)), box, atol=1e-9)


def test_boxes_of_no_area_overlap_nothing_and_raise_no_warning() -> None:
    with np.errstate(all="raise"):
        assert boxes.iou([[3, 3, 3, 3]], [[3, 3, 3, 3], [0, 0, 9, 9]]).tolist() == [[0, 0]]


def test_no_boxes_give_an_empty_matrix() -> None:
    assert boxes.iou([], [[0, 0, 1, 1]]).shape == (0, 1)


def test_locations_are_unit_corners_and_the_share_of_the_picture() -> None:
    assert boxes.locations([[0, 0, 200, 50]], 200, 100).tolist() == [[0, 0, 1, 0.5, 0.5]]


def test_clipping_moves_corners_inside() -> None:
    assert boxes.clip([-1, -1, 300, 50], 200, 100).tolist() == [0, 0, 200, 50]


@given(
    st.lists(st.floats(-1e3, 1e3) | st.sampled_from([float("inf"), float("nan"), 1e308]), min_size=4, max_size=4),
    st.integers(1, 900) | st.just(math.inf),
    st.integers(1, 900) | st.just(math.inf),
)
def test_one_box_moved_inside_is_the_one_of_arrays(box: list[float], width: float, height: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        corners = boxes.xywh_to_xyxy(box)
    cut = boxes.clip(corners, width, height)
    usable = np.isfinite(corners).all() and cut[2] > cut[0] and cut[3] > cut[1]
    assert boxes.inside(box, width, height) == (tuple(cut.tolist()) if usable else None)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((0, 0, 0, 5), "x2 > x1"),
        ((0, 0, 5, float("nan")), "finite"),
        ((0, 0, 5), "four"),
        ((5, 0, 1, 5), "x2 > x1"),
    ],
)
def test_a_box_that_cannot_be_used_says_why(box: tuple[float, ...], why: str) -> None:
    assert why in boxes.check(box)
