"""A prediction as a picture: boxes with their chances, answers in a band below, where the model looked. Paper: Fig. 3.

Sizes follow the picture drawn, so that the text can be read on a thumbnail and on a poster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from twelvefold.schema import Box, Ranked, TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.serving.attention_weights import Attention
    from twelvefold.serving.images import Picture
    from twelvefold.serving.result import Prediction

Look = bool | int | tuple[int, int | None] | tuple[int, int | None, int | str | None]
"""What of the attention to lay over the picture: True (the last block, mean of its heads), a block, (block, head) or
(block, head, word); None for all heads or words."""

LEAST, MOST = 480, 1600
"""Pixels of the longer side of a drawing: below, letters are coarse; above, nothing is gained on a screen."""
ROW = 4
"""Pictures of a search beside each other, and answers below a question."""
SEEN = 0.01
"""A box less likely than this is not drawn: 100 of them would hide the picture."""
DARK = 0.3
"""How bright the picture stays where nothing was looked at."""

INK, SOFT, PAPER, TRACK = (24, 28, 34), (98, 106, 117), (255, 255, 255), (232, 235, 239)
BEST, OTHER, GIVEN = (217, 72, 15), (28, 100, 189), (120, 126, 134)
"""Colours that people who see no red or green tell apart, on light and dark pictures (lines have a white rim)."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture to draw: what is drawn over it, and how large. ``said``: a line below it."""

    picture: Picture
    scale: float
    said: str = ""
    framed: bool = False
    attention: Attention | None = None

    @property
    def size(self) -> tuple[int, int]:
        return max(1, round(self.picture.width * self.scale)), max(1, round(self.picture.height * self.scale))


