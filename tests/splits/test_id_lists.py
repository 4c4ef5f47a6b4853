"""The original's id lists: read without trust, whole numbers only, and held beside ours picture by picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import ImageKey, SameImageLink, TwelvefoldError
from twelvefold.splits.id_lists import compare, load
from twelvefold.splits.policy import Protected


def saved(folder: Path, values: object, name: str = "coco_test_ids.npy") -> Path:
    np.save(folder / name, np.array(values), allow_pickle=True)
    return folder / name


@pytest.mark.parametrize(
    "values",
    [[9, 12, 9], np.array([9, 12], dtype=np.int32), np.array([9, 12], dtype=np.uint64), ["9", "000012"], [b"12", b"9"]],
)
def test_whole_numbers_are_ids_however_they_are_kept(tmp_path: Path, values: object) -> None:
    found = load(saved(tmp_path, values))
    assert found.keys == {ImageKey("coco", "9"), ImageKey("coco", "12")}
    assert (found.about.source, found.about.pictures) == ("coco", 2)


def test_the_source_is_in_the_files_name_or_before_it(tmp_path: Path) -> None:
    for name, source in (("genome_test_ids.npy", "vg"), ("flickr_test_ids.npy", "flickr30k")):
        assert load(saved(tmp_path, [1], name)).about.source == source
    assert load(f"vg={saved(tmp_path, [1])}").about.source == "vg"
    assert load(saved(tmp_path, [1], "coco_test_ids_small.npy")).about.source == "coco"
    with pytest.raises(TwelvefoldError, match=r"mine\.npy: whose ids are these\?.*vg="):
        load(saved(tmp_path, [1], "mine.npy"))


class Trap:
    """Says so if it is ever unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("sprung"),)


def test_a_pickled_array_is_refused_and_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwelvefoldError, match="never loaded"):
        load(saved(tmp_path, [Trap()]))
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.0], "values of type float64"),
        ([True], "values of type bool"),
        ([[1, 2], [3, 4]], r"one-dimensional array of ids, got \(2, 2\)"),
        (7, r"one-dimensional array of ids, got \(\)"),
        (["12", "1_3"], "value 1 is '1_3'"),
        (["n161313"], "value 0 is 'n161313'"),
        ([3, -4], "-4 is no picture's id"),
    ],
)
def test_what_is_no_list_of_ids_is_refused_by_name(tmp_path: Path, values: object, said: str) -> None:
    with pytest.raises(TwelvefoldError, match=rf"coco_test_ids\.npy.*{said}"):
        load(saved(tmp_path, values))


def test_a_file_that_is_missing_cut_short_or_foreign_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, list(range(100)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TwelvefoldError, match=r"coco_test_ids\.npy is no plain NumPy array"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(TwelvefoldError, match=r"coco_test_ids\.npy is no plain NumPy array"):
        load(path)
    with pytest.raises(TwelvefoldError, match=r"can't read the id list .*flickr_test_ids\.npy"):
        load(tmp_path / "flickr_test_ids.npy")
    archive = tmp_path / "coco_test_ids.npz.npy"
    with archive.open("wb") as file:
        ids: NDArray[np.int64] = np.array([1])
        np.savez(file, ids=ids)
    with pytest.raises(TwelvefoldError, match="got several arrays"):
        load(archive)


def test_comparing_counts_pictures_under_all_their_names(tmp_path: Path) -> None:
    def coco(*numbers: int) -> list[ImageKey]:
        return [ImageKey("coco", str(number)) for number in numbers]

    vg = [ImageKey("vg", "41"), ImageKey("vg", "42")]
    joins = [SameImageLink(vg[0], coco(1)[0], "ids", "a map")]  # vg/41 is coco/1
    protected = Protected({("refcoco", "test"): coco(2, 3), ("visual7w", "test"): vg}, Identity(joins))
    found = compare(load(saved(tmp_path, [3, 8, 10])), protected)
    assert (found.theirs, found.ours, found.both, found.only_theirs, found.only_ours) == (3, 3, 1, 2, 2)
    assert found.some_only_theirs == ["coco/8", "coco/10"]
    assert found.some_only_ours == ["coco/1 (visual7w)", "coco/2 (refcoco)"]
    assert found.both_by_task == {"refcoco": 1}
    assert found.only_ours_by_task == {"refcoco": 1, "visual7w": 1}
    genome = compare(load(saved(tmp_path, [41, 42], "genome_test_ids.npy")), protected)
    assert (genome.both, genome.only_theirs, genome.only_ours) == (2, 0, 0)
