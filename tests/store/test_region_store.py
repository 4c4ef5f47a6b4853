"""A region store returns what was written, and detects damaged files before they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.region_shard import read_shard_header
from twelvefold.store.region_store import MANIFEST, RegionStore, ShardWriter, finish_store

D, C = 6, 3


def make_regions(count: int, seed: int = 0) -> Regions:
    random = np.random.default_rng(seed)
    return Regions(
        boxes_px=random.uniform(0, 90, (count, 4)).astype(np.float32),
        features=random.normal(size=(count, D)).astype(np.float32),
        width=100 + seed,
        height=80,
        class_probs=random.uniform(size=(count, C)).astype(np.float32),
    )


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def write_store(folder: Path, half: bool = True) -> dict[ImageKey, Regions]:
    images = {key(n): make_regions(count, n) for n, count in enumerate([5, 0, 1, 7])}
    items = list(images.items())
    for number, block in enumerate([items[:3], items[3:], []]):
        with ShardWriter(folder / f"{number}.regions", feature_size=D, num_categories=C, half=half) as shard:
            for name, regions in block:
                shard.add(name, regions)
    finish_store(folder, [f"{n}.regions" for n in range(3)], info={"detector": "abc"}, categories=("cat", "dog", "bus"))
    return images


@pytest.mark.parametrize("half", [True, False])
def test_stored_regions_are_returned(tmp_path: Path, half: bool) -> None:
    images = write_store(tmp_path, half)
    store = RegionStore.open(tmp_path)
    assert store.keys() == list(images)
    assert len(store) == 4
    assert key(2) in store
    assert key(9) not in store
    assert (store.feature_size, store.categories, store.info) == (D, ("cat", "dog", "bus"), {"detector": "abc"})
    assert store.verify() == []
    for name, written in images.items():
        got = store[name]
        assert (got.width, got.height) == (written.width, written.height)
        np.testing.assert_array_equal(got.boxes_px, written.boxes_px)
        assert got.features.dtype == (np.float16 if half else np.float32)
        np.testing.assert_array_equal(got.features, written.features.astype(got.features.dtype))
        mean = got.features.astype(np.float64).mean(axis=0) if len(got.features) else np.zeros(D)
        np.testing.assert_allclose(store.mean(name), mean, rtol=1e-6)
        assert got.class_probs is not None
        assert written.class_probs is not None
        np.testing.assert_array_equal(got.class_probs, written.class_probs.astype(got.features.dtype))


def test_returned_arrays_are_read_only(tmp_path: Path) -> None:
    write_store(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        RegionStore.open(tmp_path)[key(0)].features[0, 0] = 1


def test_equal_images_give_equal_bytes_and_other_images_another_digest(tmp_path: Path) -> None:
    for name in "ab":
        write_store(tmp_path / name)
    shards = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*.regions")} for name in "ab"]
    assert shards[0] == shards[1] != {}
    assert RegionStore.open(tmp_path / "a").digest == RegionStore.open(tmp_path / "b").digest
    write_store(tmp_path / "c", half=False)
    assert RegionStore.open(tmp_path / "a").digest != RegionStore.open(tmp_path / "c").digest


def test_an_unknown_image_is_an_error(tmp_path: Path) -> None:
    write_store(tmp_path)
    with pytest.raises(TwelvefoldError, match="no image coco/77"):
        RegionStore.open(tmp_path)[key(77)]


@pytest.mark.parametrize("field", ["features", "boxes_px", "class_probs"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_are_rejected_and_nothing_is_written(tmp_path: Path, field: str, bad: float) -> None:
    regions = make_regions(3)
    getattr(regions, field)[1, 0] = bad
    path = tmp_path / "x.regions"
    with (
        pytest.raises(TwelvefoldError, match=f"image coco/5: {field} of region 1"),
        ShardWriter(path, feature_size=D, num_categories=C) as shard,
    ):
        shard.add(key(5), regions)
    assert not path.exists()


def test_a_number_too_large_for_float16_is_rejected(tmp_path: Path) -> None:
    regions = make_regions(2)
    regions.features[0, 0] = 1e6
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D, num_categories=C)
    with pytest.raises(TwelvefoldError, match="too large for float16"):
        writer.add(key(5), regions)


def test_wrong_shapes_and_repeated_keys_are_rejected(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D + 1, num_categories=C)
    with pytest.raises(TwelvefoldError, match=r"expected features of shape \(2, 7\), got \(2, 6\)"):
        writer.add(key(1), make_regions(2))
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D)
    with pytest.raises(TwelvefoldError, match="class probabilities"):
        writer.add(key(1), make_regions(2))
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D, num_categories=C)
    writer.add(key(1), make_regions(2))
    with pytest.raises(TwelvefoldError, match="is added twice"):
        writer.add(key(1), make_regions(2))


def test_an_image_in_two_shards_is_rejected(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name, feature_size=D, num_categories=C) as shard:
            shard.add(key(1), make_regions(2))
    with pytest.raises(TwelvefoldError, match="coco/1 is in a and in b"):
        finish_store(tmp_path, ["a", "b"], info={}, categories=("x", "y", "z"))
    assert not (tmp_path / MANIFEST).exists()


def test_shards_of_two_detectors_are_rejected(tmp_path: Path) -> None:
    for name, half in (("a", True), ("b", False)):
        with ShardWriter(tmp_path / name, feature_size=D, num_categories=C, half=half) as shard:
            shard.add(ImageKey("vg", name), make_regions(1))
    with pytest.raises(TwelvefoldError, match="differ"):
        finish_store(tmp_path, ["a", "b"], info={}, categories=("x", "y", "z"))


def test_a_truncated_shard_is_detected_at_opening(tmp_path: Path) -> None:
    write_store(tmp_path)
    path = tmp_path / "1.regions"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TwelvefoldError, match=r"1\.regions has .* truncated"):
        RegionStore.open(tmp_path)
    path.write_bytes(b"12")
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not a region shard"):
        RegionStore.open(tmp_path)
    path.unlink()
    with pytest.raises(TwelvefoldError, match=r"cannot read region shard .*1\.regions"):
        RegionStore.open(tmp_path)


def test_a_replaced_file_is_detected_at_opening(tmp_path: Path) -> None:
    write_store(tmp_path)
    good = (tmp_path / "0.regions").read_bytes()
    (tmp_path / "1.regions").write_bytes(good)  # a complete shard, but another one
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not the shard"):
        RegionStore.open(tmp_path)
    (tmp_path / "1.regions").write_bytes(b"\x89PNG" + good[4:])
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not a region shard"):
        RegionStore.open(tmp_path)


def test_a_folder_that_is_not_a_complete_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="not a complete region store"):
        RegionStore.open(tmp_path)
    write_store(tmp_path)
    manifest = atomic_files.read_json(tmp_path / MANIFEST)
    manifest["pictures"] = 5
    atomic_files.write_json(tmp_path / MANIFEST, manifest)
    with pytest.raises(TwelvefoldError, match="was changed"):
        RegionStore.open(tmp_path)
    atomic_files.write_json(tmp_path / MANIFEST, {"format": "something else"})
    with pytest.raises(TwelvefoldError, match="not a manifest of format 'twelvefold regions': extract"):
        RegionStore.open(tmp_path)


def test_verify_detects_a_flipped_bit(tmp_path: Path) -> None:
    write_store(tmp_path)
    path = tmp_path / "1.regions"
    data = bytearray(path.read_bytes())
    data[read_shard_header(path).layout()[0][0] + 3] ^= 1
    path.write_bytes(bytes(data))
    assert RegionStore.open(tmp_path).verify() == ["1.regions"]


def test_a_store_without_images_can_be_opened(tmp_path: Path) -> None:
    finish_store(tmp_path, [], info={})
    assert len(RegionStore.open(tmp_path)) == 0
