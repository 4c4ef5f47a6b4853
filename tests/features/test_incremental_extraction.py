"""A second extraction processes images that are new or have changed, no others; what is gone leaves the store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from twelvefold.detectors.world_detector.train_on_world import EVALUATION_SEED
from twelvefold.features import extract as module
from twelvefold.features.block_plan import BlockPlan, image_identity, plan_blocks
from twelvefold.features.extract import extract
from twelvefold.features.image_list import ListedImage
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.atomic_files import read_json
from twelvefold.store.region_store import RegionStore
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene

JPEGS = [draw_jpeg(make_scene(EVALUATION_SEED + 9, index)) for index in range(4)]


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"p{number}.jpg").write_bytes(JPEGS[number])
    (folder / "p3.jpg").write_bytes(JPEGS[3][:3000])
    return folder


def features(store: Path) -> Mapping[str, np.ndarray]:
    opened = RegionStore.open(store)
    assert opened.verify() == []
    return {str(key): np.array(opened[key].features) for key in opened.keys()}  # noqa: SIM118 (a store is not a dict)


def test_a_mended_image_is_processed_alone(pics: Path, tmp_path: Path) -> None:
    first = extract(pics, tmp_path / "out", processes=1)
    before = features(first.detected)
    assert list(first.unreadable) == ["pics/p3"]
    (pics / "p3.jpg").write_bytes(JPEGS[3])
    second = extract(pics, tmp_path / "out", processes=1)
    assert (second.num_processed, second.num_images, second.unreadable) == (1, 3, {})
    after = features(second.detected)
    for key, values in before.items():
        np.testing.assert_array_equal(after[key], values)
    assert extract(pics, tmp_path / "out", processes=1).num_processed == 0
    assert read_json(tmp_path / "out" / "unreadable.json") == {}


def test_images_that_come_go_or_change_cost_only_themselves(
    pics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    extract(pics, tmp_path / "out", processes=1)
    status = (pics / "p1.jpg").stat()
    (pics / "p1.jpg").write_bytes(JPEGS[0])
    os.utime(pics / "p1.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))  # only the content tells that it has changed
    (pics / "p2.jpg").unlink()
    (pics / "p4.jpg").write_bytes(JPEGS[2])
    summary = extract(pics, tmp_path / "out", processes=2)
    assert summary.num_processed == 2
    assert summary.num_images == 2
    fresh = extract(pics, tmp_path / "fresh", processes=1)
    assert set(features(summary.detected)) == set(features(fresh.detected)) == {"pics/p1", "pics/p4"}
    for key, values in features(fresh.detected).items():
        np.testing.assert_allclose(features(summary.detected)[key], values, atol=2e-2)
    names = {path.stem for path in (tmp_path / "out" / "blocks").glob("*.json")}
    for store in ("detected", "given"):
        assert {path.stem for path in (tmp_path / "out" / store).glob("*.regions")} == names


def test_changed_given_boxes_concern_their_image_only(pics: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"p1.jpg": [[0, 0, 50, 50]], "p2.jpg": [[0, 0, 40, 40]]}))
    extract(pics, tmp_path / "out", processes=1, boxes=boxes)
    boxes.write_text(json.dumps({"p1.jpg": [[0, 0, 50, 50]], "p2.jpg": [[0, 0, 60, 60]]}))
    summary = extract(pics, tmp_path / "out", processes=1, boxes=boxes)
    assert summary.num_processed == 1
    assert RegionStore.open(summary.given)[ImageKey("pics", "p2")].boxes_px.tolist() == [[0, 0, 60, 60]]


def test_an_extraction_of_an_earlier_version_is_used_for_the_same_images_only(pics: Path, tmp_path: Path) -> None:
    extract(pics, tmp_path / "out", processes=1)
    (tmp_path / "out" / "plan.json").unlink()
    assert extract(pics, tmp_path / "out", processes=1).num_processed == 0
    (tmp_path / "out" / "plan.json").unlink()
    (pics / "p2.jpg").unlink()
    with pytest.raises(TwelvefoldError, match="differs in: pictures"):
        extract(pics, tmp_path / "out", processes=1)


def listed(*names: str) -> dict[str, ListedImage]:
    images = [ListedImage(Path(name), name, (ImageKey("a", name),), (None,)) for name in names]
    return {image_identity(image): image for image in images}


def names_of(plan: BlockPlan, images: Mapping[str, ListedImage]) -> dict[str, list[str]]:
    return {name: [images[i].digest for i in block] for name, block in plan.blocks.items()}


def test_a_plan_keeps_complete_blocks_copies_shrunken_ones_and_adds_the_rest() -> None:
    first_images, second_images = listed(*"abcdef"), listed(*"abceg")
    first = plan_blocks(first_images, None, lambda _: False, 2)
    assert names_of(first, first_images) == {"000000": ["a", "b"], "000001": ["c", "d"], "000002": ["e", "f"]}
    second = plan_blocks(second_images, first, lambda name: name != "000002", 2)
    expected = {"000000": ["a", "b"], "000003": ["c"], "000004": ["e", "g"]}  # the last block was not finished
    assert names_of(second, second_images) == expected
    assert second.copies == {"000003": "000001"}
    assert plan_blocks(second_images, second, lambda _: False, 2) is second
    third = plan_blocks(listed("a", "b", "z"), first, lambda _: True, 2, used_names=["000007"])
    assert list(third.blocks) == ["000000", "000008"]


def test_an_interrupted_copy_keeps_its_source(pics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ends between the plan and the copy loses nothing: the next one still has the earlier block."""
    (pics / "p3.jpg").write_bytes(JPEGS[3])
    extract(pics, tmp_path / "out", processes=1)
    (pics / "p3.jpg").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_steps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract(pics, tmp_path / "out", processes=1)
    assert (
        len(RegionStore.open(tmp_path / "out" / "detected")) == 3
    )  # the earlier store is complete until the new one is
    (pics / "p4.jpg").write_bytes(JPEGS[0])
    summary = extract(pics, tmp_path / "out", processes=1)
    assert set(features(summary.detected)) == {"pics/p1", "pics/p2", "pics/p4"}


def test_unreadable_files_of_every_kind_are_listed_and_the_others_processed(pics: Path, tmp_path: Path) -> None:
    (pics / "gone.jpg").symlink_to("/gone/x.jpg")
    (pics / "phone.HEIC").write_bytes(bytes.fromhex("00000018667479706865696300000000") + b"mif1heic")
    (pics / "page.png").write_text("<html>not found</html>")
    os.mkfifo(pics / "pipe.jpg")
    (pics / "captions.txt").write_text("a boat")
    shutil.copy(pics / "p1.jpg", pics / "no_suffix")
    summary = extract(pics, tmp_path / "out", processes=1)
    assert summary.num_images == 3
    assert set(summary.unreadable) == {f"pics/{name}" for name in ("gone", "phone", "page", "pipe", "p3")}
    assert [each.file for each in summary.skipped] == ["captions.txt"]
    assert "no such file" in summary.unreadable["pics/gone"]
    assert "web page" in summary.unreadable["pics/page"]


def test_an_unreadable_file_with_the_key_of_an_image_gives_way(pics: Path, tmp_path: Path) -> None:
    (pics / "p1.heic").write_text("no image")
    summary = extract(pics, tmp_path / "out", processes=1)
    assert summary.num_images == 2
    assert set(summary.unreadable) == {"p1.heic", "pics/p3"}
