"""Extraction: every image once, unreadable images listed, and the same bytes after any interruption."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.config.extract import ExtractConfig
from twelvefold.detectors.world_detector.detector import WorldDetector
from twelvefold.detectors.world_detector.train_on_world import EVALUATION_SEED
from twelvefold.features import extract as module
from twelvefold.features.extract import ExtractSummary, extract
from twelvefold.images import open_image
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.atomic_files import read_json
from twelvefold.store.region_store import RegionStore
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import Scene, make_scene

SCENES = [make_scene(EVALUATION_SEED + 9, index) for index in range(5)]


def coco(root: Path, number: int) -> Path:
    return root / "images" / "coco" / "train2014" / f"COCO_train2014_{number:012d}.jpg"


def guesswhat_game(number: int, scene: Scene) -> dict[str, object]:
    boxes = [obj.box_px for obj in scene.objects]
    things = [{"id": i, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]} for i, b in enumerate(boxes)]
    image = {"id": number, "width": scene.width, "height": scene.height}
    turn = {"question": "is it red?", "answer": "No"}
    return {"id": number, "object_id": 0, "objects": things, "qas": [turn], "status": "success", "image": image}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five images of COCO, one of them also in Visual Genome, a truncated image, and boxes for three images."""
    root = tmp_path_factory.mktemp("data")
    coco(root, 1).parent.mkdir(parents=True)
    (root / "images" / "vg").mkdir()
    for number, scene in enumerate(SCENES, start=1):
        coco(root, number).write_bytes(draw_jpeg(scene))
    shutil.copy(coco(root, 2), root / "images" / "vg" / "71.jpg")
    (root / "images" / "vg" / "72.jpg").write_bytes(coco(root, 3).read_bytes()[:3000])
    (root / "guesswhat").mkdir()
    for split, games in {"train": [1], "valid": [2], "test": [3]}.items():
        lines = "\n".join(json.dumps(guesswhat_game(number, SCENES[number - 1])) for number in games)
        (root / "guesswhat" / f"guesswhat.{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return root


@pytest.fixture(scope="module")
def complete(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtractSummary:
    """Return an uninterrupted extraction in blocks of two images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 2)
        return extract(data, tmp_path_factory.mktemp("done") / "regions", processes=1)


def store_files(summary: ExtractSummary) -> dict[str, bytes]:
    """Return every file of the two stores, by name."""
    folders = (summary.detected, summary.given)
    return {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in sorted(folder.iterdir())}


def test_every_readable_image_is_in_the_store(complete: ExtractSummary, data: Path) -> None:
    store = RegionStore.open(complete.detected)
    assert set(map(str, store.keys())) == {"vg/71", *(f"coco/{n}" for n in range(1, 6))}
    assert store.verify() == []
    assert complete.num_images == 6
    assert store.categories == WorldDetector.load().labels.categories
    assert store.info["arithmetic"] == complete.dtype
    assert complete.num_processed == 6  # an image with two keys is processed once; the unreadable one counts
    for number, scene in enumerate(SCENES, start=1):
        regions = store[ImageKey("coco", str(number))]
        assert (regions.width, regions.height) == (scene.width, scene.height)
        assert len(regions.boxes_px) > 0
        alone = WorldDetector.load().detect([open_image(coco(data, number))])[0]
        np.testing.assert_allclose(regions.features, alone.features, atol=2e-2)


def test_given_boxes_keep_order_and_coordinates(complete: ExtractSummary) -> None:
    store = RegionStore.open(complete.given)
    assert set(map(str, store.keys())) == {"coco/1", "coco/2", "coco/3"}
    for number in (1, 2, 3):
        expected = np.array(sorted(obj.box_px for obj in SCENES[number - 1].objects), np.float32)
        np.testing.assert_array_equal(store[ImageKey("coco", str(number))].boxes_px, expected)
    assert complete.num_given_regions == sum(len(scene.objects) for scene in SCENES[:3])


def test_an_image_with_two_keys_is_processed_once(complete: ExtractSummary) -> None:
    store = RegionStore.open(complete.detected)
    np.testing.assert_array_equal(store[ImageKey("vg", "71")].features, store[ImageKey("coco", "2")].features)
    assert ImageKey("vg", "71") not in RegionStore.open(complete.given)


def test_an_unreadable_image_is_listed_with_the_reason(complete: ExtractSummary) -> None:
    listed = read_json(complete.detected.parent / "unreadable.json")
    assert list(listed) == ["vg/72"]
    assert listed["vg/72"].startswith("images/vg/72.jpg: can't be decoded")
    assert RegionStore.open(complete.given).info["unreadable"] == listed == complete.unreadable


@pytest.mark.slow
def test_a_killed_and_repeated_extraction_gives_the_same_bytes(
    complete: ExtractSummary, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "regions"
    script = f"""
import os, signal
from pathlib import Path
import twelvefold.features.extract as e
e.BLOCK = 2
save = e.StepCache.save
def kill(self, step, result):
    if step == "000001":  # both shards of the second block are written, its record is not
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, step, result)
e.StepCache.save = kill
e.extract(Path({str(data)!r}), Path({str(out)!r}), processes=1)
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "detected" / "store.json").exists()
    (out / "detected" / ".000002.regions.abcd.tmp").write_bytes(b"half")  # like a kill during writing
    monkeypatch.setattr(module, "BLOCK", 2)
    summary = extract(data, out, processes=2)  # the number of processes does not matter
    assert summary.num_processed == 4
    assert store_files(summary) == store_files(complete)
    again = extract(data, out, processes=1)
    assert again.num_processed == 0
    assert store_files(again) == store_files(complete)


