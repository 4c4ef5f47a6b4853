"""Decide whether two images show the same photo: align them, match their brightness, compare them locally.

Hashes only see coarse light and dark, so they cannot tell a copy from an image in which one object has another color.
Here one image is shifted and scaled onto the other (publishers crop and resize), the sharper one is blurred as the
other is, and its channels are fitted to the other's light. The result is the largest local difference that remains:
copies have no region that differs, except for a watermark in one corner. Where most of the image has no detail in
common (drawings on flat ground, or noise), nothing shows that the alignment is right, and the images are not taken for
copies. Paper: section 2.2; the original project compares ids only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIGNMENT_SIDES = (32, 64, 128)
"""Long sides in pixels, coarse to fine, at which images are aligned. They are compared at the last one, where an object
of a sixteenth of the side still has 8 pixels."""
THUMBNAIL_SIDE = 256
"""Long side in pixels of an image that is kept in memory for comparisons."""
MAX_ITERATIONS = 8
"""Most alignment steps at each side; four or five are usual."""
MAX_STRETCH, MAX_SHIFT = 0.15, 0.12
"""Limits of an alignment, as fractions of the sides."""
GAIN_RANGE = (0.6, 1.6)
"""Limits of the factor between the brightness of two images."""
MAX_CURVE, MIN_SLOPE = 0.25, 0.25
"""Limits of the bend of a tone curve, as a fraction of the range of levels at its middle, and of its slope at both
ends. A gamma of 1.2 bends by 0.07. All channels have the same bend: a lamp or an editor changes light, not one
color."""
TONE_BLUR_PX, MIN_CURVE_GAIN = 1.5, 0.92
"""A tone curve is bent only if that lowers the root mean square error to this fraction, so that noise bends none.
Copies of other gamma had at most 0.90, copies in the same light at least 0.97; chosen on seeds of their own."""
MAX_ASPECT_DIFFERENCE = 0.1
"""Images whose aspect ratios differ by more than this fraction are not compared."""
CORNER_SIZE = (0.26, 0.12)
"""Fractions of width and height of the rectangle that is ignored in the corner that differs most: a watermark or a
date."""
BLUR_SIGMA_PX, FULL_SIDE_PX, MAX_BLUR_SIGMA_PX = 1.0, 200, 1.7
"""Blur at the side of comparison. It removes the noise of compression and resampling, which is coarser in small images:
below this long side the blur grows in inverse proportion, up to the last number."""
MATCHING_BLURS_PX, MIN_MATCHING_GAIN = (0.7, 1.0, 1.4, 2.0), 0.9
"""Blurs of the sharper image that are tried, so that an enlarged copy has no more detail than the other; used if the
mean error falls below this fraction."""
MEDIAN_FACTOR = 6.0
"""Multiple of the median difference that is subtracted from the largest one: compression and scaling change an image
everywhere. Of 0, 4, 6 and 8, the values 6 and 8 separated planted copies best from changed images."""
MAX_GENERAL_DIFFERENCE = 30.0
"""Most levels that are subtracted for that: images that differ more everywhere are different images, or noise."""
MAX_RELATIVE_DIFFERENCE = 0.65
"""Largest local difference of copies, as a fraction of the local range of levels. An outline or color that is in one of
the images only differs by about as much as it stands out; strong compression and enlargement by less."""
COARSE_BLUR_PX, MAX_COARSE_GENERAL_DIFFERENCE, MAX_COARSE_DIFFERENCE = 2.5, 12.0, 0.06
"""The same at a stronger blur, which leaves less of noise and more of objects: levels subtracted at most, and the
largest difference of copies that remains."""
LOCAL_RANGE_PX, MIN_LOCAL_RANGE = 11, 20.0
"""Width of the square in which the range of levels is measured, and levels added to it: noise is no content."""
COMMON_CELLS, CELL_BLUR_PX, MIN_CELL_DEVIATION, MIN_CELL_CORRELATION = 16, 4.0, 0.5, 0.3
"""Detail is compared in 16 x 16 cells: a cell's is common if both images differ from their surroundings, by this
standard deviation in levels, and do so alike."""
MIN_COMPARED_CELLS = 0.06
"""Least fraction of cells that are compared. What more light has blown out (white in one image only) is not."""
MIN_COMMON_DETAIL = 0.62
"""Least fraction of cells with common detail. Noisy or compressed drawings that show different things and pass the
other tests had at most 0.53, and 95 % of copies after the strongest transforms 0.67 or more; chosen on seeds of their
own."""
MAX_COLORLESS_SPREAD = 8
"""Most levels between the channels of an image without color; JPEG files of gray images have a few."""
CLIPPING_LEVEL = 245.0
"""From this level up a channel may be clipped, and is no evidence of the brightness."""

_FILTER = Image.Resampling.LANCZOS

FloatArray = NDArray[np.float32]


class ImageSimilarity(NamedTuple):
    """``difference``: how far the largest local difference, one corner excluded, exceeds the general difference; 0..1,
    where 1 is black against white, or images that cannot be aligned with certainty. ``correlation``: of the two images'
    gray levels, -1..1."""

    difference: float
    correlation: float


class _Alignment(NamedTuple):
    """Scale and shift that map coordinates of one image, from -0.5 to 0.5, into the other."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


