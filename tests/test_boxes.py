"""IoU and conversions of boxes: values worked out by hand, the three conventions, and properties of any boxes."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold import boxes
from twelvefold.schema import Size

corner = st.floats(0, 500, allow_nan=False)
side = st.floats(2, 500, allow_nan=False)
any_box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def test_iou_of_two_boxes_that_share_a_quarter() -> None:
    iou = boxes.iou([[0, 0, 10, 10]], [[5, 5, 15, 15]])
    assert iou[0, 0] == pytest.approx(25 / 175)


def test_the_convention_of_vilbert_mt_adds_one_pixel_to_every_side() -> None:
    iou = boxes.iou([[0, 0, 9, 9]], [[5, 5, 14, 14]], "vilbert_mt")
    assert iou[0, 0] == pytest.approx(25 / 175)


def test_near_the_threshold_only_vilbert_mt_counts_a_hit() -> None:
    a, b = [[0, 0, 10, 10]], [[0, 0, 10, 4.99]]
    official = boxes.iou(a, b, "official")[0, 0]
    vilbert_mt = boxes.iou(a, b, "vilbert_mt")[0, 0]
    assert not boxes.is_hit(official, "official")
    assert boxes.is_hit(vilbert_mt, "vilbert_mt")


def test_exactly_a_half_is_a_hit_by_the_official_rule_only() -> None:
    assert boxes.is_hit(0.5, "official")
    assert not boxes.is_hit(0.5, "vilbert_mt")


def test_the_official_convention_ignores_an_intersection_one_pixel_wide() -> None:
    a, b = [[0, 0, 10, 1]], [[0, 0, 10, 1]]
    assert boxes.iou(a, b, "continuous")[0, 0] == 1
    assert boxes.iou(a, b, "official")[0, 0] == 0


@given(any_box)
def test_the_iou_of_a_box_with_itself_is_one(box: tuple[float, ...]) -> None:
    for convention in get_args(boxes.Convention):
        assert boxes.iou([box], [box], convention)[0, 0] == pytest.approx(1)


@given(any_box, any_box)
def test_iou_is_symmetric_and_between_0_and_1(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    a_b, b_a = boxes.iou([a], [b])[0, 0], boxes.iou([b], [a])[0, 0]
    assert a_b == pytest.approx(b_a)
    assert 0 <= a_b <= 1 + 1e-12


@given(any_box)
def test_corner_and_size_forms_convert_back_and_forth(box: tuple[float, ...]) -> None:
    np.testing.assert_allclose(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(box)), box, atol=1e-9)


def test_boxes_without_area_have_iou_0_and_raise_no_warning() -> None:
    with np.errstate(all="raise"):
        assert boxes.iou([[3, 3, 3, 3]], [[3, 3, 3, 3], [0, 0, 9, 9]]).tolist() == [[0, 0]]


def test_no_boxes_give_an_empty_matrix() -> None:
    assert boxes.iou([], [[0, 0, 1, 1]]).shape == (0, 1)


def test_locations_are_unit_corners_and_the_share_of_the_image() -> None:
    assert boxes.locations([[0, 0, 200, 50]], 200, 100).tolist() == [[0, 0, 1, 0.5, 0.5]]


def test_clip_moves_corners_into_the_image() -> None:
    assert boxes.clip([-1, -1, 300, 50], 200, 100).tolist() == [0, 0, 200, 50]


@given(
    st.lists(st.floats(-1e3, 1e3) | st.sampled_from([float("inf"), float("nan"), 1e308]), min_size=4, max_size=4),
    st.integers(1, 900) | st.just(math.inf),
    st.integers(1, 900) | st.just(math.inf),
)
def test_clip_xywh_equals_conversion_and_clip(box: list[float], width: float, height: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        corners = boxes.xywh_to_xyxy(box)
    clipped = boxes.clip(corners, width, height)
    valid = np.isfinite(corners).all() and clipped[2] > clipped[0] and clipped[3] > clipped[1]
    assert boxes.clip_xywh(box, width, height) == (tuple(clipped.tolist()) if valid else None)


@pytest.mark.parametrize(
    ("stated", "actual", "is_same", "factors"),
    [
        ((640, 427), (640, 427), True, (1.0, 1.0)),
        ((640, 427), (640, 426), True, (1.0, 1.0)),
        ((640, 427), (320, 213), False, (0.5, 213 / 427)),
        ((640, 427), (320, 214), False, (0.5, 214 / 427)),
        ((640, 427), (1280, 854), False, (2.0, 2.0)),
        ((640, 427), (427, 640), False, None),
        ((640, 427), (320, 320), False, None),
        ((640, 427), (640, 480), False, None),
        ((10, 8), (11, 8), False, (1.1, 1.0)),  # a pixel of a small image is more than rounding
    ],
)
def test_sizes_of_resized_copies(
    stated: Size, actual: Size, is_same: bool, factors: tuple[float, float] | None
) -> None:
    assert boxes.is_same_size(stated, actual) is is_same
    assert boxes.scale_factors(stated, actual) == factors


@given(st.integers(40, 4000), st.integers(40, 4000), st.floats(0.2, 5.0), st.booleans())
def test_a_copy_of_any_scale_has_the_same_aspect_ratio_when_its_sides_are_rounded(
    width: int, height: int, scale: float, up: bool
) -> None:
    round_side = math.ceil if up else math.floor
    assert boxes.scale_factors((width, height), (round_side(width * scale), round_side(height * scale))) is not None
