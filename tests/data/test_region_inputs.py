"""Features of many images in one tensor: what is stored, converted once."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.data.collate import make_batch
from twelvefold.data.region_inputs import RegionRows, RegionSource, empty_features, fill_features
from twelvefold.schema import ImageKey, Pair, Regions, TaskSpec
from twelvefold.store.region_store import ShardWriter, finish_store

D = 5


def write_rows(folder: Path, half: bool) -> list[RegionRows]:
    """Return the rows of three images of a store: with regions, without any, and with candidate boxes."""
    random, boxes = np.random.default_rng(0), np.arange(28, dtype=np.float32).reshape(7, 4)
    stores = []
    for name in ("detected", "given"):
        with ShardWriter(folder / name / "a", feature_size=D, half=half) as shard:
            for image, count in enumerate((7, 0, 3)):
                regions = Regions(boxes[:count], random.normal(size=(count, D)).astype(np.float32), 90, 90)
                shard.add(ImageKey("coco", str(image)), regions)
        stores.append(finish_store(folder / name, ["a"], info={}))
    source = RegionSource(*stores)
    candidates = tuple(tuple(map(float, box)) for box in boxes[[2, 0]])
    pairs = [Pair(ImageKey("coco", str(image)), "") for image in range(2)]
    return [source.rows(pair, 6) for pair in [*pairs, Pair(ImageKey("coco", "2"), "", candidates)]]  # type: ignore[arg-type]


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_are_the_stored_numbers_in_order(tmp_path: Path, half: bool, dtype: torch.dtype) -> None:
    rows = write_rows(tmp_path, half)
    out = empty_features(sum(map(len, rows)), D, dtype).fill_(np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the arrays of a store are read-only
        fill_features(rows, out)
    assert out.dtype == dtype
    expected = np.concatenate([part.astype(np.float32) for image in rows for part in image.features])
    assert len(expected) == (1 + 5) + 1 + (1 + 3 + 2)
    np.testing.assert_array_equal(out.numpy(), expected.astype(out.numpy().dtype))


def test_a_tensor_of_another_length_is_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path, half=True)
    count = sum(map(len, rows))
    for length in (count - 1, count + 1):
        with pytest.raises((ValueError, RuntimeError)):
            fill_features(rows, empty_features(length, D))


@pytest.mark.parametrize("stored_half", [True, False])
def test_features_that_travel_in_half_precision_arrive_as_the_same_numbers(tmp_path: Path, stored_half: bool) -> None:
    rows = write_rows(tmp_path, stored_half)
    task = TaskSpec("refcoco", "RefCOCO", "grounding", "refcoco", "accuracy", 9, 5, 2e-5)
    full, half = (make_batch(task, ["a", "b", "c"], [[5], [6], [7]], rows, D, half=half) for half in (False, True))
    assert half.features.dtype == (torch.float16 if stored_half else torch.float32)
    assert full.image_means is None
    arrived = half.with_float32_features()  # as ``to`` does on another device
    assert arrived.image_means is None
    assert torch.equal(arrived.features, full.features)  # also the means, which are stored as float32
