"""The drawing of a prediction: its size, boxes, answers and attention."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from twelvefold.images import load_image
from twelvefold.schema import Box, Ranked, TwelvefoldError
from twelvefold.serving.attention_weights import Attention, BlockAttention
from twelvefold.serving.draw import BEST_COLOR, CANDIDATE_COLOR, MAX_SIDE, OTHER_COLOR
from twelvefold.serving.result import Prediction

BOXES: tuple[Box, ...] = ((100, 100, 200, 220), (300, 50, 380, 150), (20, 300, 90, 380))


def make_prediction(
    family: str,
    ranked: tuple[Ranked, ...],
    sizes: tuple[tuple[int, int], ...] = ((600, 400),),
    attention: tuple[Attention, ...] = (),
) -> Prediction:
    images = tuple(load_image(np.full((h, w, 3), 200, np.uint8)) for w, h in sizes)
    candidates = BOXES if family == "grounding" else ()
    return Prediction("task", family, ranked, images, "What is it?", candidates, ("A note.",), attention)


def make_grounding(attention: tuple[Attention, ...] = ()) -> Prediction:
    return make_prediction(
        "grounding", (Ranked(0.9, box_px=BOXES[0]), Ranked(0.095, box_px=BOXES[1])), attention=attention
    )


def edge_colors(image: Image.Image, box: Box) -> set[tuple[int, ...]]:
    """Return the colors around the middle of a box's left edge."""
    x, y = int(box[0]), int((box[1] + box[3]) / 2)
    return {tuple(rgb) for rgb in np.asarray(image)[y, max(0, x - 4) : x + 5].tolist()}


def test_boxes_and_candidates_are_drawn_at_their_coordinates() -> None:
    drawn = make_grounding().draw()
    assert drawn.mode == "RGB"
    assert drawn.width == 600
    assert [BEST_COLOR in edge_colors(drawn, BOXES[0]), OTHER_COLOR in edge_colors(drawn, BOXES[1])] == [True, True]
    assert CANDIDATE_COLOR in edge_colors(drawn, BOXES[2])
    assert {tuple(rgb) for rgb in np.asarray(drawn)[395, 500:520].tolist()} == {(200, 200, 200)}


def test_bar_length_grows_with_probability() -> None:
    def length(probability: float) -> int:
        drawn = make_prediction("answers", (Ranked(probability, "a"),)).draw()
        return int((np.asarray(drawn) == BEST_COLOR).all(axis=2).sum(axis=1).max())

    assert length(0.3) < length(0.6) < length(1.0)


@pytest.mark.parametrize("size", [(1, 1), (3000, 20), (20, 3000), (64, 48), (4000, 3000)])
@pytest.mark.parametrize("family", ["answers", "grounding", "retrieval", "verification"])
def test_an_image_of_any_size_can_be_drawn(family: str, size: tuple[int, int]) -> None:
    rank = Ranked(0.7, name="0", box_px=(0, 0, *size) if family == "grounding" else None)
    drawn = make_prediction(family, (rank,), (size,)).draw()
    assert drawn.width <= MAX_SIDE
    assert drawn.width >= 240  # room for the text below


def test_two_images_are_drawn_side_by_side_at_the_same_height() -> None:
    drawn = np.asarray(make_prediction("verification", (Ranked(0.7, "True"),), ((300, 200), (600, 400))).draw())
    row = (drawn[10] == 200).all(axis=1)
    edges = np.flatnonzero(np.diff(row.astype(int)))
    assert len(edges) == 2  # one gap
    assert edges[0] + 1 == pytest.approx(len(row) - edges[1] - 1, abs=2)


def test_attention_lights_up_its_regions_and_must_have_been_requested() -> None:
    to_regions = np.zeros((2, 1, 3), np.float32)
    to_regions[0, 0], to_regions[1, 0] = (0.2, 0.8, 0.0), (0.2, 0.0, 0.8)
    block = BlockAttention(to_regions, to_regions.transpose(0, 2, 1))
    attention = Attention(0, ("it",), ((0, 0, 600, 400), BOXES[1], BOXES[2]), (block,))
    explained = make_grounding(attention=(attention,))

    def brightness(image: Image.Image, box: Box) -> int:
        return int(np.asarray(image)[int(box[3]) - 20, int((box[0] + box[2]) / 2), 0])

    first, second = explained.draw(attention=(0, 0)), explained.draw(attention=(0, 1, "it"))
    assert brightness(first, BOXES[1]) == 200 > 100 > brightness(first, BOXES[2])
    assert brightness(second, BOXES[2]) == 200 > 100 > brightness(second, BOXES[1])
    assert brightness(explained.draw(attention=True), BOXES[1]) == 200
    assert brightness(explained.draw(), BOXES[2]) == 200
    with pytest.raises(TwelvefoldError, match="explain=True"):
        make_grounding().draw(attention=True)
    with pytest.raises(TwelvefoldError, match="no head 2"):
        explained.draw(attention=(0, 2))


def test_notebooks_get_the_drawing_with_escaped_text() -> None:
    prediction = make_prediction("answers", (Ranked(0.7, '<b>"'),))
    with Image.open(io.BytesIO(prediction._repr_png_())) as image:
        assert image.size == prediction.draw().size
    assert "<b>" not in prediction._repr_html_()
    assert prediction._repr_html_().count('"') % 2 == 0