def draw(prediction: Prediction, attention: Look | None = None) -> Image.Image:
    """The prediction over its pictures: an RGB picture, its longer side 480 to 1,600 pixels and the band below.

    It is wider where the pictures are too narrow for the text.

    Raises:
        TwelvefoldError: attention was not asked for with ``explain=True``, or there is no such block, head or word.
    """
    if attention is not None and attention is not False and not prediction.attention:
        raise TwelvefoldError("this prediction keeps no attention; ask again with explain=True")
    tiles = _tiles(prediction, attention is not None and attention is not False)
    unit = _unit(tiles)
    gap = unit // 2 if len(tiles) > 1 else 0
    drawn = [_tile(prediction, tile, attention, unit) for tile in tiles]
    beside = sum(one.width for one in drawn) + gap * (len(drawn) - 1)
    width = max(beside, 20 * unit)  # room for an answer and its bar below a tall, narrow picture
    height = max(one.height for one in drawn)
    band = _band(prediction, width, unit)
    whole = Image.new("RGB", (width, height + band.height), PAPER)
    left = (width - beside) // 2
    for one in drawn:
        whole.paste(one, (left, (height - one.height) // 2))
        left += one.width + gap
    whole.paste(band, (0, height))
    return whole


def _tiles(prediction: Prediction, explained: bool) -> list[Tile]:
    """The pictures to show, at one height where there are several."""
    maps = {one.picture: one for one in prediction.attention} if explained else {}
    places = list(range(len(prediction.pictures)))
    said = [""] * len(places)
    if prediction.family == "retrieval":
        best = prediction.ranked[:ROW]
        places, said = [int(one.name) for one in best], [_percent(one.probability) for one in best]
    pictures = [prediction.pictures[place] for place in places]
    tall = max(picture.height for picture in pictures)
    equal = [tall / picture.height for picture in pictures]
    longer = max(tall, sum(picture.width * scale for picture, scale in zip(pictures, equal, strict=True)))
    to_size = min(max(longer, LEAST * (1 if len(pictures) == 1 else 1.5)), MOST) / longer
    return [
        Tile(picture, scale * to_size, line, bool(line) and i == 0, maps.get(place))
        for i, (picture, scale, line, place) in enumerate(zip(pictures, equal, said, places, strict=True))
    ]


def _unit(tiles: Sequence[Tile]) -> int:
    """The height of letters: a 28th of the drawing, between what can be read and what looks loud."""
    width, height = sum(tile.size[0] for tile in tiles), max(tile.size[1] for tile in tiles)
    return int(min(max(max(width, height) / 28, 14), 40))


def _tile(prediction: Prediction, tile: Tile, look: Look | None, unit: int) -> Image.Image:
    image = Image.fromarray(tile.picture.rgb).resize(tile.size, Image.Resampling.LANCZOS)
    if tile.attention is not None and look is not None:
        image = _glowing(image, tile.attention, look, tile.scale)
    if prediction.family == "grounding":
        _boxes(image, prediction, tile.scale, unit)
    if not tile.said:
        return image
    line = Image.new("RGB", (image.width, image.height + 2 * unit), PAPER)
    line.paste(image, (0, 0))
    pen = ImageDraw.Draw(line)
    if tile.framed:
        pen.rectangle((0, 0, image.width - 1, image.height - 1), outline=BEST, width=max(2, unit // 5))
    colour = BEST if tile.framed else SOFT
    pen.text((image.width / 2, image.height + unit), tile.said, fill=colour, font=_font(unit), anchor="mm")
    return line


def _boxes(image: Image.Image, prediction: Prediction, scale: float, unit: int) -> None:
    """Candidates that were given, then boxes with a chance, the best last and strongest."""
    thin = max(1, unit // 10)
    told = {one.box_px for one in prediction.ranked if one.probability >= SEEN}
    for box in prediction.candidates_px:
        if box not in told:
            _outline(image, box, scale, GIVEN, thin)
    for place, one in reversed(list(enumerate(prediction.ranked))):
        if one.box_px is not None and (place == 0 or one.probability >= SEEN):
            colour, width = (BEST, 2 * thin + 1) if place == 0 else (OTHER, thin + 1)
            outer = _outline(image, one.box_px, scale, colour, width)
            _tag(image, outer, _percent(one.probability), colour, unit if place == 0 else round(0.8 * unit))


def _outline(
    image: Image.Image, box: Box, scale: float, colour: tuple[int, int, int], width: int
) -> tuple[int, int, int, int]:
    """Draw a box with a white rim, so that it is seen on any ground. Gives its corners in the drawing."""
    x1, y1, x2, y2 = (round(side * scale) for side in box)
    x1, y1 = min(max(x1, 0), image.width - 2), min(max(y1, 0), image.height - 2)
    x2, y2 = max(min(x2, image.width - 1), x1 + 1), max(min(y2, image.height - 1), y1 + 1)
    pen = ImageDraw.Draw(image)
    rim = 1 + width // 4
    around = (max(0, x1 - rim), max(0, y1 - rim), min(image.width - 1, x2 + rim), min(image.height - 1, y2 + rim))
    pen.rectangle(around, outline=PAPER, width=width + 2 * rim)
    pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
    return x1, y1, x2, y2


def _tag(
    image: Image.Image, box: tuple[int, int, int, int], text: str, colour: tuple[int, int, int], size: int
) -> None:
    """A small flag with the chance: above the box, below where there is no room, inside where there is none either."""
    font, pad = _font(size), max(2, size // 4)
    wide, tall = round(_width(text, font)) + 2 * pad, round(1.15 * size) + pad
    x1, y1, _, y2 = box
    left = min(x1, max(0, image.width - wide))
    top = y1 - tall if y1 >= tall else y2 if y2 + tall <= image.height else y1
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((left, top, left + wide, top + tall), radius=pad, fill=colour)
    pen.text((left + wide / 2, top + tall / 2), text, fill=PAPER, font=font, anchor="mm")


def _glowing(image: Image.Image, attention: Attention, look: Look, scale: float) -> Image.Image:
    """The picture dark but where it was looked at: the region most looked at is as bright as it was."""
    shares = attention.regions(*_which(look))
    boxes = attention.boxes_px[1:]  # the first is the whole picture
    most = max(float(shares[1:].max(initial=0.0)), 1e-9)
    light = np.zeros((image.height, image.width), dtype=np.float32)
    for (x1, y1, x2, y2), share in zip(boxes, shares[1:].tolist(), strict=True):
        rows, columns = slice(int(y1 * scale), int(y2 * scale) + 1), slice(int(x1 * scale), int(x2 * scale) + 1)
        light[rows, columns] = np.maximum(light[rows, columns], share / most)
    soft = Image.fromarray((255 * light).astype(np.uint8)).filter(ImageFilter.GaussianBlur(max(image.size) / 200))
    bright = DARK + (1 - DARK) * np.asarray(soft, dtype=np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(image) * bright).astype(np.uint8))


def _which(look: Look) -> tuple[int, int | None, int | str | None]:
    """Block, head and word."""
    if look is True:
        return -1, None, None
    if isinstance(look, tuple):
        block, head, word = (*look, None, None)[:3]
        return int(block or 0), None if head is None else int(head), word
    return int(look), None, None


def _band(prediction: Prediction, width: int, unit: int) -> Image.Image:
    """What was asked and what is answered, below the pictures."""
    pad, small = round(0.8 * unit), round(0.85 * unit)
    lines = _wrapped(prediction.text, _font(unit), width - 2 * pad)
    notes = [line for note in prediction.notes for line in _wrapped(note, _font(small), width - 2 * pad)]
    ranked = prediction.ranked[:ROW] if prediction.family in ("answers", "verification") else ()
    step, row = round(1.4 * unit), round(1.7 * unit)
    band = Image.new("RGB", (width, 2 * pad + step * (len(lines) + len(notes)) + row * len(ranked)), PAPER)
    pen, top = ImageDraw.Draw(band), pad
    for line in lines:
        pen.text((pad, top + step / 2), line, fill=INK, font=_font(unit), anchor="lm")
        top += step
    for place, one in enumerate(ranked):
        _answer(pen, one, place, (pad, top, width - pad, top + row), unit)
        top += row
    for line in notes:
        pen.text((pad, top + step / 2), line, fill=SOFT, font=_font(small), anchor="lm")
        top += step
    return band


def _answer(pen: ImageDraw.ImageDraw, one: Ranked, place: int, box: tuple[int, int, int, int], unit: int) -> None:
    """A line of the band: the answer, a bar as long as its chance, the chance."""
    left, top, right, bottom = box
    colour, middle = (BEST if place == 0 else SOFT), (top + bottom) / 2
    font = _font(unit)
    percent = _width("100 %", font)
    start, end = left + 0.45 * (right - left), right - percent - unit / 2
    pen.text((left, middle), _cut(one.name, font, start - left - unit / 2), fill=colour, font=font, anchor="lm")
    half = unit / 4
    pen.rounded_rectangle((start, middle - half, end, middle + half), radius=half, fill=TRACK)
    if (length := one.probability * (end - start)) >= 2 * half:
        pen.rounded_rectangle((start, middle - half, start + length, middle + half), radius=half, fill=colour)
    pen.text((right, middle), _percent(one.probability), fill=colour, font=font, anchor="rm")


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """The text in lines that fit; a word that fits in none is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, width))
    return lines


def _cut(text: str, font: Font, width: float) -> str:
    if _width(text, font) <= width:
        return text
    while text and _width(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"


def _percent(share: float) -> str:
    return "< 1 %" if share < SEEN else f"{100 * min(share, 1.0):.0f} %"


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _width(text: str, font: Font) -> float:
    return float(font.getlength(text))
