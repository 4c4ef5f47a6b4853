"""Draw a prediction: boxes with probabilities on the image, answers below it, attention as light. Paper: Fig. 3.

Letters and lines scale with the drawing, so that they are readable on small and on large images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from twelvefold.images import InputImage
from twelvefold.schema import Box, Ranked, TwelvefoldError
from twelvefold.serving.attention_weights import Attention

AttentionSelection = bool | int | tuple[int, int | None] | tuple[int, int | None, int | str | None]
"""Which weights to draw: True (last block, mean over heads and words), a block, (block, head) or (block, head, word);
None stands for all heads or words."""

MIN_SIDE, MAX_SIDE = 480, 1600
"""Pixels of a drawing's longer side: smaller letters are coarse, and larger drawings do not fit a screen."""
MAX_RANKED = 4
"""Images of a search that are drawn, and answers listed below a question."""
MIN_PROBABILITY = 0.01
"""Boxes with a smaller probability are not drawn: 100 of them would hide the image."""
MIN_BRIGHTNESS = 0.3
"""Brightness of a region without attention."""

TEXT_COLOR, MUTED_COLOR, BACKGROUND, BAR_COLOR = (24, 28, 34), (98, 106, 117), (255, 255, 255), (232, 235, 239)
BEST_COLOR, OTHER_COLOR, CANDIDATE_COLOR = (217, 72, 15), (28, 100, 189), (120, 126, 134)
"""Distinguishable with color blindness, on light and dark images (lines have a white rim)."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Drawable(Protocol):
    """What :func:`draw_prediction` reads of a ``Prediction``."""

    @property
    def ranked(self) -> tuple[Ranked, ...]: ...
    @property
    def images(self) -> tuple[InputImage, ...]: ...
    @property
    def found(self) -> tuple[InputImage, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def candidates_px(self) -> tuple[Box, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def attention(self) -> tuple[Attention, ...]: ...


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a drawing: its scale, a line of text below it, a frame if ``best``, and its attention."""

    image: InputImage
    scale: float
    label: str = ""
    best: bool = False
    attention: Attention | None = None

    @property
    def size(self) -> tuple[int, int]:
        return max(1, round(self.image.width * self.scale)), max(1, round(self.image.height * self.scale))


