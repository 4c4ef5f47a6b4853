"""Make ``src/twelvefold/world/glyphs.npz``: rasterize emoji drawings to luminance and alpha masks.

The package does not need this file. It documents the origin of the arrays and needs three things that are not
dependencies of the project: `resvg_py`, `pillow`, `numpy`, and the unpacked npm packages `@iconify-json/noto` 1.2.9
(Apache-2.0) and `@iconify-json/fluent-emoji-flat` 1.2.6 (MIT):

    PYTHONPATH=src python tools/make_glyphs.py src/twelvefold/world/glyphs.npz noto/package fluent-emoji-flat/package

Other Iconify packages give a file of the same structure, with one drawing of a category per package.
`@iconify-json/twemoji` 1.2.5 (CC-BY-4.0) is the unseen style on which the detector's generalization is measured.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from twelvefold.world.categories import CATEGORIES

SIDE = 128
RASTER = 512

ICONS = {
    "car": "automobile", "train": "locomotive", "truck": "delivery-truck", "book": "closed-book",
    "clock": "alarm-clock", "hat": "top-hat", "boot": "womans-boot", "shirt": "t-shirt", "cup": "hot-beverage",
    "gift": "wrapped-gift", "ball": "soccer-ball", "apple": "red-apple", "cake": "birthday-cake",
    "ice cream": "soft-ice-cream", "tree": "deciduous-tree", "flower": "tulip",
}  # fmt: skip
PER_STYLE = {"noto": {"fish": "tropical-fish"}}
"""Icon names that differ from the category's, for all styles and for one."""


def render_icon(icons: dict[str, Any], name: str) -> Image.Image:
    """Return an RGBA drawing, cropped to its drawn pixels."""
    icon = icons["icons"][icons.get("aliases", {}).get(name, {}).get("parent", name)]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RASTER)))).convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox())


def make_masks(image: Image.Image) -> NDArray[np.uint8]:
    """Return (2, SIDE, SIDE): luminance with its dominant level at 128, and alpha; centered, long side SIDE."""
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Resizing with premultiplied alpha keeps the (black) color of empty pixels out of the edges.
    small = image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    light = np.asarray(small.convert("RGB").convert("L")).astype(np.float64)
    alpha = np.asarray(small.getchannel("A"))
    histogram = np.bincount(light[alpha > 200].astype(int), minlength=256).astype(np.float64)
    # Outlines and pupils are not the color of an object: the darkest levels count only without others.
    smooth = np.convolve(histogram, np.ones(13), mode="same") * np.clip(np.arange(256) / 60, 0.05, 1)
    dominant = max(float(smooth.argmax()), 1.0)
    masks = np.zeros((2, SIDE, SIDE), np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    below = light * 128 / dominant
    above = 128 + (light - dominant) * 127 / max(255 - dominant, 64)
    masks[0, top : top + size[1], left : left + size[0]] = np.where(light <= dominant, below, above).round()
    masks[1, top : top + size[1], left : left + size[0]] = alpha
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("packages", type=Path, nargs="+", help="unpacked Iconify packages, first drawing first")
    args = parser.parse_args()
    drawings = []
    for package in args.packages:
        icons = json.loads((package / "icons.json").read_text())
        own = PER_STYLE.get(icons["prefix"], {})
        names = [own.get(category.name, ICONS.get(category.name, category.name)) for category in CATEGORIES]
        drawings.append(np.stack([make_masks(render_icon(icons, name)) for name in names]))
    arrays = np.stack(drawings, axis=1)
    np.savez_compressed(args.out, masks=arrays, kinds=np.array([category.name for category in CATEGORIES]))
    print(f"{args.out}: {arrays.shape}, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
