"""What a prediction draws: sizes, the boxes where they are, answers below, light where it looked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from twelvefold.schema import Box, FamilyName, Ranked, TwelvefoldError
from twelvefold.serving.attention_weights import Attention, Block
from twelvefold.serving.draw import BEST, GIVEN, MOST, OTHER
from twelvefold.serving.images import picture
from twelvefold.serving.result import Prediction

BOXES: tuple[Box, ...] = ((100, 100, 200, 220), (300, 50, 380, 150), (20, 300, 90, 380))


def prediction(
    family: FamilyName,
    ranked: tuple[Ranked, ...],
    sizes: tuple[tuple[int, int], ...] = ((600, 400),),
    attention: tuple[Attention, ...] = (),
) -> Prediction:
    pictures = tuple(picture(np.full((h, w, 3), 200, np.uint8)) for w, h in sizes)
    candidates = BOXES if family == "grounding" else ()
    return Prediction("task", family, ranked, pictures, "What is it?", candidates, ("A note.",), attention)


def pointed(attention: tuple[Attention, ...] = ()) -> Prediction:
    return prediction("grounding", (Ranked(0.9, box_px=BOXES[0]), Ranked(0.095, box_px=BOXES[1])), attention=attention)


def colours(image: Image.Image, box: Box) -> set[tuple[int, ...]]:
    """Of a box's left edge and its neighbours, at mid-height."""
    x, y = int(box[0]), int((box[1] + box[3]) / 2)
    return {tuple(rgb) for rgb in np.asarray(image)[y, max(0, x - 4) : x + 5].tolist()}


def test_the_best_box_the_other_and_a_candidate_without_a_chance_stand_where_they_are() -> None:
    drawn = pointed().draw()
    assert drawn.mode == "RGB"
    assert drawn.width == 600
    assert [BEST in colours(drawn, BOXES[0]), OTHER in colours(drawn, BOXES[1])] == [True, True]
    assert GIVEN in colours(drawn, BOXES[2])
    assert {tuple(rgb) for rgb in np.asarray(drawn)[395, 500:520].tolist()} == {(200, 200, 200)}


def test_a_surer_answer_has_a_longer_bar() -> None:
    def length(probability: float) -> int:
        drawn = prediction("answers", (Ranked(probability, "a"),)).draw()
        return int((np.asarray(drawn) == BEST).all(axis=2).sum(axis=1).max())

    assert length(0.3) < length(0.6) < length(1.0)


@pytest.mark.parametrize("size", [(1, 1), (3000, 20), (20, 3000), (64, 48), (4000, 3000)])
@pytest.mark.parametrize("family", ["answers", "grounding", "retrieval", "verification"])
def test_any_size_of_picture_can_be_drawn(family: FamilyName, size: tuple[int, int]) -> None:
    one = Ranked(0.7, name="0", box_px=(0, 0, *size) if family == "grounding" else None)
    drawn = prediction(family, (one,), (size,)).draw()
    assert drawn.width <= MOST
    assert drawn.width >= 240  # room for the words below


def test_pictures_of_a_pair_stand_beside_each_other_at_one_height() -> None:
    drawn = np.asarray(prediction("verification", (Ranked(0.7, "True"),), ((300, 200), (600, 400))).draw())
    row = (drawn[10] == 200).all(axis=1)
    edges = np.flatnonzero(np.diff(row.astype(int)))
    assert len(edges) == 2  # one gap
    assert edges[0] + 1 == pytest.approx(len(row) - edges[1] - 1, abs=2)


def test_light_falls_on_what_was_looked_at_and_needs_attention() -> None:
    to_regions = np.zeros((2, 1, 3), np.float32)
    to_regions[0, 0], to_regions[1, 0] = (0.2, 0.8, 0.0), (0.2, 0.0, 0.8)
    block = Block(to_regions, to_regions.transpose(0, 2, 1))
    seen = Attention(0, ("it",), ((0, 0, 600, 400), BOXES[1], BOXES[2]), (block,))
    explained = pointed(attention=(seen,))

    def light(image: Image.Image, box: Box) -> int:
        return int(np.asarray(image)[int(box[3]) - 20, int((box[0] + box[2]) / 2), 0])

    first, second = explained.draw(attention=(0, 0)), explained.draw(attention=(0, 1, "it"))
    assert light(first, BOXES[1]) == 200 > 100 > light(first, BOXES[2])
    assert light(second, BOXES[2]) == 200 > 100 > light(second, BOXES[1])
    assert light(explained.draw(attention=True), BOXES[1]) == 200
    assert light(explained.draw(), BOXES[2]) == 200
    with pytest.raises(TwelvefoldError, match="explain=True"):
        pointed().draw(attention=True)
    with pytest.raises(TwelvefoldError, match="no head 2"):
        explained.draw(attention=(0, 2))


def test_notebooks_get_the_drawing_and_nothing_of_a_text_becomes_markup() -> None:
    one = prediction("answers", (Ranked(0.7, '<b>"'),))
    with Image.open(io.BytesIO(one._repr_png_())) as shown:
        assert shown.size == one.draw().size
    assert "<b>" not in one._repr_html_()
    assert one._repr_html_().count('"') % 2 == 0
