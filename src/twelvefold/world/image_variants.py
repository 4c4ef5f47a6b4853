"""What a picture of the plan shows: its own scene, a near-duplicate of another picture, or one with a thing changed.

Near-duplicates under other ids are what cleaning by id can't see; pictures with one thing changed look alike and are
none. Visual Genome's copy of a COCO picture is made here too: some are scaled or compressed differently, as there.
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

_STREAM: Final = 501

VG_SCALE: Final = 1.25
"""Visual Genome stores many pictures at another size than COCO (800 x 600 for 640 x 480): 1.25."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A picture as taken: pixels, JPEG quality, and the scene with its boxes in those pixels."""

    scene: Scene
    image: Image.Image
    quality: int

    def jpeg(self) -> bytes:
        return encode_jpeg(self.image, self.quality)


def render_image(picture: PlannedImage, seed: int) -> RenderedImage:
    """The picture of the plan: a function of (seed, picture)."""
    scene = _scene(picture, seed)
    if picture.twin == "changed":
        # A colour can always change, so there is a variant; the scene itself would do no harm.
        scene = perturb_scene(scene, np.random.default_rng([seed, _STREAM, picture.index])) or scene
    image = draw_scene(scene)
    how = picture.twin
    if how != "" and how != "changed":
        width, height = image.size
        image = make_near_duplicate(image, how)
        move = partial(transform_box, width=width, height=height, how=how)
        scene = _in_pixels_of(image, scene, move)
    return RenderedImage(scene, image, scene.light.quality)


def _scene(picture: PlannedImage, seed: int) -> Scene:
    if "nlvr2" not in picture.roles:
        return make_scene(seed, picture.scene, crowded=picture.crowded)
    number, place = divmod(picture.index, SET_SIZE)
    return _set(seed, number)[place // 2][place % 2]


_set = lru_cache(maxsize=2)(make_image_set)


def vg_copy(rendered: RenderedImage, picture: PlannedImage) -> RenderedImage:
    """Visual Genome's copy: 70 % the very same bytes, 15 % compressed again, 15 % larger. VG's own stay as they are."""
    twentieth = picture.vg % 20
    if not picture.coco or twentieth < 14:
        return rendered
    if twentieth < 17:
        return replace(rendered, quality=rendered.quality - 8)
    image = rendered.image.resize(
        (round(rendered.image.width * VG_SCALE), round(rendered.image.height * VG_SCALE)), Image.Resampling.BICUBIC
    )
    across, down = image.width / rendered.image.width, image.height / rendered.image.height
    scene = _in_pixels_of(image, rendered.scene, lambda b: (b[0] * across, b[1] * down, b[2] * across, b[3] * down))
    return replace(rendered, image=image, scene=scene)


def _in_pixels_of(image: Image.Image, scene: Scene, move: Callable[[Box], Box]) -> Scene:
    """The scene with its boxes where a cropped or resized picture has them. It is described, never drawn again."""
    objects = tuple(replace(t, box_px=move(t.box_px), whole_px=move(t.whole_px)) for t in scene.objects)
    return replace(scene, width=image.width, height=image.height, objects=objects)