def make_thumbnail(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image (H, W, 3) uint8 at the size that :func:`compare_images` needs."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return image


def compare_images(first: Image.Image, second: Image.Image) -> ImageSimilarity:
    """Compare two RGB images. The order of the arguments does not matter.

    If only one of them has color, both are compared by gray levels.
    """
    if _is_colorless(first) != _is_colorless(second):
        first, second = (image.convert("L").convert("RGB") for image in (first, second))
    aspect_ratio = (first.width * second.height) / (first.height * second.width)
    if not 1 / (1 + MAX_ASPECT_DIFFERENCE) < aspect_ratio < 1 + MAX_ASPECT_DIFFERENCE:
        return ImageSimilarity(1.0, -1.0)
    # Clipped highlights cannot be restored, so the darker image is fitted to the brighter one.
    dark, bright = sorted((first, second), key=lambda image: float(np.asarray(image).mean()))
    alignment = _Alignment()
    brightness = (1.0, 0.0)
    for side in ALIGNMENT_SIDES:
        alignment, brightness = _align(dark, bright, side, alignment, brightness)
    size = _size_at(bright, ALIGNMENT_SIDES[-1])
    # Warp at twice the size and halve afterwards: interpolation then loses less detail.
    double_size = (2 * size[0], 2 * size[1])
    warped = _warp(dark.resize(double_size, _FILTER), alignment, double_size)
    source, target = (np.asarray(image.resize(size, _FILTER), dtype=np.float32) for image in (warped, bright))
    inside = _inside_mask(alignment, size, 1.0)
    if inside.sum() < 0.5 * inside.size:
        return ImageSimilarity(1.0, -1.0)
    local_range = np.maximum(_local_range(source), _local_range(target))
    unclipped = inside[:, :, None] & ~_is_near_clipping(source, target)
    source, target = _match_sharpness(source, target, unclipped.min(axis=2))
    fitted = _fit_light(source, target, unclipped)
    correlation = _correlation(fitted.mean(axis=2)[inside], target.mean(axis=2)[inside])
    is_blown = (target.min(axis=2) >= CLIPPING_LEVEL) & (source.min(axis=2) < CLIPPING_LEVEL)
    if _common_detail(fitted.mean(axis=2), target.mean(axis=2), inside & ~is_blown) < MIN_COMMON_DETAIL:
        return ImageSimilarity(1.0, correlation)
    side = min(max(first.size), max(second.size))
    sigma = min(max(BLUR_SIGMA_PX, FULL_SIDE_PX / side), MAX_BLUR_SIGMA_PX)
    return ImageSimilarity(_largest_difference(target - fitted, local_range, inside, sigma), correlation)


def _is_colorless(image: Image.Image) -> bool:
    small = image.copy()
    small.thumbnail((ALIGNMENT_SIDES[1], ALIGNMENT_SIDES[1]), Image.Resampling.BOX)
    return int(np.ptp(np.asarray(small).astype(np.int16), axis=2).max()) <= MAX_COLORLESS_SPREAD


def _common_detail(first: FloatArray, second: FloatArray, inside: NDArray[np.bool_]) -> float:
    """Return the fraction of cells in which two gray images (H, W) have the same detail, of those that are at least
    half ``inside``; 0 where these are too few."""
    a, b = ((levels - _blur(levels, CELL_BLUR_PX)) * inside for levels in (first, second))
    rows, columns = (np.arange(COMMON_CELLS) * side // COMMON_CELLS for side in a.shape)

    def sum_cells(values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1))

    count, area = sum_cells(inside.astype(np.float32)), sum_cells(np.ones_like(a))
    num = np.maximum(count, 1)
    mean_a, mean_b = sum_cells(a) / num, sum_cells(b) / num
    deviation_a, deviation_b = (
        np.sqrt(np.maximum(sum_cells(x * x) / num - mean**2, 0)) for x, mean in ((a, mean_a), (b, mean_b))
    )
    covariance = sum_cells(a * b) / num - mean_a * mean_b
    is_common = (np.minimum(deviation_a, deviation_b) > MIN_CELL_DEVIATION) & (
        covariance > MIN_CELL_CORRELATION * deviation_a * deviation_b
    )
    is_compared = count >= 0.5 * area
    return float(is_common[is_compared].mean()) if is_compared.mean() >= MIN_COMPARED_CELLS else 0.0


def _largest_difference(errors: FloatArray, local_range: FloatArray, inside: NDArray[np.bool_], sigma: float) -> float:
    """Return the ``difference`` of an :class:`ImageSimilarity` from what differs (H, W, 3) after alignment.

    1 where a local difference is too large for what is there (``local_range``, (H, W)). ``sigma``: of the blur.
    """
    errors = errors * inside[:, :, None]
    fine, coarse = (np.abs(_blur(errors, blur)).max(axis=2) for blur in (sigma, COARSE_BLUR_PX))
    corners = _corner_masks((errors.shape[1], errors.shape[0]))
    worst = max(corners, key=lambda corner: float(fine[inside & corner].max(initial=0.0)))
    compared = inside & ~worst
    relative = fine / (MIN_LOCAL_RANGE + local_range)
    coarse_difference = _excess(coarse[compared], MAX_COARSE_GENERAL_DIFFERENCE)
    if relative[compared].max() > MAX_RELATIVE_DIFFERENCE or coarse_difference > MAX_COARSE_DIFFERENCE:
        return 1.0
    return _excess(fine[compared], MAX_GENERAL_DIFFERENCE)


def _excess(differences: FloatArray, max_general: float) -> float:
    """Return how far the largest difference exceeds the general one, of which at most ``max_general`` counts; 0..1."""
    general = min(MEDIAN_FACTOR * float(np.median(differences)), max_general)
    return max(0.0, float(differences.max()) - general) / 255


def _align(
    dark: Image.Image, bright: Image.Image, side: int, alignment: _Alignment, brightness: tuple[float, float]
) -> tuple[_Alignment, tuple[float, float]]:
    """Return the alignment and the brightness (gain, offset) that fit the dark image best to the bright one.

    Gauss-Newton on gray levels, with the mean of both images' gradients. Pixels that differ much have little weight,
    so an object that is in only one of the images does not pull the alignment.
    """
    size = _size_at(bright, side)
    gray = Image.fromarray(_smooth_gray(dark, size))
    target = _smooth_gray(bright, size)
    x = np.broadcast_to((np.arange(size[0], dtype=np.float32) + 0.5) / size[0] - 0.5, target.shape)
    y = np.broadcast_to(((np.arange(size[1], dtype=np.float32) + 0.5) / size[1] - 0.5)[:, None], target.shape)
    values = np.array([*alignment, *brightness])
    lowest = np.array([1 - MAX_STRETCH, 1 - MAX_STRETCH, -MAX_SHIFT, -MAX_SHIFT, GAIN_RANGE[0], -255.0])
    highest = np.array([1 + MAX_STRETCH, 1 + MAX_STRETCH, MAX_SHIFT, MAX_SHIFT, GAIN_RANGE[1], 255.0])
    for _ in range(MAX_ITERATIONS):
        gain, offset = values[4:]
        source = np.asarray(_warp(gray, _Alignment(*values[:4]), size))
        inside = _inside_mask(_Alignment(*values[:4]), size, 0.5) & (target < CLIPPING_LEVEL)
        if not inside.any():
            break
        error = target - (gain * source + offset)
        gradient = np.gradient(0.5 * (gain * source + target))
        grad_x, grad_y = gradient[1] * (size[0] / values[0]), gradient[0] * (size[1] / values[1])
        jacobian = np.stack([grad_x * x, grad_y * y, grad_x, grad_y, source, np.ones_like(source)], axis=2)[inside]
        weight = 1 / (1 + (error[inside] / (3 * np.median(np.abs(error[inside])) + 2)) ** 2)
        weighted = jacobian * weight[:, None]
        hessian = weighted.T @ jacobian
        hessian[np.diag_indices(6)] = hessian[np.diag_indices(6)] * 1.0001 + 1e-3
        step = np.linalg.solve(hessian, weighted.T @ error[inside])
        values = np.clip(values + step, lowest, highest)
        if np.abs(step[:4]).max() < 0.02 / side:  # a fiftieth of a pixel
            break
    return _Alignment(*values[:4]), (float(values[4]), float(values[5]))


class _Tone(NamedTuple):
    """A tone curve on levels 0..1: ``offset + gain x + curve 4 x (1 - x)``, which bends by ``curve`` at its middle."""

    offset: float
    gain: float
    curve: float = 0.0

    def apply(self, levels: FloatArray) -> FloatArray:
        """Return levels 0..255 in the new light."""
        x = levels / 255
        fitted = self.offset + self.gain * x + self.curve * 4 * x * (1 - x)
        return np.asarray(np.clip(255 * fitted, 0, 255), dtype=np.float32)


def _is_near_clipping(source: FloatArray, target: FloatArray) -> NDArray[np.bool_]:
    """Return (H, W, 3), True where a channel is clipped in one of the images, or a blur brings in what is."""
    is_clipped = np.maximum(source, target) >= CLIPPING_LEVEL
    return np.asarray(_blur(is_clipped.astype(np.float32), TONE_BLUR_PX) > 0.02)


def _fit_light(source: FloatArray, target: FloatArray, unclipped: NDArray[np.bool_]) -> FloatArray:
    """Return the source (H, W, 3) in the target's light: one bend for all channels, gain and offset for each.

    Fitted after a blur: noise would flatten the curve, as it spreads the levels of one image and not of the other. A
    clipped channel bends the mean of all, so the bend is fitted where none is clipped.
    """
    smooth, smooth_target = _blur(source, TONE_BLUR_PX), _blur(target, TONE_BLUR_PX)
    curve = _fit_tone(smooth.mean(axis=2), smooth_target.mean(axis=2), unclipped.min(axis=2)).curve
    tones = [_fit_tone(smooth[:, :, i], smooth_target[:, :, i], unclipped[:, :, i], curve) for i in range(3)]
    return np.stack([tone.apply(source[:, :, i]) for i, tone in enumerate(tones)], axis=2)


def _fit_tone(source: FloatArray, target: FloatArray, inside: NDArray[np.bool_], curve: float | None = None) -> _Tone:
    """Return the tone curve that fits one channel (H, W) to another, by robust reweighting on every second pixel of
    both axes. With ``curve``, that is the bend; without, the bend is fitted if that fits clearly better."""
    source, target = source[::2, ::2], target[::2, ::2]
    is_valid = inside[::2, ::2] & (source < CLIPPING_LEVEL) & (target < CLIPPING_LEVEL)
    x, y = source[is_valid].astype(np.float64) / 255, target[is_valid].astype(np.float64) / 255
    if not len(x):
        return _Tone(0.0, 1.0, curve or 0.0)
    bend = 4 * x * (1 - x)
    if curve is not None:
        return _fit_curve(x, y - curve * bend, None)[0]._replace(curve=curve)
    (straight, errors), (bent, bent_errors) = _fit_curve(x, y, None), _fit_curve(x, y, bend)
    most = 6 * float(np.median(errors)) + 20 / 255  # an object that is in one of the images only is no matter of light
    error, bent_error = (np.sqrt((np.minimum(each, most) ** 2).mean()) for each in (errors, bent_errors))
    return bent if bent_error < MIN_CURVE_GAIN * error else straight


def _fit_curve(
    x: NDArray[np.float64], y: NDArray[np.float64], bend: NDArray[np.float64] | None
) -> tuple[_Tone, NDArray[np.float64]]:
    """Return the curve that fits ``x`` to ``y``, both (N), and its errors (N). Without ``bend`` it is
    straight. Where there is hardly any contrast, it stays close to the identity."""
    basis = np.stack([np.ones_like(x), x] if bend is None else [np.ones_like(x), x, bend], axis=1)
    identity = np.array([0.0, 1.0, 0.0])[: basis.shape[1]]
    shrinkage = np.array([0.0, 4.0, 16.0])[: basis.shape[1]] / 255**2
    weight, values, error = np.ones_like(x), identity, np.zeros_like(x)
    for _ in range(6):
        weighted = basis * weight[:, None]
        hessian = weighted.T @ basis + np.diag(weight.sum() * shrinkage + 1e-9)
        values = identity + np.linalg.solve(hessian, weighted.T @ (y - basis @ identity))
        values[1] = np.clip(values[1], *GAIN_RANGE)
        if bend is not None:
            limit = min(MAX_CURVE, (values[1] - MIN_SLOPE) / 4)
            values[2] = np.clip(values[2], -limit, limit)
        values[0] = (weight * (y - basis[:, 1:] @ values[1:])).sum() / (weight.sum() + 1e-9)
        error = np.abs(y - basis @ values)
        weight = 1 / (1 + (error / (1.5 * np.median(error) + 2 / 255)) ** 2) ** 2
    return _Tone(*map(float, values)), error


def _match_sharpness(
    source: FloatArray, target: FloatArray, unclipped: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Return both images (H, W, 3), the sharper one blurred as far as that makes them more alike where no channel is
    clipped."""
    if not unclipped.any():
        return source, target
    gray, other = source.mean(axis=2), target.mean(axis=2)
    gray = _fit_tone(gray, other, unclipped).apply(gray)
    least = MIN_MATCHING_GAIN * float(np.abs(gray - other)[unclipped].mean())
    best = (0.0, 0.0)
    for blurs in ([(sigma, 0.0) for sigma in MATCHING_BLURS_PX], [(0.0, sigma) for sigma in MATCHING_BLURS_PX]):
        for blur in blurs:
            error = float(np.abs(_blur(gray, blur[0]) - _blur(other, blur[1]))[unclipped].mean())
            if error >= least:
                break
            least, best = error, blur
    return _blur(source, best[0]), _blur(target, best[1])


def _correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Pearson's correlation, or 0 where either argument is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale else 0.0


def _size_at(image: Image.Image, side: int) -> tuple[int, int]:
    """Return width and height for a long side of ``side`` pixels, each at least 8."""
    scale = side / max(image.size)
    return max(8, round(image.width * scale)), max(8, round(image.height * scale))


def _smooth_gray(image: Image.Image, size: tuple[int, int]) -> FloatArray:
    """Return gray levels (H, W), blurred a little so that gradients hold over a pixel."""
    gray = np.asarray(image.convert("L").resize(size, _FILTER), dtype=np.float32)
    return _blur(gray, 0.7)


def _blur(levels: FloatArray, sigma: float) -> FloatArray:
    """Return (H, W) or (H, W, 3) levels, blurred along height and width."""
    from scipy.ndimage import gaussian_filter  # costs half a second to import, and evidence by ids does not need it

    if not sigma:
        return levels
    return np.asarray(gaussian_filter(levels, sigma, axes=(0, 1)), dtype=np.float32)


def _warp(image: Image.Image, alignment: _Alignment, size: tuple[int, int]) -> Image.Image:
    """Return the image sampled in the other image's coordinates; ``size`` is its own."""
    width, height = size
    left = (0.5 + alignment.shift_x - 0.5 * alignment.scale_x) * width
    top = (0.5 + alignment.shift_y - 0.5 * alignment.scale_y) * height
    coefficients = (alignment.scale_x, 0.0, left, 0.0, alignment.scale_y, top)
    return image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)


def _inside_mask(alignment: _Alignment, size: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    """Return (H, W), True where the warped image is defined, except for a margin."""
    axes = []
    for length, scale, shift in (
        (size[0], alignment.scale_x, alignment.shift_x),
        (size[1], alignment.scale_y, alignment.shift_y),
    ):
        position = ((np.arange(length) + 0.5) / length - 0.5) * scale + shift + 0.5
        axes.append((position > margin_px / length) & (position < 1 - margin_px / length))
    return axes[1][:, None] & axes[0][None, :]


def _corner_masks(size: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """Return a mask (H, W) for each corner, True in its rectangle."""
    width, height = size
    corner_width, corner_height = round(CORNER_SIZE[0] * width), round(CORNER_SIZE[1] * height)
    x, y = np.arange(width), np.arange(height)
    return [
        near_y[:, None] & near_x[None, :]
        for near_y in (y < corner_height, y >= height - corner_height)
        for near_x in (x < corner_width, x >= width - corner_width)
    ]


def _local_range(levels: FloatArray) -> FloatArray:
    """Return (H, W): the largest range of a channel (of H, W, 3) around each pixel."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = (LOCAL_RANGE_PX, LOCAL_RANGE_PX, 1)
    return np.asarray((maximum_filter(levels, size) - minimum_filter(levels, size)).max(axis=2))