def draw_prediction(prediction: Drawable, attention: AttentionSelection | None = None) -> Image.Image:
    """Return an RGB drawing, its longer side 480 to 1,600 pixels plus the text below.

    It is wider than the images if they are too narrow for the text.

    Raises:
        TwelvefoldError: the prediction has no attention weights, or there is no such block, head or word.
    """
    if attention is False:
        attention = None
    if attention is not None and not prediction.attention:
        raise TwelvefoldError("this prediction has no attention weights; repeat the request with explain=True")
    tiles = _make_tiles(prediction, attention is not None)
    unit = _text_height(tiles)
    gap = unit // 2 if len(tiles) > 1 else 0
    drawn = [_draw_tile(prediction, tile, attention, unit) for tile in tiles]
    row_width = sum(tile.width for tile in drawn) + gap * (len(drawn) - 1)
    width = max(row_width, 20 * unit)  # room for an answer and its bar below a tall, narrow image
    height = max(tile.height for tile in drawn)
    text = _draw_text(prediction, width, unit)
    canvas = Image.new("RGB", (width, height + text.height), BACKGROUND)
    left = (width - row_width) // 2
    for tile in drawn:
        canvas.paste(tile, (left, (height - tile.height) // 2))
        left += tile.width + gap
    canvas.paste(text, (0, height))
    return canvas


def _make_tiles(prediction: Drawable, explain: bool) -> list[Tile]:
    """Return the images to draw, scaled to one height."""
    attention = {each.image_index: each for each in prediction.attention} if explain else {}
    indices, labels = list(range(len(prediction.images))), [""] * len(prediction.images)
    if prediction.found:
        best = prediction.ranked[:MAX_RANKED]
        indices, labels = [int(rank.name) for rank in best], [_percent(rank.probability) for rank in best]
    images = [prediction.images[index] for index in indices]
    height = max(image.height for image in images)
    to_height = [height / image.height for image in images]
    longer = max(height, sum(image.width * scale for image, scale in zip(images, to_height, strict=True)))
    to_size = min(max(longer, MIN_SIDE * (1 if len(images) == 1 else 1.5)), MAX_SIDE) / longer
    return [
        Tile(image, scale * to_size, label, bool(label) and i == 0, attention.get(index))
        for i, (image, scale, label, index) in enumerate(zip(images, to_height, labels, indices, strict=True))
    ]


def _text_height(tiles: Sequence[Tile]) -> int:
    """Return the height of letters in pixels: a 28th of the drawing, at least 14 and at most 40."""
    width, height = sum(tile.size[0] for tile in tiles), max(tile.size[1] for tile in tiles)
    return int(min(max(max(width, height) / 28, 14), 40))


def _draw_tile(prediction: Drawable, tile: Tile, selection: AttentionSelection | None, unit: int) -> Image.Image:
    image = Image.fromarray(tile.image.rgb).resize(tile.size, Image.Resampling.LANCZOS)
    if tile.attention is not None and selection is not None:
        image = _draw_attention(image, tile.attention, selection, tile.scale)
    _draw_boxes(image, prediction, tile.scale, unit)
    if not tile.label:
        return image
    labeled = Image.new("RGB", (image.width, image.height + 2 * unit), BACKGROUND)
    labeled.paste(image, (0, 0))
    pen = ImageDraw.Draw(labeled)
    if tile.best:
        pen.rectangle((0, 0, image.width - 1, image.height - 1), outline=BEST_COLOR, width=max(2, unit // 5))
    color = BEST_COLOR if tile.best else MUTED_COLOR
    pen.text((image.width / 2, image.height + unit), tile.label, fill=color, font=_font(unit), anchor="mm")
    return labeled


def _draw_boxes(image: Image.Image, prediction: Drawable, scale: float, unit: int) -> None:
    """Draw the candidates, then the likely boxes in reverse order, so that the best one is on top."""
    thin = max(1, unit // 10)
    likely = {rank.box_px for rank in prediction.ranked if rank.probability >= MIN_PROBABILITY}
    for box in prediction.candidates_px:
        if box not in likely:
            _draw_outline(image, box, scale, CANDIDATE_COLOR, thin)
    for index, rank in reversed(list(enumerate(prediction.ranked))):
        if rank.box_px is not None and (index == 0 or rank.probability >= MIN_PROBABILITY):
            color, width = (BEST_COLOR, 2 * thin + 1) if index == 0 else (OTHER_COLOR, thin + 1)
            corners = _draw_outline(image, rank.box_px, scale, color, width)
            _draw_tag(image, corners, _percent(rank.probability), color, unit if index == 0 else round(0.8 * unit))


def _draw_outline(
    image: Image.Image, box: Box, scale: float, color: tuple[int, int, int], width: int
) -> tuple[int, int, int, int]:
    """Draw a box with a white rim, visible on any background, and return its corners in the drawing."""
    x1, y1, x2, y2 = (round(side * scale) for side in box)
    x1, y1 = min(max(x1, 0), image.width - 2), min(max(y1, 0), image.height - 2)
    x2, y2 = max(min(x2, image.width - 1), x1 + 1), max(min(y2, image.height - 1), y1 + 1)
    pen = ImageDraw.Draw(image)
    rim = 1 + width // 4
    outer = (max(0, x1 - rim), max(0, y1 - rim), min(image.width - 1, x2 + rim), min(image.height - 1, y2 + rim))
    pen.rectangle(outer, outline=BACKGROUND, width=width + 2 * rim)
    pen.rectangle((x1, y1, x2, y2), outline=color, width=width)
    return x1, y1, x2, y2


def _draw_tag(
    image: Image.Image, box: tuple[int, int, int, int], text: str, color: tuple[int, int, int], size: int
) -> None:
    """Draw a tag with the probability above the box, or below it, or inside it, wherever there is room first."""
    font, pad = _font(size), max(2, size // 4)
    width, height = round(_text_width(text, font)) + 2 * pad, round(1.15 * size) + pad
    x1, y1, _, y2 = box
    left = min(x1, max(0, image.width - width))
    top = y1 - height if y1 >= height else y2 if y2 + height <= image.height else y1
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((left, top, left + width, top + height), radius=pad, fill=color)
    pen.text((left + width / 2, top + height / 2), text, fill=BACKGROUND, font=font, anchor="mm")


def _draw_attention(
    image: Image.Image, attention: Attention, selection: AttentionSelection, scale: float
) -> Image.Image:
    """Darken the image except for the regions with attention; the region with the largest weight stays as it is."""
    weights = attention.region_weights(*_block_head_word(selection))
    boxes = attention.boxes_px[1:]  # the first is the whole image
    largest = max(float(weights[1:].max(initial=0.0)), 1e-9)
    light = np.zeros((image.height, image.width), dtype=np.float32)
    for (x1, y1, x2, y2), weight in zip(boxes, weights[1:].tolist(), strict=True):
        rows, columns = slice(int(y1 * scale), int(y2 * scale) + 1), slice(int(x1 * scale), int(x2 * scale) + 1)
        light[rows, columns] = np.maximum(light[rows, columns], weight / largest)
    smooth = Image.fromarray((255 * light).astype(np.uint8)).filter(ImageFilter.GaussianBlur(max(image.size) / 200))
    brightness = MIN_BRIGHTNESS + (1 - MIN_BRIGHTNESS) * np.asarray(smooth, dtype=np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(image) * brightness).astype(np.uint8))


def _block_head_word(selection: AttentionSelection) -> tuple[int, int | None, int | str | None]:
    if selection is True:
        return -1, None, None
    if isinstance(selection, tuple):
        block, head, word = (*selection, None, None)[:3]
        return int(block or 0), None if head is None else int(head), word
    return int(selection), None, None


def _draw_text(prediction: Drawable, width: int, unit: int) -> Image.Image:
    """Draw the request's text, the answers that are texts, and the notes."""
    pad, small = round(0.8 * unit), round(0.85 * unit)
    lines = _wrap(prediction.text, _font(unit), width - 2 * pad)
    notes = [line for note in prediction.notes for line in _wrap(note, _font(small), width - 2 * pad)]
    answers = [] if prediction.found else [rank for rank in prediction.ranked[:MAX_RANKED] if rank.box_px is None]
    line_height, row_height = round(1.4 * unit), round(1.7 * unit)
    height = 2 * pad + line_height * (len(lines) + len(notes)) + row_height * len(answers)
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    pen, top = ImageDraw.Draw(canvas), pad
    for line in lines:
        pen.text((pad, top + line_height / 2), line, fill=TEXT_COLOR, font=_font(unit), anchor="lm")
        top += line_height
    for index, rank in enumerate(answers):
        _draw_answer(pen, rank, index, (pad, top, width - pad, top + row_height), unit)
        top += row_height
    for line in notes:
        pen.text((pad, top + line_height / 2), line, fill=MUTED_COLOR, font=_font(small), anchor="lm")
        top += line_height
    return canvas


def _draw_answer(pen: ImageDraw.ImageDraw, rank: Ranked, index: int, box: tuple[int, int, int, int], unit: int) -> None:
    """Draw an answer, a bar as long as its probability, and the probability."""
    left, top, right, bottom = box
    color, middle = (BEST_COLOR if index == 0 else MUTED_COLOR), (top + bottom) / 2
    font = _font(unit)
    start, end = left + 0.45 * (right - left), right - _text_width("100 %", font) - unit / 2
    pen.text((left, middle), _shorten(rank.name, font, start - left - unit / 2), fill=color, font=font, anchor="lm")
    half = unit / 4
    pen.rounded_rectangle((start, middle - half, end, middle + half), radius=half, fill=BAR_COLOR)
    if (length := rank.probability * (end - start)) >= 2 * half:
        pen.rounded_rectangle((start, middle - half, start + length, middle + half), radius=half, fill=color)
    pen.text((right, middle), _percent(rank.probability), fill=color, font=font, anchor="rm")


def _wrap(text: str, font: Font, width: float) -> list[str]:
    """Split the text into lines of at most ``width`` pixels; shorten a word that is longer."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_shorten(word, font, width))
    return lines


def _shorten(text: str, font: Font, width: float) -> str:
    if _text_width(text, font) <= width:
        return text
    while text and _text_width(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"


def _percent(probability: float) -> str:
    return "< 1 %" if probability < MIN_PROBABILITY else f"{100 * min(probability, 1.0):.0f} %"


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _text_width(text: str, font: Font) -> float:
    return float(font.getlength(text))
