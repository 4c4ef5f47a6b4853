"""Images show what their scenes state, and are the same in every process."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twelvefold.schema import Box
from twelvefold.world.backdrop import BACKDROPS, draw_backdrop, make_texture
from twelvefold.world.categories import BACKGROUND_BY_NAME, COLORS, Pattern
from twelvefold.world.draw import draw_jpeg, draw_object, draw_scene, make_pattern_mask
from twelvefold.world.duplicates import TRANSFORMS, Transform, make_near_duplicate, transform_box
from twelvefold.world.scene import Scene, make_scene

PROGRAM = """
import hashlib
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene
for index in range(12):
    print(hashlib.sha256(draw_jpeg(make_scene(2, index, crowded=index > 9))).hexdigest())
"""


@pytest.mark.slow
def test_bytes_do_not_depend_on_process_and_order() -> None:
    digests = {
        index: hashlib.sha256(draw_jpeg(make_scene(2, index, crowded=index > 9))).hexdigest()
        for index in reversed(range(12))
    }
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [digests[index] for index in range(12)]
    assert len(set(digests.values())) == 12


@pytest.mark.parametrize("index", range(12))
def test_boxes_are_tight_around_the_pixels_that_an_object_changes(index: int) -> None:
    scene = make_scene(8, index, crowded=index > 9)
    for i, obj in enumerate(scene.objects):
        changed = np.zeros((scene.height, scene.width), bool)
        for level in (30, 120, 220):
            with_object, without_object = (np.full((scene.height, scene.width, 3), level, np.uint8) for _ in range(2))
            for j, other in enumerate(scene.objects):
                draw_object(with_object, other)
                if j != i:
                    draw_object(without_object, other)
            changed |= np.abs(with_object.astype(int) - without_object).max(axis=2) > 24
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(box - obj.box_px).max() <= 1, obj


@pytest.mark.parametrize("color", COLORS)
def test_a_plain_object_has_its_color(color: str) -> None:
    checked = 0
    for obj in [obj for index in range(15) for obj in make_scene(6, index).objects]:
        canvas = np.full((288, 288, 3), 90, np.uint8)
        draw_object(canvas, replace(obj, color=color, pattern="plain"))
        shape, x, y = obj.sprite, obj.pose.x, obj.pose.y
        unshaded = (np.abs(shape.light.astype(int) - 128) < 3) & (shape.alpha == 255)
        if unshaded.sum() < 12:
            continue  # too thin and small
        checked += 1
        median = np.median(canvas[y : y + shape.height, x : x + shape.width][unshaded], axis=0)
        distance = {name: float(np.abs(median - rgb).sum()) for name, rgb in COLORS.items()}
        assert min(distance, key=lambda name: distance[name]) == color
    assert checked > 60


@pytest.mark.parametrize("pattern", ["striped", "dotted", "checked"])
@pytest.mark.parametrize("side", [30, 52, 90])
def test_patterns_repeat_and_the_first_color_dominates(pattern: Pattern, side: int) -> None:
    for seed in range(20):
        mask = make_pattern_mask(pattern, side, side, np.random.default_rng(seed))
        assert mask.shape == (side, side)
        assert 0.25 < mask.mean() < 0.56
        edges = [np.abs(np.diff((mask > 0.5).astype(int), axis=axis)).sum(axis=axis).max() for axis in (0, 1)]
        assert max(edges) >= 4  # at least two of its stripes, dots or checks in one line
        assert (mask == make_pattern_mask(pattern, side, side, np.random.default_rng(seed))).all()


def test_two_objects_with_equal_attributes_are_not_copies() -> None:
    scene = make_scene(1, 0)
    obj = replace(scene.objects[0], pattern="dotted")
    images = []
    for grain in (1, 2):
        canvas = np.zeros((288, 288, 3), np.uint8)
        draw_object(canvas, replace(obj, pose=obj.pose._replace(grain=grain)))
        images.append(canvas)
    assert (images[0] != images[1]).any()


def _draw_with_light(
    scene: Scene, brightness: float = 1.0, noise: float = 0.0, blur: float = 0.0
) -> NDArray[np.float64]:
    light = scene.light._replace(brightness=brightness, noise=noise, blur=blur)
    return np.asarray(draw_scene(replace(scene, light=light)), dtype=np.float64)


def test_brightness_noise_and_blur_have_the_stated_effect() -> None:
    scene = make_scene(1, 3)
    plain = _draw_with_light(scene)
    middle = (plain > 40) & (plain < 220)
    assert np.median(_draw_with_light(scene, brightness=1.05)[middle] / plain[middle]) == pytest.approx(1.05, abs=0.01)
    assert (_draw_with_light(scene, noise=5.0) - plain)[middle].std() == pytest.approx(5.0, rel=0.1)
    assert np.abs(np.diff(_draw_with_light(scene, blur=0.9), axis=0)).mean() < np.abs(np.diff(plain, axis=0)).mean()


def test_a_jpeg_has_the_size_and_pixels_of_the_scene() -> None:
    scene = make_scene(1, 4)
    with Image.open(io.BytesIO(draw_jpeg(scene))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (scene.width, scene.height))
        assert np.abs(np.asarray(image, float) - np.asarray(draw_scene(scene), float)).mean() < 6


def test_every_background_can_be_drawn_and_differs_from_the_others() -> None:
    assert set(BACKDROPS) == set(BACKGROUND_BY_NAME)
    means = {}
    for background in BACKDROPS:
        horizon = 100 if BACKGROUND_BY_NAME[background].horizon else 0
        image = draw_backdrop(background, 256, 256, horizon, np.random.default_rng(0))
        means[background] = np.concatenate([image[:90].mean(axis=(0, 1)), image[110:].mean(axis=(0, 1))])
        assert len(BACKDROPS[background]) == (2 if horizon else 1)
    close = [(a, b) for a in means for b in means if a < b and np.abs(means[a] - means[b]).max() < 8]
    assert close == []
    assert all(50 < make_texture(zone.texture).mean() < 200 for zones in BACKDROPS.values() for zone in zones)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_near_duplicate_looks_like_the_original_and_has_other_bytes(transform: Transform) -> None:
    image = draw_scene(make_scene(1, 5))
    copy = make_near_duplicate(image, transform)
    assert copy.mode == "RGB"
    back = np.asarray(copy.resize(image.size), float)
    assert copy.size != image.size or (back != np.asarray(image)).any()
    small = [np.asarray(image.resize((9, 8)).convert("L"), float) for image in (image, copy)]
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.97
    assert make_near_duplicate(image, transform).tobytes() == copy.tobytes()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("box", [(40.0, 56.0, 120.0, 96.0), (0.0, 0.0, 256.0, 224.0)])
def test_boxes_are_transformed_with_the_image(transform: Transform, box: Box) -> None:
    pixels = np.zeros((224, 256, 3), np.uint8)
    pixels[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = 200
    bright = np.asarray(make_near_duplicate(Image.fromarray(pixels), transform).convert("L")) > 100
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    if transform == "watermarked" and box[2] < 250:
        found[2:] = [columns[columns < 200][-1] + 1, rows[rows < 200][-1] + 1]
    assert np.abs(found - transform_box(box, 256, 224, transform)).max() <= 1
