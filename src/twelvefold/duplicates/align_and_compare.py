"""Whether two pictures show the same photograph: laid over each other, brought to one light, and compared place by
place.

Hashes see a picture's broad light and shade, and so can't tell a photograph from one in which a thing has another
colour. Here one picture is moved and stretched until it lies on the other (publishers crop and scale), its channels are
brought to the other's light, and what counts is the largest difference that is left anywhere: of all the copies that a
photograph has, none has one place that is different, except for a mark in a corner. Paper: section 2.2 knew ids only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDES = (32, 64, 128)
"""Long sides, in pixels, at which pictures are laid over each other, coarse to fine; the last is that of comparison: a
thing of a sixteenth of the side still has 8 pixels."""
KEPT = 256
"""Long side of a picture that waits for its comparison."""
STEPS = 8
"""Most steps of the alignment at each side; four or five are usual."""
STRETCH, SHIFT, LIGHT = 0.15, 0.12, (0.6, 1.6)
"""How far an alignment may go: shares of the sides, and the factor between the lights."""
SHAPES = 0.1
"""Pictures whose width to height differ by more than this share are not compared."""
CORNER = (0.26, 0.12)
"""Share of width and height of the rectangle in each corner that is passed over: a publisher's mark or a date."""
BLUR_PX = 1.0
"""At the side of comparison. Takes the grain of compression and of resampling away."""
EVERYWHERE = 6.0
"""Times the median difference that is taken off the largest: what compression and scaling leave, they leave
everywhere. Of 0, 4, 6 and 8 times, 6 and 8 kept planted copies and changed things furthest apart."""
SHARP = Image.Resampling.LANCZOS
CLIPPED = 245.0
"""Levels from which a channel may have been cut off: no evidence for what the light is."""

Floats = NDArray[np.float32]


class Likeness(NamedTuple):
    """``difference``: by how much the place that differs most, corners apart, stands out from what is different
    everywhere; 0..1, 1 being black to white.
    ``agreement``: correlation of the two pictures' light and shade, -1..1."""

    difference: float
    agreement: float


class _Lay(NamedTuple):
    """Where a picture lies in another one: scale and shift of its coordinates, which go from -0.5 to 0.5."""

    across: float = 1.0
    down: float = 1.0
    right: float = 0.0
    low: float = 0.0


def small(picture: NDArray[np.uint8]) -> Image.Image:
    """A picture (H, W, 3) in the size in which it is kept for comparisons."""
    image = Image.fromarray(picture)
    image.thumbnail((KEPT, KEPT), Image.Resampling.BOX)
    return image


def compare(one: Image.Image, other: Image.Image) -> Likeness:
    """How much alike two RGB pictures are, whichever comes first."""
    shape = (one.width * other.height) / (one.height * other.width)
    if not 1 / (1 + SHAPES) < shape < 1 + SHAPES:
        return Likeness(1.0, -1.0)
    # Light that was cut off can't be had back, so the darker picture is brought to the brighter one's light.
    dark, bright = sorted((one, other), key=lambda image: float(np.asarray(image).mean()))
    lay = _Lay()
    light = (1.0, 0.0)
    for side in SIDES:
        lay, light = _aligned(dark, bright, side, lay, light)
    size = _size(bright, SIDES[-1])
    # Laid at twice the side and halved after: sampling between pixels takes less of the detail away.
    fine = (2 * size[0], 2 * size[1])
    laid = _laid(dark.resize(fine, SHARP), lay, fine)
    seen, wanted = (np.asarray(image.resize(size, SHARP), dtype=np.float32) for image in (laid, bright))
    inside = _inside(lay, size, 1.0)
    if inside.sum() < 0.5 * inside.size:
        return Likeness(1.0, -1.0)
    lit = np.stack([_lit(seen[:, :, i], wanted[:, :, i], inside) for i in range(3)], axis=2)
    left = np.abs(_blurred((wanted - lit) * inside[:, :, None], BLUR_PX)).max(axis=2)
    places = left[inside & ~_corners(size)]
    stands_out = max(0.0, float(places.max() - EVERYWHERE * np.median(places)))
    return Likeness(stands_out / 255, _correlation(lit.mean(axis=2)[inside], wanted.mean(axis=2)[inside]))


