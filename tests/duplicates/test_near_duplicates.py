"""Copies are separated from images with one changed object, whatever the order of images and processes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
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
    has_detail,
)
from twelvefold.images import open_image
from twelvefold.schema import ImageKey, SameImageLink
from twelvefold.world.draw import draw_jpeg, draw_scene, encode_jpeg
from twelvefold.world.duplicates import TRANSFORMS, Transform, make_near_duplicate
from twelvefold.world.perturb import CHANGES, Change, perturb_scene
from twelvefold.world.scene import make_scene

SEED, SCENES = 31, 6


def open_thumbnail(data: bytes) -> Image.Image:
    return make_thumbnail(open_image(data))


def is_same(similarity: ImageSimilarity) -> bool:
    return similarity.difference <= MAX_DIFFERENCE and similarity.correlation >= MIN_CORRELATION


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_planted_copies_are_found(transform: Transform) -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        copy = encode_jpeg(make_near_duplicate(draw_scene(scene), transform), scene.light.quality)
        assert is_same(compare_images(open_thumbnail(draw_jpeg(scene)), open_thumbnail(copy))), index


@pytest.mark.parametrize("change", CHANGES)
def test_a_scene_with_one_changed_object_is_another_image(change: Change) -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        changed = perturb_scene(scene, np.random.default_rng(index), change)
        assert changed is not None
        images = open_thumbnail(draw_jpeg(scene)), open_thumbnail(draw_jpeg(changed))
        assert not is_same(compare_images(*images)), index


def gamma(exponent: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.point(lambda level: 255 * (level / 255) ** exponent)


def enlarged_again(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 4, image.height // 4)).resize(image.size)


GLOBAL_CHANGES = {
    "gamma 0.8": gamma(0.8),
    "gamma 1.2": gamma(1.2),
    "less contrast": lambda image: image.point(lambda level: 128 + 0.7 * (level - 128)),
    "light": lambda image: image.point(lambda level: 1.15 * level),
    "smaller and enlarged again": enlarged_again,
}


@pytest.mark.parametrize("change", GLOBAL_CHANGES)
def test_light_and_sharpness_of_a_whole_image_do_not_matter_and_hide_no_change(change: str) -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        image, changed = draw_scene(scene), perturb_scene(scene, np.random.default_rng(index), "color")
        assert changed is not None
        first = open_thumbnail(encode_jpeg(image, 90))
        copy, other = (
            open_thumbnail(encode_jpeg(GLOBAL_CHANGES[change](each), 90)) for each in (image, draw_scene(changed))
        )
        assert is_same(compare_images(first, copy)), index
        assert compare_images(copy, first) == compare_images(first, copy)
        assert not is_same(compare_images(first, other)), index


def test_a_copy_that_more_light_has_blown_out_is_compared_with_the_original_and_with_no_drawing(tmp_path: Path) -> None:
    image = draw_scene(make_scene(51, 39))
    page = Image.new("RGB", image.size, "white")
    page.paste(image.resize((60, 60)), (20, 20))
    saved = {"a": image, "b": image.point(lambda level: 1.15 * level), "page": page, "page 2": page.rotate(2)}
    images = {ImageKey("x", name): tmp_path / f"{name}.png" for name in saved}
    for key, path in images.items():
        saved[key.id].save(path)
    fingerprints = fingerprint_files(images, tmp_path / "fingerprints")
    assert [key.id for key, each in fingerprints.items() if not has_detail(each)] == ["b", "page", "page 2"]
    result = find(images, tmp_path)
    assert [(link.first.id, link.second.id) for link in result.links] == [("a", "b")]
    assert sorted(result.uncompared) == ["x/b", "x/page", "x/page 2"]


def test_compression_noise_does_not_hide_a_change() -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        changed = perturb_scene(scene, np.random.default_rng(index), "removed")
        assert changed is not None
        image = draw_scene(changed)
        compressed = encode_jpeg(image.crop((2, 2, image.width - 3, image.height - 1)), 40)
        assert not is_same(compare_images(open_thumbnail(draw_jpeg(scene)), open_thumbnail(compressed))), index


@pytest.mark.parametrize("cut", [(0.0, 0.0, 0.0, 0.04), (0.03, 0.01, 0.0, 0.0), (0.02, 0.02, 0.02, 0.02)])
def test_a_cropped_copy_is_aligned_in_either_order(cut: tuple[float, float, float, float]) -> None:
    image = draw_scene(make_scene(SEED, 1))
    width, height = image.size
    left, top, right, bottom = (round(fraction * side) for fraction, side in zip(cut, (width, height) * 2, strict=True))
    copy = image.crop((left, top, width - right, height - bottom))
    copy = copy.resize((copy.width * 3 // 4, copy.height * 3 // 4)).point(lambda level: level * 0.9)
    similarity = compare_images(make_thumbnail(np.asarray(image)), make_thumbnail(np.asarray(copy)))
    assert is_same(similarity)
    assert compare_images(make_thumbnail(np.asarray(copy)), make_thumbnail(np.asarray(image))) == similarity


def test_mirrored_and_blank_images_are_not_copies_as_they_are() -> None:
    image = open_thumbnail(draw_jpeg(make_scene(SEED, 2)))
    assert not is_same(compare_images(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert not is_same(compare_images(image, Image.new("RGB", image.size, "gray")))
    assert not is_same(compare_images(image, image.resize((image.width, image.height // 2))))
    for size in ((1, 1), (1, 300), (300, 300)):
        compare_images(Image.new("RGB", size), Image.new("RGB", size, "white"))  # too small to align, but no error


def test_a_gray_copy_is_compared_by_lightness_alone() -> None:
    for index in range(SCENES):
        scene = make_scene(SEED, index)
        image, removed = open_thumbnail(draw_jpeg(scene)), perturb_scene(scene, np.random.default_rng(index), "removed")
        assert removed is not None
        gray = image.convert("L").convert("RGB")
        assert is_same(compare_images(image, gray))
        assert compare_images(gray, image) == compare_images(image, gray)
        assert not is_same(compare_images(gray, open_thumbnail(draw_jpeg(removed))))


def write_images(folder: Path) -> dict[ImageKey, Path]:
    """Write two scenes, copies of both, one scene with a changed object, and two blank images."""
    folder.mkdir()
    scenes = [make_scene(SEED, index) for index in (3, 4)]
    changed = perturb_scene(scenes[0], np.random.default_rng(1), "pattern")
    assert changed is not None
    images: dict[str, Image.Image] = {
        "a0": draw_scene(scenes[0]),
        "b0": draw_scene(scenes[1]),
        "c": draw_scene(changed),
    }
    images |= {
        f"a{i}": make_near_duplicate(images["a0"], transform) for i, transform in enumerate(TRANSFORMS[:2], start=1)
    }
    images["b1"] = make_near_duplicate(images["b0"], "cropped")
    images |= {name: Image.new("RGB", (90, 70), name) for name in ("gray", "white")}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return {ImageKey("x", name): folder / f"{name}.png" for name in images}


def find(
    images: dict[ImageKey, Path], cache_dir: Path, known: ImageGroups | None = None, processes: int = 1
) -> NearDuplicates:
    fingerprints = fingerprint_files(images, cache_dir / "fingerprints")
    return find_near_duplicates(
        fingerprints, images, known or ImageGroups(), cache_dir / "compared", processes=processes
    )


def group_names(links: list[SameImageLink], images: dict[ImageKey, Path]) -> dict[str, str]:
    groups = ImageGroups(links)
    return {key.id: min(groups.matching_groups(key)).id for key in sorted(images)}


def test_images_are_grouped_with_their_copies(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    found = find(images, tmp_path / "first")
    expected = {"a0": "a0", "a1": "a0", "a2": "a0", "b0": "b0", "b1": "b0", "c": "c", "gray": "gray", "white": "white"}
    assert group_names(found.links, images) == expected
    assert all("look alike: hashes differ in" in link.reason for link in found.links)
    assert "(drawings, blank pages, tiny images ...): 2, the first being x/gray" in found.limitations[0]

    shuffled = list(images.items())
    Random(1).shuffle(shuffled)
    assert find(dict(shuffled), tmp_path / "second", processes=2) == found


def test_known_links_and_cached_pairs_are_not_compared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "images")
    pairs: list[tuple[str, str]] = []
    compare_block = module._compare_block

    def recording(block: Sequence[tuple[tuple[str, str, bool], Path, Path]]) -> list[PairComparison]:
        pairs.extend((first.stem, second.stem) for _, first, second in block)
        return compare_block(block)

    monkeypatch.setattr(module, "_compare_block", recording)
    known = ImageGroups([SameImageLink(ImageKey("x", "a0"), ImageKey("x", "a1"), "ids", "a map")])
    expected = find(images, tmp_path, known)
    assert ("a0", "a1") not in pairs
    assert ("a0", "c") in pairs
    count = len(pairs)
    assert find(images, tmp_path, known) == expected
    assert len(pairs) == count
    find(images, tmp_path)
    assert pairs[count:] == [("a0", "a1")]


def test_images_of_equal_pixels_are_compared_once(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    for number in range(20):
        name = ImageKey("x", f"zz{number}")
        images[name] = tmp_path / f"{number}.png"
        Image.open(images[ImageKey("x", "b0")]).save(images[name], compress_level=number % 10)
    candidates, crowded = candidate_pairs(list(fingerprint_files(images, tmp_path / "fingerprints").values()))
    assert not [pair for pair in candidates if "zz" in pair.first.key + pair.second.key]
    assert crowded == []


@pytest.mark.parametrize("transform", ["mirrored", "gray", "cropped"])
def test_mirrored_gray_and_strongly_cropped_copies_are_found(tmp_path: Path, transform: str) -> None:
    images = {}
    for index in (0, 2, 3):
        image = draw_scene(make_scene(SEED, index))
        width, height = image.size
        copy = {
            "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "gray": image.convert("L"),
            "cropped": image.crop((width // 20, height // 20, width - width // 20, height - height // 20)),
        }[transform]
        for name, saved in ((f"{index}", image), (f"{index} copy", copy)):
            images[ImageKey("x", name)] = tmp_path / f"{name}.png"
            saved.save(images[ImageKey("x", name)])
    links = find(images, tmp_path / "cache").links
    assert {(link.first.id, link.second.id) for link in links} == {(f"{n}", f"{n} copy") for n in (0, 2, 3)}
    assert all(("mirrored" in link.reason) == (transform == "mirrored") for link in links)


def test_an_image_that_is_compressed_repeatedly_is_still_a_copy() -> None:
    image = draw_scene(make_scene(SEED, 5))
    copy = image
    for quality in (80, 60, 70, 50):
        copy = Image.open(io.BytesIO(encode_jpeg(copy, quality)))
    assert is_same(compare_images(make_thumbnail(np.asarray(image)), make_thumbnail(np.asarray(copy))))