def test_two_ranks_share_the_work_and_leave_the_same_bytes(
    complete: ExtractSummary, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with monkeypatch.context() as patch:
        patch.setattr(module, "MAX_WAIT_SECONDS", 0.0)  # the other rank does not run
        with pytest.raises(TwelvefoldError, match="1 of 3 blocks"):
            extract(data, tmp_path / "regions", processes=1)
    monkeypatch.setenv("RANK", "1")
    assert extract(data, tmp_path / "regions", processes=1).num_processed == 2
    assert not (tmp_path / "regions" / "detected" / "store.json").exists()  # only rank 0 finishes
    monkeypatch.setenv("RANK", "0")
    summary = extract(data, tmp_path / "regions", processes=1)
    assert summary.num_processed == 0
    assert store_files(summary) == store_files(complete)
    with pytest.raises(TwelvefoldError, match="cannot start over"):
        extract(data, tmp_path / "regions", processes=1, resume=False)


def test_weights_that_change_during_extraction_are_refused(tmp_path: Path) -> None:
    job = module.ExtractJob(tmp_path, tmp_path, ExtractConfig(), "float32", digest="of other weights")
    with pytest.raises(TwelvefoldError, match="weight file changed"):
        module._load_detector(job)


def test_the_number_of_threads_is_restored(data: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extract(data, tmp_path / "regions", processes=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_malformed_record_is_named_or_skipped(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    bad = (
        json.dumps({**guesswhat_game(1, SCENES[0]), "object_id": 99}) + "\n" + json.dumps(guesswhat_game(1, SCENES[0]))
    )
    (folder / "guesswhat" / "guesswhat.train.jsonl.gz").write_bytes(gzip.compress(bad.encode()))
    with pytest.raises(TwelvefoldError, match="line 1"):
        extract(folder, tmp_path / "regions", processes=1)
    assert extract(folder, tmp_path / "regions", processes=1, skip_bad=True).num_given_regions > 0


def test_regions_of_other_settings_are_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    out = tmp_path / "regions"
    extract(folder, out, processes=1)
    with pytest.raises(TwelvefoldError, match="differs in: max_regions"):
        extract(data, out, ExtractConfig(max_regions=9), processes=1)
    again = extract(folder, out, ExtractConfig(max_regions=9), processes=1, resume=False)
    store = RegionStore.open(again.detected)
    assert max(len(store[key].boxes_px) for key in store.keys()) <= 9  # noqa: SIM118 (a store is not a dict)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "images" / "coco").mkdir(parents=True)
    with pytest.raises(TwelvefoldError, match="images"):
        extract(tmp_path, tmp_path / "out", processes=1)
    with pytest.raises(TwelvefoldError, match="1 process or more"):
        extract(tmp_path, tmp_path / "out", processes=0)
