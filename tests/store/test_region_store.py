"""A region store gives back what went in, and names whatever is broken before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.region_store import MANIFEST, RegionStore, ShardWriter, finish_store, read_head

D, C = 6, 3


def seen(count: int, seed: int = 0) -> Regions:
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


def make(folder: Path, half: bool = True) -> dict[ImageKey, Regions]:
    pictures = {key(n): seen(count, n) for n, count in enumerate([5, 0, 1, 7])}
    items = list(pictures.items())
    for number, block in enumerate([items[:3], items[3:], []]):
        with ShardWriter(folder / f"{number}.regions", feature_size=D, kinds=C, half=half) as shard:
            for name, regions in block:
                shard.add(name, regions)
    finish_store(folder, [f"{n}.regions" for n in range(3)], info={"detector": "abc"}, kinds=("cat", "dog", "bus"))
    return pictures


@pytest.mark.parametrize("half", [True, False])
def test_everything_comes_back(tmp_path: Path, half: bool) -> None:
    pictures = make(tmp_path, half)
    store = RegionStore.open(tmp_path)
    assert store.keys() == list(pictures)
    assert len(store) == 4
    assert key(2) in store
    assert key(9) not in store
    assert (store.feature_size, store.kinds, store.info) == (D, ("cat", "dog", "bus"), {"detector": "abc"})
    assert store.verify() == []
    for name, put in pictures.items():
        got = store[name]
        assert (got.width, got.height) == (put.width, put.height)
        np.testing.assert_array_equal(got.boxes_px, put.boxes_px)
        assert got.features.dtype == (np.float16 if half else np.float32)
        np.testing.assert_array_equal(got.features, put.features.astype(got.features.dtype))
        mean = got.features.astype(np.float64).mean(axis=0) if len(got.features) else np.zeros(D)
        np.testing.assert_allclose(store.mean(name), mean, rtol=1e-6)
        assert got.class_probs is not None
        assert put.class_probs is not None
        np.testing.assert_array_equal(got.class_probs, put.class_probs.astype(got.features.dtype))


def test_views_cannot_be_written(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        RegionStore.open(tmp_path)[key(0)].features[0, 0] = 1


def test_the_same_pictures_make_the_same_bytes_and_others_another_digest(tmp_path: Path) -> None:
    for name in "ab":
        make(tmp_path / name)
    assert all(
        (tmp_path / "a" / path.name).read_bytes() == path.read_bytes() for path in (tmp_path / "b").glob("*.regions")
    )
    assert RegionStore.open(tmp_path / "a").digest == RegionStore.open(tmp_path / "b").digest
    make(tmp_path / "c", half=False)
    assert RegionStore.open(tmp_path / "a").digest != RegionStore.open(tmp_path / "c").digest


def test_an_unknown_picture_is_named(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(TwelvefoldError, match="no picture coco/77"):
        RegionStore.open(tmp_path)[key(77)]


@pytest.mark.parametrize("field", ["features", "boxes_px", "class_probs"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path: Path, field: str, bad: float) -> None:
    regions = seen(3)
    getattr(regions, field)[1, 0] = bad
    path = tmp_path / "x.regions"
    with (
        pytest.raises(TwelvefoldError, match=f"picture coco/5: {field} of region 1"),
        ShardWriter(path, feature_size=D, kinds=C) as shard,
    ):
        shard.add(key(5), regions)
    assert not path.exists()


def test_a_number_too_large_for_half_floats_is_refused(tmp_path: Path) -> None:
    regions = seen(2)
    regions.features[0, 0] = 1e6
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D, kinds=C)
    with pytest.raises(TwelvefoldError, match="beyond half floats"):
        writer.add(key(5), regions)


def test_wrong_shapes_and_repeats_are_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D + 1, kinds=C)
    with pytest.raises(TwelvefoldError, match=r"features should be of shape \(2, 7\), got \(2, 6\)"):
        writer.add(key(1), seen(2))
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D)
    with pytest.raises(TwelvefoldError, match="class probabilities"):
        writer.add(key(1), seen(2))
    writer = ShardWriter(tmp_path / "x.regions", feature_size=D, kinds=C)
    writer.add(key(1), seen(2))
    with pytest.raises(TwelvefoldError, match="comes twice"):
        writer.add(key(1), seen(2))


def test_a_picture_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name, feature_size=D, kinds=C) as shard:
            shard.add(key(1), seen(2))
    with pytest.raises(TwelvefoldError, match="coco/1 lies in a and in b"):
        finish_store(tmp_path, ["a", "b"], info={}, kinds=("x", "y", "z"))
    assert not (tmp_path / MANIFEST).exists()


def test_shards_of_two_detectors_do_not_mix(tmp_path: Path) -> None:
    for name, half in (("a", True), ("b", False)):
        with ShardWriter(tmp_path / name, feature_size=D, kinds=C, half=half) as shard:
            shard.add(ImageKey("vg", name), seen(1))
    with pytest.raises(TwelvefoldError, match="differ"):
        finish_store(tmp_path, ["a", "b"], info={}, kinds=("x", "y", "z"))


def test_a_truncated_shard_is_named_at_opening(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "1.regions"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TwelvefoldError, match=r"1\.regions has .* cut short"):
        RegionStore.open(tmp_path)
    path.write_bytes(b"12")
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not a region shard"):
        RegionStore.open(tmp_path)
    path.unlink()
    with pytest.raises(TwelvefoldError, match=r"can't read region shard .*1\.regions"):
        RegionStore.open(tmp_path)


def test_a_foreign_or_exchanged_file_is_named_at_opening(tmp_path: Path) -> None:
    make(tmp_path)
    good = (tmp_path / "0.regions").read_bytes()
    (tmp_path / "1.regions").write_bytes(good)  # a whole shard, but another one
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not the shard"):
        RegionStore.open(tmp_path)
    (tmp_path / "1.regions").write_bytes(b"\x89PNG" + good[4:])
    with pytest.raises(TwelvefoldError, match=r"1\.regions is not a region shard"):
        RegionStore.open(tmp_path)


def test_a_folder_that_is_not_a_finished_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="no finished region store"):
        RegionStore.open(tmp_path)
    make(tmp_path)
    manifest = atomic_files.read_json(tmp_path / MANIFEST)
    manifest["pictures"] = 5
    atomic_files.write_json(tmp_path / MANIFEST, manifest)
    with pytest.raises(TwelvefoldError, match="was changed"):
        RegionStore.open(tmp_path)
    atomic_files.write_json(tmp_path / MANIFEST, {"format": "something else"})
    with pytest.raises(TwelvefoldError, match="no manifest of the kind 'twelvefold regions': extract"):
        RegionStore.open(tmp_path)


def test_verify_finds_a_flipped_bit_that_lengths_cannot_show(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "1.regions"
    data = bytearray(path.read_bytes())
    data[read_head(path).layout()[0][0] + 3] ^= 1
    path.write_bytes(bytes(data))
    assert RegionStore.open(tmp_path).verify() == ["1.regions"]


def test_an_empty_store_is_a_store(tmp_path: Path) -> None:
    finish_store(tmp_path, [], info={})
    assert len(RegionStore.open(tmp_path)) == 0
