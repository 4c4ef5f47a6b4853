"""Drawings that show different things are never taken for copies, by hash, size or noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.duplicates.drawings import DrawingPair, different_pairs

from twelvefold.duplicates.align_and_compare import compare_images, make_thumbnail
from twelvefold.duplicates.hashes import fingerprint_files, fingerprint_image
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.duplicates.near_duplicates import (
    MAX_DIFFERENCE,
    MIN_CORRELATION,
    find_near_duplicates,
    has_detail,
    is_comparable,
)
from twelvefold.schema import ImageKey


def is_linked(pair: DrawingPair) -> bool:
    """Return whether the images would be linked, were their hashes equal."""
    pixels = [np.asarray(image) for image in (pair.first, pair.second)]
    if not is_comparable(*(fingerprint_image(each) for each in pixels)):
        return False
    similarity = compare_images(*(make_thumbnail(each) for each in pixels))
    return similarity.difference <= MAX_DIFFERENCE and similarity.correlation >= MIN_CORRELATION


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_drawings_of_different_things_are_not_linked(count: int) -> None:
    assert [pair.name for pair in different_pairs(200, count) if is_linked(pair)] == []


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_no_two_drawings_of_a_folder_are_linked_and_the_simple_ones_are_counted(tmp_path: Path, count: int) -> None:
    images = {}
    for number, pair in enumerate(different_pairs(201, count)):
        for side, image in (("a", pair.first), ("b", pair.second)):
            key = ImageKey("x", f"{number}{side}")
            images[key] = tmp_path / f"{number}{side}.png"
            image.save(images[key])
    fingerprints = fingerprint_files(images, tmp_path / "fingerprints")
    result = find_near_duplicates(fingerprints, images, ImageGroups(), tmp_path / "comparisons")
    assert result.links == []
    simple = sum(not has_detail(each) for each in fingerprints.values())
    assert simple > count / 2
    assert f"(drawings, blank pages, tiny images ...): {simple:,}, the first being" in result.limitations[0]
