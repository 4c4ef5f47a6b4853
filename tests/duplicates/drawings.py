"""Pairs of simple drawings that show different things: icons, diagrams, logos, glyphs, screens, nearly empty pages.

A drawing is a list of marks on a background. A pair has one change: another outline, color, place or text, two marks
swapped, or one mark removed. Both images are then finished independently, as files from two sources would be.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

PALETTE = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (250, 220, 40),
    "purple": (140, 50, 170),
    "teal": (0, 130, 130),
    "orange": (240, 140, 20),
    "brown": (140, 70, 30),
    "black": (15, 15, 15),
}
OUTLINES = ("circle", "triangle", "rectangle", "diamond", "star", "cross", "ring", "arrow")
KINDS = ("shapes", "icon", "diagram", "logo", "glyph", "text logo", "screen", "nearly empty", "textured scene")
CHANGES = ("outline", "color", "moved", "swapped", "removed", "text")
FINISHES = ("plain", "JPEG", "noise", "resized")
WORDS = ("ACME", "Orbit", "NOVA", "Pixel", "Delta", "Lumen", "Quill", "Zephyr", "Save", "Open", "Cancel", "Start")


@dataclass(frozen=True)
class Mark:
    """One thing that is drawn. ``x``, ``y``: center, and ``size``, as fractions of the side. ``text``: what a mark of
    the outline ``text`` says."""

    outline: str
    color: str
    x: float
    y: float
    size: float
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """``side``: of the square image in pixels. ``texture``: strength of a texture behind the marks, in levels;
    ``seed`` is the texture's."""

    kind: str
    side: int
    background: tuple[int, int, int]
    marks: tuple[Mark, ...]
    texture: float = 0.0
    seed: int = 0


class DrawingPair(NamedTuple):
    """Two images that show different things. ``name``: kind, change and finish."""

    name: str
    first: Image.Image
    second: Image.Image


def different_pairs(seed: int, count: int, finishes: tuple[str, ...] = FINISHES) -> Iterator[DrawingPair]:
    """Yield ``count`` pairs of drawings; kinds, changes and finishes take turns."""
    rng = np.random.default_rng(seed)
    done = 0
    while done < count:
        drawing = make_drawing(KINDS[int(rng.integers(len(KINDS)))], rng)
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        changed = change_drawing(drawing, change, rng)
        if changed is not None:
            images = render(drawing), render(changed)
            if is_visible(*images):
                finish = finishes[done % len(finishes)]
                name = f"{drawing.kind}, {change}, {finish}"
                yield DrawingPair(name, *(finish_image(image, finish, rng) for image in images))
                done += 1


def is_visible(first: Image.Image, second: Image.Image) -> bool:
    """Return whether several pixels differ clearly: a red mark on a red tile has no outline."""
    difference = np.abs(np.asarray(first, dtype=np.int16) - np.asarray(second, dtype=np.int16)).max(axis=2)
    return int((difference > 60).sum()) >= 6


def make_drawing(kind: str, rng: Generator) -> Drawing:
    """Return a random drawing of the kind."""
    side = int(rng.choice((48, 64, 96, 128, 200, 256))) if kind != "shapes" else 64
    light = tuple(int(level) for level in rng.integers(225, 256, 3))
    if kind == "shapes":
        marks = [random_mark(rng, (0.1, 0.35))]
    elif kind == "icon":
        x, y = (float(value) for value in rng.uniform(0.3, 0.6, 2))
        marks = [Mark("tile", random_color(rng), 0.5, 0.5, 0.9), random_mark(rng, (0.2, 0.4), (x, y))]
        marks += [random_mark(rng, (0.1, 0.2)) for _ in range(int(rng.integers(3)))]
    elif kind == "diagram":
        marks = [
            random_mark(rng, (0.12, 0.2), ((column + 0.5) / 3, (row + 0.5) / 3))
            for row in range(3)
            for column in range(3)
            if rng.random() < 0.7
        ]
        marks = marks or [random_mark(rng, (0.1, 0.2))]
        marks += [Mark("line", "black", float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8)), 0.4)]
    elif kind == "logo":
        word = str(rng.choice(WORDS))
        marks = [random_mark(rng, (0.3, 0.45), (0.5, 0.4)), Mark("text", random_color(rng), 0.5, 0.82, 0.22, word)]
    elif kind == "glyph":
        glyph = str(rng.choice(list("0123456789ABDEFGHKMNRSTXZ")))
        marks = [Mark("text", random_color(rng), 0.5, 0.5, 0.8, glyph)]
    elif kind == "text logo":
        words = rng.choice(WORDS, 2, replace=False)
        marks = [Mark("text", random_color(rng), 0.5, 0.3 + 0.4 * row, 0.28, str(w)) for row, w in enumerate(words)]
    elif kind == "screen":
        side = max(side, 128)
        marks = [Mark("tile", random_color(rng), 0.5, 0.08, 0.16)]
        marks += [Mark("text", "black", 0.35, 0.3 + 0.12 * row, 0.1, str(rng.choice(WORDS))) for row in range(4)]
        marks += [random_mark(rng, (0.1, 0.14), (0.8, 0.3 + 0.18 * row)) for row in range(3)]
    elif kind == "nearly empty":
        marks = [random_mark(rng, (0.05, 0.12))]
    else:
        marks = [random_mark(rng, (0.12, 0.3)) for _ in range(int(rng.integers(3, 6)))]
        return Drawing(kind, max(side, 96), (150, 140, 130), tuple(marks), 18.0, int(rng.integers(2**31)))
    return Drawing(kind, side, light, tuple(marks))  # type: ignore[arg-type]  # three levels


