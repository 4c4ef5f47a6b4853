"""Copies are told from pictures in which one thing is another, and the order of anything doesn't matter."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from twelvefold.duplicates import near_duplicates as module
from twelvefold.duplicates.align_and_compare import ImageSimilarity, compare_images, make_thumbnail
from twelvefold.duplicates.hashes import fingerprint_files
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.duplicates.near_duplicates import (
    MAX_DIFFERENCE,
    MIN_CORRELATION,
    NearDuplicates,
    PairComparison,
    candidate_pairs,
    find_near_duplicates,
)
from twelvefold.images import open_image
from twelvefold.schema import ImageKey, SameImageLink
from twelvefold.world.draw import draw_jpeg, draw_scene, encode_jpeg
from twelvefold.world.duplicates import TRANSFORMS, Transform, make_near_duplicate
from twelvefold.world.perturb import CHANGES, Change, perturb_scene
from twelvefold.world.scene import make_scene

SEED, SCENES = 31, 6


def opened(data: bytes) -> Image.Image:
    return make_thumbnail(open_image(data))


def alike(seen: ImageSimilarity) -> bool:
    return seen.difference <= MAX_DIFFERENCE and seen.correlation >= MIN_CORRELATION


@pytest.mark.parametrize("how", TRANSFORMS)
def test_planted_copies_are_found(how: Transform) -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        copy = encode_jpeg(make_near_duplicate(draw_scene(scene), how), scene.light.quality)
        assert alike(compare_images(opened(draw_jpeg(scene)), opened(copy))), index


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_scene_with_one_thing_changed_is_another_picture(change: Change) -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        variant = perturb_scene(scene, np.random.default_rng(index), change)
        assert variant is None or not alike(compare_images(opened(draw_jpeg(scene)), opened(draw_jpeg(variant)))), index


def test_what_compression_leaves_everywhere_does_not_hide_a_change() -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        variant = perturb_scene(scene, np.random.default_rng(index), "removed")
        assert variant is not None
        image = draw_scene(variant)
        poor = encode_jpeg(image.crop((2, 2, image.width - 3, image.height - 1)), 40)
        assert not alike(compare_images(opened(draw_jpeg(scene)), opened(poor))), index


@pytest.mark.parametrize("cut", [(0.0, 0.0, 0.0, 0.04), (0.03, 0.01, 0.0, 0.0), (0.02, 0.02, 0.02, 0.02)])
def test_a_copy_is_laid_where_it_was_cut_out_whichever_comes_first(cut: tuple[float, float, float, float]) -> None:
    image = draw_scene(make_scene(SEED, 1))
    across, down = image.size
    left, top, right, low = (round(share * side) for share, side in zip(cut, (across, down) * 2, strict=True))
    copy = image.crop((left, top, across - right, down - low))
    copy = copy.resize((copy.width * 3 // 4, copy.height * 3 // 4)).point(lambda level: level * 0.9)
    seen = compare_images(make_thumbnail(np.asarray(image)), make_thumbnail(np.asarray(copy)))
    assert alike(seen)
    assert compare_images(make_thumbnail(np.asarray(copy)), make_thumbnail(np.asarray(image))) == seen


def test_mirrored_grey_and_blank_pictures_are_not_taken_for_copies() -> None:
    image = opened(draw_jpeg(make_scene(SEED, 2)))
    assert not alike(compare_images(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert not alike(compare_images(image, image.convert("L").convert("RGB")))
    assert not alike(compare_images(image, Image.new("RGB", image.size, "gray")))
    assert not alike(compare_images(image, image.resize((image.width, image.height // 2))))
    for size in ((1, 1), (1, 300), (300, 300)):
        compare_images(Image.new("RGB", size), Image.new("RGB", size, "white"))  # nothing to lay, and no error


def album(folder: Path) -> dict[ImageKey, Path]:
    """Two scenes, copies of both, one with a thing changed, and two pages of different grey."""
    folder.mkdir()
    scenes = [make_scene(SEED, index) for index in (3, 4)]
    changed = perturb_scene(scenes[0], np.random.default_rng(1), "pattern")
    assert changed is not None
    pictures: dict[str, Image.Image] = {
        "a0": draw_scene(scenes[0]),
        "b0": draw_scene(scenes[1]),
        "c": draw_scene(changed),
    }
    pictures |= {f"a{i}": make_near_duplicate(pictures["a0"], how) for i, how in enumerate(TRANSFORMS[:2], start=1)}
    pictures["b1"] = make_near_duplicate(pictures["b0"], "cropped")
    pictures |= {name: Image.new("RGB", (90, 70), name) for name in ("gray", "white")}
    for name, image in pictures.items():
        image.save(folder / f"{name}.png")
    return {ImageKey("x", name): folder / f"{name}.png" for name in pictures}


def look(
    pictures: dict[ImageKey, Path], notes: Path, known: ImageGroups | None = None, processes: int = 1
) -> NearDuplicates:
    prints = fingerprint_files(pictures, notes / "prints")
    return find_near_duplicates(prints, pictures, known or ImageGroups(), notes / "compared", processes=processes)


def groups(links: list[SameImageLink], pictures: dict[ImageKey, Path]) -> dict[str, str]:
    identity = ImageGroups(links)
    return {key.id: identity.group_of(key).id for key in sorted(pictures)}


def test_an_album_falls_into_its_photographs(tmp_path: Path) -> None:
    pictures = album(tmp_path / "images")
    found = look(pictures, tmp_path / "one")
    expected = {"a0": "a0", "a1": "a0", "a2": "a0", "b0": "b0", "b1": "b0", "c": "c", "gray": "gray", "white": "white"}
    assert groups(found.links, pictures) == expected
    assert all("look alike: hashes differ in" in link.reason for link in found.links)
    assert "(blank, black ...): 2, the first being x/gray" in found.limitations[0]

    turned = list(pictures.items())
    Random(1).shuffle(turned)
    assert look(dict(turned), tmp_path / "two", processes=2) == found


def test_what_is_known_is_not_compared_again_nor_what_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = album(tmp_path / "images")
    pairs: list[tuple[str, str]] = []
    do = module._compare_block

    def noticed(work: Sequence[tuple[tuple[str, str], Path, Path]]) -> list[PairComparison]:
        pairs.extend((one.stem, other.stem) for _, one, other in work)
        return do(work)

    monkeypatch.setattr(module, "_compare_block", noticed)
    known = ImageGroups([SameImageLink(ImageKey("x", "a0"), ImageKey("x", "a1"), "ids", "a map")])
    first = look(pictures, tmp_path, known)
    assert ("a0", "a1") not in pairs
    assert ("a0", "c") in pairs
    count = len(pairs)
    assert look(pictures, tmp_path, known) == first
    assert len(pairs) == count
    look(pictures, tmp_path)
    assert pairs[count:] == [("a0", "a1")]


def test_equal_pixels_are_compared_once_for_all(tmp_path: Path) -> None:
    pictures = album(tmp_path / "images")
    for number in range(20):
        name = ImageKey("x", f"zz{number}")
        pictures[name] = tmp_path / f"{number}.png"
        Image.open(pictures[ImageKey("x", "b0")]).save(pictures[name], compress_level=number % 10)
    candidates, crowded = candidate_pairs(list(fingerprint_files(pictures, tmp_path / "prints").values()))
    assert not [pair for pair in candidates if "zz" in pair.first.key + pair.second.key]
    assert crowded == []


def test_a_photograph_of_the_world_survives_being_saved_often() -> None:
    image = draw_scene(make_scene(SEED, 5))
    again = image
    for quality in (80, 60, 70, 50):
        again = Image.open(io.BytesIO(encode_jpeg(again, quality)))
    assert alike(compare_images(make_thumbnail(np.asarray(image)), make_thumbnail(np.asarray(again))))
