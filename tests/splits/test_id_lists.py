"""Id lists are read safely, contain only integers, and are compared with our test images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import ImageKey, SameImageLink, TwelvefoldError
from twelvefold.serving.samples import find_sample
from twelvefold.splits.id_lists import compare_id_list, load_id_list
from twelvefold.splits.policy import ProtectedImages


def save(folder: Path, values: object, name: str = "coco_test_ids.npy") -> Path:
    np.save(folder / name, np.array(values), allow_pickle=True)
    return folder / name


@pytest.mark.parametrize(
    "values",
    [[9, 12, 9], np.array([9, 12], dtype=np.int32), np.array([9, 12], dtype=np.uint64), ["9", "000012"], [b"12", b"9"]],
)
def test_integers_of_every_type_are_ids(tmp_path: Path, values: object) -> None:
    id_list = load_id_list(save(tmp_path, values))
    assert id_list.keys == {ImageKey("coco", "9"), ImageKey("coco", "12")}
    assert (id_list.info.source, id_list.info.num_images) == ("coco", 2)


def test_the_source_is_in_the_file_name_or_before_it(tmp_path: Path) -> None:
    for name, source in (("genome_test_ids.npy", "vg"), ("flickr_test_ids.npy", "flickr30k")):
        assert load_id_list(save(tmp_path, [1], name)).info.source == source
    assert load_id_list(f"vg={save(tmp_path, [1])}").info.source == "vg"
    assert load_id_list(save(tmp_path, [1], "coco_test_ids_small.npy")).info.source == "coco"
    with pytest.raises(TwelvefoldError, match=r"mine\.npy: whose ids are these\?.*vg="):
        load_id_list(save(tmp_path, [1], "mine.npy"))


class Trap:
    """Creates a file if it is ever unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("sprung"),)


def test_a_pickled_array_is_refused_and_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwelvefoldError, match=r"not loaded: .*Path"):
        load_id_list(save(tmp_path, [Trap()]))
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.5], "record 1: expected an id or a path, got 2.5"),
        ([True], "expected integers or text, got bool"),
        ([[1, 2], [3, 4]], r"one-dimensional array of ids, got \(2, 2\)"),
        (7, r"one-dimensional array of ids, got \(\)"),
        (["12", "1_3"], "'1_3' is not an image of coco"),
        (["n161313"], "'n161313' is not an image of coco"),
        ([3, -4], "record 1: expected a whole number, got '-4'"),
    ],
)
def test_an_invalid_list_is_refused_with_its_name(tmp_path: Path, values: object, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=rf"coco_test_ids\.npy.*{message}"):
        load_id_list(save(tmp_path, values))


def test_a_missing_truncated_or_foreign_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = save(tmp_path, list(range(100)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TwelvefoldError, match=r"coco_test_ids\.npy is (truncated|not a \.npy file)"):
        load_id_list(path)
    path.write_bytes(b"")
    with pytest.raises(TwelvefoldError, match=r"coco_test_ids\.npy is (truncated|not a \.npy file)"):
        load_id_list(path)
    with pytest.raises(TwelvefoldError, match=r"expected a list .*flickr_test_ids\.npy, but there is no such file"):
        load_id_list(tmp_path / "flickr_test_ids.npy")
    archive = tmp_path / "coco_test_ids.npz.npy"
    with archive.open("wb") as file:
        ids: NDArray[np.int64] = np.array([1])
        np.savez(file, ids=ids)
    with pytest.raises(TwelvefoldError, match=r"not a \.npy file"):
        load_id_list(archive)


def test_a_comparison_counts_images_under_all_their_keys(tmp_path: Path) -> None:
    def coco(*numbers: int) -> list[ImageKey]:
        return [ImageKey("coco", str(number)) for number in numbers]

    vg = [ImageKey("vg", "41"), ImageKey("vg", "42")]
    links = [SameImageLink(vg[0], coco(1)[0], "ids", "a map")]  # vg/41 is coco/1
    protected = ProtectedImages({("refcoco", "test"): coco(2, 3), ("visual7w", "test"): vg}, ImageGroups(links))
    comparison = compare_id_list(load_id_list(save(tmp_path, [3, 8, 10])), protected)
    assert (comparison.theirs, comparison.ours, comparison.both, comparison.only_theirs, comparison.only_ours) == (
        3,
        3,
        1,
        2,
        2,
    )
    assert comparison.some_only_theirs == ["coco/8", "coco/10"]
    assert comparison.some_only_ours == ["coco/1 (visual7w)", "coco/2 (refcoco)"]
    assert comparison.both_by_task == {"refcoco": 1}
    assert comparison.only_ours_by_task == {"refcoco": 1, "visual7w": 1}
    genome = compare_id_list(load_id_list(save(tmp_path, [41, 42], "genome_test_ids.npy")), protected)
    assert (genome.both, genome.only_theirs, genome.only_ours) == (2, 0, 0)


COCO_IDS = frozenset({ImageKey("coco", "391895"), ImageKey("coco", "522418")})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "# two images\n391895\n522418\n"),
        ("a.txt", "COCO_val2014_000000391895.jpg\nval2017/000000522418.jpg\n"),
        ("a.csv", "image_id;caption\r\n391895.0;a dog\r\n522418.0;a cat\r\n"),
        ("a.tsv", "id\tname\n1\tCOCO_val2014_000000391895.jpg\n2\tCOCO_val2014_000000522418.jpg\n"),
        ("a.json", '{"images": [{"id": 391895}, {"id": 522418}]}'),
        ("a.jsonl", '{"image_id": 391895}\n{"image_id": 522418}\n'),
    ],
)
def test_every_list_that_the_audit_reads_can_protect_images(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    loaded = load_id_list(f"coco={tmp_path / name}")
    assert (loaded.keys, loaded.info.num_images) == (COCO_IDS, 2)
    assert loaded.num_comments == text.count("#")
    assert load_id_list(save(tmp_path, [391895.0, 522418.0])).info.digest == loaded.info.digest


def test_a_folder_of_images_can_protect_them(tmp_path: Path) -> None:
    for key in COCO_IDS:
        shutil.copy(find_sample("room").path, tmp_path / f"COCO_val2014_{int(key.id):012}.jpg")
    assert load_id_list(f"coco={tmp_path}").keys == COCO_IDS