def random_color(rng: Generator, other_than: str = "") -> str:
    return str(rng.choice([name for name in PALETTE if name != other_than]))


def random_mark(rng: Generator, sizes: tuple[float, float], place: tuple[float, float] | None = None) -> Mark:
    size = float(rng.uniform(*sizes))
    x, y = place or (float(value) for value in rng.uniform(size / 2 + 0.03, 0.97 - size / 2, 2))
    return Mark(str(rng.choice(OUTLINES)), random_color(rng), x, y, size)


def change_drawing(drawing: Drawing, change: str, rng: Generator) -> Drawing | None:
    """Return the drawing with one visible change, or None where it has no room for it."""
    marks = list(drawing.marks)
    last = len(marks) - 1  # nothing covers the last mark
    mark = marks[last]
    if change == "outline" and mark.outline in OUTLINES:
        others = [name for name in OUTLINES if name != mark.outline]
        marks[last] = replace(mark, outline=str(rng.choice(others)))
    elif change == "color":
        marks[last] = replace(mark, color=random_color(rng, mark.color))
    elif change == "moved":
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.3)
        x, y = mark.x + far * float(np.cos(angle)), mark.y + far * float(np.sin(angle))
        if not all(mark.size / 2 < value < 1 - mark.size / 2 for value in (x, y)):
            return None
        marks[last] = replace(mark, x=x, y=y)
    elif change == "swapped" and len(marks) > 1 and marks[last - 1].outline in OUTLINES:
        other = marks[last - 1]
        if (mark.outline, mark.color) == (other.outline, other.color) or mark.outline not in OUTLINES:
            return None
        marks[last - 1] = replace(other, outline=mark.outline, color=mark.color)
        marks[last] = replace(mark, outline=other.outline, color=other.color)
    elif change == "removed" and len(marks) > 1:
        del marks[last]
    elif change == "text" and mark.text:
        options = WORDS if len(mark.text) > 1 else tuple("0123456789ABDEFGHKMNRSTXZ")
        marks[last] = replace(mark, text=str(rng.choice([word for word in options if word != mark.text])))
    else:
        return None
    return replace(drawing, marks=tuple(marks))


def render(drawing: Drawing) -> Image.Image:
    """Return the drawing as an RGB image, with smooth edges."""
    side = drawing.side * 4
    image = Image.new("RGB", (side, side), drawing.background)
    if drawing.texture:
        noise = np.random.default_rng(drawing.seed).normal(size=(drawing.side, drawing.side, 3))
        texture = gaussian_filter(noise, 1.2, axes=(0, 1))
        levels = np.array(drawing.background) + drawing.texture * texture / texture.std()
        small = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
        image = small.resize((side, side), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    for mark in drawing.marks:
        draw_mark(pen, mark, side)
    return image.resize((drawing.side, drawing.side), Image.Resampling.BOX)


def draw_mark(pen: ImageDraw.ImageDraw, mark: Mark, side: int) -> None:
    x, y, r = mark.x * side, mark.y * side, mark.size * side / 2
    box, fill = (x - r, y - r, x + r, y + r), PALETTE[mark.color]
    if mark.outline == "text":
        pen.text((x, y), mark.text, fill=fill, font=ImageFont.load_default(2 * r), anchor="mm")
    elif mark.outline == "circle":
        pen.ellipse(box, fill=fill)
    elif mark.outline == "ring":
        pen.ellipse(box, outline=fill, width=max(2, round(0.45 * r)))
    elif mark.outline == "rectangle":
        pen.rectangle((x - r, y - 0.6 * r, x + r, y + 0.6 * r), fill=fill)
    elif mark.outline == "tile":
        pen.rounded_rectangle((x - 0.48 * side, y - r, x + 0.48 * side, y + r), 0.3 * r, fill=fill)
    elif mark.outline == "line":
        pen.line((x - r, y - r, x + r, y + r), fill=fill, width=max(1, side // 60))
    elif mark.outline == "cross":
        pen.line((x - r, y, x + r, y), fill=fill, width=round(0.6 * r))
        pen.line((x, y - r, x, y + r), fill=fill, width=round(0.6 * r))
    else:
        pen.polygon([(x + r * a, y + r * b) for a, b in POLYGONS[mark.outline]], fill=fill)


POLYGONS = {
    "triangle": [(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
    "diamond": [(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)],
    "arrow": [(-1.0, -0.3), (0.2, -0.3), (0.2, -0.8), (1.0, 0.0), (0.2, 0.8), (0.2, 0.3), (-1.0, 0.3)],
    "star": [
        (
            (1.0 if n % 2 == 0 else 0.45) * float(np.sin(n * np.pi / 5)),
            -(1.0 if n % 2 == 0 else 0.45) * float(np.cos(n * np.pi / 5)),
        )
        for n in range(10)
    ],
}


def finish_image(image: Image.Image, finish: str, rng: Generator) -> Image.Image:
    """Return the image as a file from some source has it: compressed, noisy or at another size."""
    if finish == "JPEG":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(50, 95)))
        return Image.open(buffer).convert("RGB")
    if finish == "noise":
        levels = np.asarray(image) + rng.normal(0, rng.uniform(2, 8), (*image.size, 3))
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    if finish == "resized":
        side = round(image.width * float(rng.uniform(0.6, 1.6)))
        return image.resize((side, side), Image.Resampling.LANCZOS)
    return image
