"""The index of a region store: computed from the shards, kept in one file, and never of another store."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import numpy as np
import pytest

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.map_file import map_file
from twelvefold.store.region_index import INDEX, RegionIndex, RepeatedKeyError, index_content
from twelvefold.store.region_store import MANIFEST, RegionStore, ShardWriter, finish_store


def key(number: int) -> ImageKey:
    return ImageKey("coco", f"image {number}")


def write_store(folder: Path, num_images: int, *, block: int = 50, first: int = 0) -> RegionStore:
    """Write a store whose image n is n + 1 pixels wide."""
    names = []
    for start in range(first, first + num_images, block):
        names.append(f"{start:06d}.regions")
        with ShardWriter(folder / names[-1], feature_size=1) as shard:
            for n in range(start, min(start + block, first + num_images)):
                shard.add(key(n), Regions(np.zeros((1, 4), np.float32), np.zeros((1, 1), np.float32), n + 1, 1))
    return finish_store(folder, names, info={})


def assert_complete(store: RegionStore, num_images: int) -> None:
    assert [store[key(n)].width for n in range(num_images)] == list(range(1, num_images + 1))
    assert store.keys() == [key(n) for n in range(num_images)]
    assert not any(key(n) in store for n in range(num_images, 2 * num_images + 10))
    assert "coco/image 1" not in store


@pytest.mark.parametrize("num_images", [0, 1, 2, 3, 64, 65, 1000])
def test_every_image_and_no_other_has_its_number(num_images: int) -> None:
    names = [str(key(n)).encode() for n in range(num_images)]
    index = RegionIndex(index_content([names[:1], [], names[1:]]), num_images)
    assert [index.find(key(n)) for n in range(num_images)] == list(range(num_images))
    assert all(index.find(key(n)) is None for n in range(num_images, 2 * num_images + 5))


def test_a_key_that_occurs_twice_is_named_by_its_numbers() -> None:
    with pytest.raises(RepeatedKeyError) as error:
        index_content([[b"a/1", b"a/2"], [b"a/3", b"a/1"]])
    assert (error.value.first, error.value.second) == (0, 3)


def test_a_store_of_an_earlier_version_gets_an_index_when_it_is_opened(tmp_path: Path) -> None:
    write_store(tmp_path, 230)
    index = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).unlink()  # as an earlier version left it
    assert_complete(RegionStore.open(tmp_path), 230)
    assert (tmp_path / INDEX).read_bytes() == index
    assert not list(tmp_path.glob(".*"))


def test_the_index_of_another_store_is_replaced(tmp_path: Path) -> None:
    write_store(tmp_path / "a", 230)
    index = (tmp_path / "a" / INDEX).read_bytes()
    write_store(tmp_path / "b", 230, first=1)
    for stale in ((tmp_path / "b" / INDEX).read_bytes(), index[:8] + b"\xff" + index[9:]):  # or of another version
        (tmp_path / "a" / INDEX).write_bytes(stale)
        assert_complete(RegionStore.open(tmp_path / "a"), 230)
        assert (tmp_path / "a" / INDEX).read_bytes() == index


def test_a_store_that_has_grown_has_the_new_images(tmp_path: Path) -> None:
    opened = write_store(tmp_path, 100)
    grown = write_store(tmp_path, 150)
    assert_complete(grown, 150)
    assert_complete(opened, 100)  # a process that has the earlier one open keeps it


@pytest.mark.parametrize("position", [0, 3, 40, 64, 200, -1])
def test_a_flipped_bit_is_detected(tmp_path: Path, position: int) -> None:
    write_store(tmp_path, 100)
    data = bytearray((tmp_path / INDEX).read_bytes())
    data[position] ^= 1
    (tmp_path / INDEX).write_bytes(bytes(data))
    with pytest.raises(TwelvefoldError, match=rf"{INDEX} is damaged: .*Remove it: it is computed"):
        RegionStore.open(tmp_path)
    (tmp_path / INDEX).unlink()  # the advice works
    assert_complete(RegionStore.open(tmp_path), 100)


@pytest.mark.parametrize("length", [0, 7, 63, 64, 1000, -1])
def test_a_truncated_index_is_detected(tmp_path: Path, length: int) -> None:
    write_store(tmp_path, 100)
    (tmp_path / INDEX).write_bytes((tmp_path / INDEX).read_bytes()[:length])
    with pytest.raises(TwelvefoldError, match=f"{INDEX} is damaged"):
        RegionStore.open(tmp_path)


def test_a_store_that_cannot_be_written_to_is_read_all_the_same(tmp_path: Path) -> None:
    write_store(tmp_path, 230)
    (tmp_path / INDEX).unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.warns(UserWarning, match=f"could not write .*{INDEX}.*kept in memory"):
            store = RegionStore.open(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_complete(store, 230)
    assert not (tmp_path / INDEX).exists()


def open_repeatedly(folder: Path, writes: bool) -> None:
    for _ in range(20):
        if writes:
            (folder / INDEX).unlink(missing_ok=True)
        assert_complete(RegionStore.open(folder), 100)


def test_processes_open_a_store_while_others_write_its_index(tmp_path: Path) -> None:
    write_store(tmp_path, 100)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=open_repeatedly, args=(tmp_path, writes)) for writes in (True, False, True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, MANIFEST, "000000.regions", "000050.regions"}


def test_a_store_of_more_shards_than_a_process_may_open_files(tmp_path: Path) -> None:
    store = write_store(tmp_path, 200, block=1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 20, limits[1]))
    try:
        assert_complete(RegionStore.open(tmp_path), 200)
        assert_complete(store, 200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_mapped_file_is_unmapped_with_its_last_view(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    array = map_file(tmp_path / "file")
    view = array[90:].view(np.uint16)
    del array

    def is_mapped() -> bool:
        return str(tmp_path / "file") in Path("/proc/self/maps").read_text()

    assert view.tobytes() == bytes(range(90, 100))
    assert not view.flags.writeable
    assert is_mapped()
    del view
    assert not is_mapped()


def test_an_empty_or_missing_file_is_no_mapping(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert len(map_file(tmp_path / "empty")) == 0
    with pytest.raises(TwelvefoldError, match=r"cannot read .*missing"):
        map_file(tmp_path / "missing")
