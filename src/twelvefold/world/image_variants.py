"""Render a planned image: its own scene, a near-duplicate of another image, or a scene with one object changed.

Cleaning by id cannot find near-duplicates under other ids. Images with one object changed look similar and are not
duplicates. Visual Genome's copy of a COCO image is made here too; some are scaled or compressed differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import numpy as np
from PIL import Image

from twelvefold.schema import Box
from twelvefold.world.draw import draw_scene, encode_jpeg
from twelvefold.world.duplicates import make_near_duplicate, transform_box
from twelvefold.world.perturb import perturb_scene
from twelvefold.world.scene import Scene, make_scene
from twelvefold.world.sources import SET_SIZE, PlannedImage
from twelvefold.world.text.image_sets import make_image_set

_SEED_STREAM: Final = 501

VG_SCALE: Final = 1.25
"""Visual Genome stores many images larger than COCO: 800 x 600 for 640 x 480."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """Pixels, JPEG quality, and the scene with its boxes in these pixels."""

    scene: Scene
    image: Image.Image
    quality: int

    def jpeg(self) -> bytes:
        """Return the image as a JPEG file."""
        return encode_jpeg(self.image, self.quality)


def render_image(planned: PlannedImage, seed: int) -> RenderedImage:
    """Return the image of the plan, a function of the arguments."""
    scene = _make_planned_scene(planned, seed)
    if planned.variant == "changed":
        # A color can always be changed, so the result is never None.
        scene = perturb_scene(scene, np.random.default_rng([seed, _SEED_STREAM, planned.index])) or scene
    image = draw_scene(scene)
    transform = planned.variant
    if transform != "" and transform != "changed":
        move_box = partial(transform_box, width=image.width, height=image.height, transform=transform)
        image = make_near_duplicate(image, transform)
        scene = _move_boxes(scene, image, move_box)
    return RenderedImage(scene, image, scene.light.quality)


def _make_planned_scene(planned: PlannedImage, seed: int) -> Scene:
    if "nlvr2" not in planned.splits:
        return make_scene(seed, planned.scene_index, crowded=planned.is_crowded)
    number, index = divmod(planned.index, SET_SIZE)
    return _cached_image_set(seed, number)[index // 2][index % 2]


_cached_image_set = lru_cache(maxsize=2)(make_image_set)


def make_vg_copy(rendered: RenderedImage, planned: PlannedImage) -> RenderedImage:
    """Return Visual Genome's copy of a COCO image: 70 % the same bytes, 15 % compressed again, 15 % larger."""
    twentieth = planned.vg_id % 20
    if not planned.coco_id or twentieth < 14:
        return rendered
    if twentieth < 17:
        return replace(rendered, quality=rendered.quality - 8)
    size = (round(rendered.image.width * VG_SCALE), round(rendered.image.height * VG_SCALE))
    image = rendered.image.resize(size, Image.Resampling.BICUBIC)
    x, y = image.width / rendered.image.width, image.height / rendered.image.height
    scene = _move_boxes(rendered.scene, image, lambda b: (b[0] * x, b[1] * y, b[2] * x, b[3] * y))
    return replace(rendered, image=image, scene=scene)


def _move_boxes(scene: Scene, image: Image.Image, move_box: Callable[[Box], Box]) -> Scene:
    """Return the scene with its boxes in the pixels of a cropped or resized image. It is not drawn again."""
    objects = tuple(replace(o, box_px=move_box(o.box_px), whole_px=move_box(o.whole_px)) for o in scene.objects)
    return replace(scene, width=image.width, height=image.height, objects=objects)