def _aligned(
    dark: Image.Image, bright: Image.Image, side: int, lay: _Lay, light: tuple[float, float]
) -> tuple[_Lay, tuple[float, float]]:
    """The lay and the light (factor, offset) that bring the dark picture closest to the bright one at this side.

    Gauss-Newton on the levels of grey, with the mean of both pictures' slopes, and with little weight where the two
    differ much, so that a thing that is in one of them alone pulls at nothing.
    """
    size = _size(bright, side)
    grey = Image.fromarray(_soft(dark, size))
    wanted = _soft(bright, size)
    x = np.broadcast_to((np.arange(size[0], dtype=np.float32) + 0.5) / size[0] - 0.5, wanted.shape)
    y = np.broadcast_to(((np.arange(size[1], dtype=np.float32) + 0.5) / size[1] - 0.5)[:, None], wanted.shape)
    values = np.array([*lay, *light])
    lowest = np.array([1 - STRETCH, 1 - STRETCH, -SHIFT, -SHIFT, LIGHT[0], -255.0])
    highest = np.array([1 + STRETCH, 1 + STRETCH, SHIFT, SHIFT, LIGHT[1], 255.0])
    for _ in range(STEPS):
        gain, offset = values[4:]
        seen = np.asarray(_laid(grey, _Lay(*values[:4]), size))
        inside = _inside(_Lay(*values[:4]), size, 0.5) & (wanted < CLIPPED)
        if not inside.any():
            break
        error = wanted - (gain * seen + offset)
        slopes = np.gradient(0.5 * (gain * seen + wanted))
        right, low = slopes[1] * (size[0] / values[0]), slopes[0] * (size[1] / values[1])
        columns = np.stack([right * x, low * y, right, low, seen, np.ones_like(seen)], axis=2)[inside]
        weight = 1 / (1 + (error[inside] / (3 * np.median(np.abs(error[inside])) + 2)) ** 2)
        weighted = columns * weight[:, None]
        square = weighted.T @ columns
        square[np.diag_indices(6)] = square[np.diag_indices(6)] * 1.0001 + 1e-3
        step = np.linalg.solve(square, weighted.T @ error[inside])
        values = np.clip(values + step, lowest, highest)
        if np.abs(step[:4]).max() < 0.02 / side:  # a fiftieth of a pixel
            break
    return _Lay(*values[:4]), (float(values[4]), float(values[5]))


def _lit(seen: Floats, wanted: Floats, inside: NDArray[np.bool_]) -> Floats:
    """One channel in the other picture's light: factor and offset fitted where the two agree."""
    told = inside & (seen < CLIPPED) & (wanted < CLIPPED)
    x, y = seen[told].astype(np.float64), wanted[told].astype(np.float64)
    gain, offset = 1.0, 0.0
    weight = np.ones_like(x)
    for _ in range(6):
        total = weight.sum() + 1e-6
        middle, wanted_middle = (weight * x).sum() / total, (weight * y).sum() / total
        spread = (weight * (x - middle) ** 2).sum()
        together = (weight * (x - middle) * (y - wanted_middle)).sum()
        gain = (together + 4 * total) / (spread + 4 * total)  # towards 1 where there is hardly any detail to tell it
        gain = float(np.clip(gain, *LIGHT))
        offset = wanted_middle - gain * middle
        error = np.abs(y - gain * x - offset)
        weight = 1 / (1 + (error / (1.5 * np.median(error) + 1)) ** 2) ** 2 if len(error) else weight
    return np.asarray(np.clip(gain * seen + offset, 0, 255), dtype=np.float32)


def _correlation(one: Floats, other: Floats) -> float:
    """Of two lists of levels; 0 where one of them doesn't vary."""
    first, second = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale else 0.0


def _size(image: Image.Image, side: int) -> tuple[int, int]:
    scale = side / max(image.size)
    return max(8, round(image.width * scale)), max(8, round(image.height * scale))


def _soft(image: Image.Image, size: tuple[int, int]) -> Floats:
    """Levels of grey, a little blurred, so that slopes hold for a pixel around."""
    grey = np.asarray(image.convert("L").resize(size, SHARP), dtype=np.float32)
    return _blurred(grey, 0.7)


def _blurred(levels: Floats, sigma: float) -> Floats:
    """(H, W) or (H, W, 3), blurred along its sides."""
    from scipy.ndimage import gaussian_filter  # half a second, which who asks for ids alone doesn't pay

    return np.asarray(gaussian_filter(levels, sigma, axes=(0, 1)), dtype=np.float32)


def _laid(image: Image.Image, lay: _Lay, size: tuple[int, int]) -> Image.Image:
    """A picture of the given size as it lies on the other one, sampled there."""
    width, height = size
    left, top = (0.5 + lay.right - 0.5 * lay.across) * width, (0.5 + lay.low - 0.5 * lay.down) * height
    terms = (lay.across, 0.0, left, 0.0, lay.down, top)
    return image.transform(size, Image.Transform.AFFINE, terms, Image.Resampling.BICUBIC)


def _inside(lay: _Lay, size: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    """(H, W): where the laid picture has something to show, but for a margin."""
    flat = []
    for length, scale, shift in ((size[0], lay.across, lay.right), (size[1], lay.down, lay.low)):
        at = ((np.arange(length) + 0.5) / length - 0.5) * scale + shift + 0.5
        flat.append((at > margin_px / length) & (at < 1 - margin_px / length))
    return flat[1][:, None] & flat[0][None, :]


def _corners(size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W): the four rectangles in the corners."""
    width, height = size
    across, down = round(CORNER[0] * width), round(CORNER[1] * height)
    near_side = np.minimum(np.arange(width), np.arange(width)[::-1]) < across
    near_end = np.minimum(np.arange(height), np.arange(height)[::-1]) < down
    return near_end[:, None] & near_side[None, :]
