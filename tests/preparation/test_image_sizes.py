"""Boxes on images of another size than the annotations state: found by doctor, prepare and extract, or scaled."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.boxes import locations
from twelvefold.config.extract import ExtractConfig
from twelvefold.config.recipe import DataConfig
from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.doctor import doctor
from twelvefold.features.extract import extract
from twelvefold.preparation.prepare import PrepareSummary, prepare
from twelvefold.schema import ImageKey, Pair, Regions, Size
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import RegionStore, ShardWriter, finish_store

STATED = (128, 86)
KEY = ImageKey("coco", "1")
BOX = [12.0, 8.0, 60.0, 40.0]  # x, y, width, height

TURNED, HALF, DOUBLE, ROUNDED, OTHER, NEAR = (86, 128), (64, 43), (256, 172), (64, 42), (100, 100), (127, 86)
RIGHT_SIZES, COPIES, WRONG = (STATED, NEAR), (HALF, DOUBLE, ROUNDED), (TURNED, OTHER)
REASONS = {TURNED: "turned by 90 degrees", OTHER: "another aspect ratio"} | dict.fromkeys(COPIES, "a resized copy")


def write_data(root: Path, size: Size, *, orientation: int = 1) -> Path:
    """Write GuessWhat's files with one game in each split, and the images; that of train has ``size``."""
    (root / "guesswhat").mkdir(parents=True)
    for number, split in enumerate(("train", "valid", "test"), 1):
        image = {"id": number, "width": STATED[0], "height": STATED[1]}
        objects = [{"id": 1, "bbox": BOX}, {"id": 2, "bbox": [0.0, 0.0, 30.0, 30.0]}]
        turn = {"question": "is it red?", "answer": "No"}
        game = {"id": number, "object_id": 1, "objects": objects, "qas": [turn], "status": "success", "image": image}
        (root / "guesswhat" / f"guesswhat.{split}.jsonl.gz").write_bytes(gzip.compress(json.dumps(game).encode()))
        path = root / "images/coco/train2014" / f"COCO_train2014_{number:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (43, 64, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation if number == 1 else 1
        Image.fromarray(noise).resize(size if number == 1 else STATED).save(path, quality=95, exif=exif)
    return root


def write_regions(folder: Path, size: Size) -> Path:
    for store in ("detected", "given"):
        with ShardWriter(folder / store / "a", feature_size=2) as shard:
            for number in (1, 2, 3):
                width, height = size if number == 1 else STATED
                box = np.array([[0, 0, width / 2, height]], dtype=np.float32)
                shard.add(ImageKey("coco", str(number)), Regions(box, np.zeros((1, 2)), width, height))
        finish_store(folder / store, ["a"], info={})
    return folder


def prepare_data(data: Path, regions: Path, **options: Any) -> PrepareSummary:
    return prepare(data, regions, data.parent / "prepared", ["guesswhat"], DataConfig(clean="none", **options))


@pytest.mark.parametrize("size", [*RIGHT_SIZES, *COPIES, *WRONG])
def test_prepare_leaves_out_and_names_images_of_another_size(size: Size, tmp_path: Path) -> None:
    data, regions = write_data(tmp_path / "data", size), write_regions(tmp_path / "regions", size)
    summary = prepare_data(data, regions)
    kept = {split: counts.kept for split, counts in summary.counts["guesswhat"].items()}
    if size in RIGHT_SIZES:
        assert (kept["train"], summary.other_sizes) == (1, {})
        return
    assert kept == {"train": 0, "val": 1, "test": 1}
    assert summary.counts["guesswhat"]["train"].other_size == 1
    assert list(summary.other_sizes) == ["coco/1"]
    assert REASONS[size] in summary.other_sizes["coco/1"]
    assert Prepared.open(tmp_path / "prepared").manifest.other_sizes == summary.other_sizes
    assert prepare_data(data, regions).other_sizes == summary.other_sizes  # also when nothing is made again


@pytest.mark.parametrize("size", [STATED, HALF, TURNED])
def test_files_that_changed_after_the_extraction_are_named_and_their_examples_kept(
    size: Size, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, regions = write_data(tmp_path / "data", size), write_regions(tmp_path / "regions", STATED)
    summary = prepare_data(data, regions)
    assert (summary.counts["guesswhat"]["train"].kept, summary.other_sizes) == (1, {})
    expected = [] if size == STATED else ["coco/1"]
    assert list(summary.changed_files) == list(prepare_data(data, regions).changed_files) == expected
    assert list(prepare_data(data, regions, scale_boxes=True).changed_files) == (expected if size == TURNED else [])
    recipe = tmp_path / "one.toml"
    recipe.write_text('name = "one"\ntasks = ["guesswhat"]\n[data]\nclean = "none"\n', encoding="utf-8")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["prepare", str(data), str(regions), str(tmp_path / "prepared"), "--recipe", str(recipe)])
    printed = capsys.readouterr()
    assert (exit_.value.code or 0, "coco/1" in printed.out) == (len(expected), bool(expected)), printed.err


@pytest.mark.parametrize("clean", ["none", "paper"])
def test_a_repeated_call_opens_only_image_files_that_have_changed(clean: Any, tmp_path: Path) -> None:
    data, regions = write_data(tmp_path / "data", STATED), write_regions(tmp_path / "regions", STATED)
    images = sorted(path for path in (data / "images").rglob("*") if path.is_file())
    opened: set[str] = set()
    sys.addaudithook(lambda event, arguments: opened.add(str(arguments[0])) if event == "open" else None)

    def prepare_again() -> tuple[list[Path], list[str]]:
        opened.clear()
        config = DataConfig(clean=clean, min_count=1, max_similar=1)
        summary = prepare(data, regions, tmp_path / "prepared", ["guesswhat"], config)
        return [path for path in images if str(path) in opened], list(summary.changed_files)

    assert prepare_again() == (images, [])
    assert prepare_again() == ([], [])
    status = images[0].stat()
    Image.new("RGB", TURNED).save(images[0])
    os.utime(images[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = [f"coco/{int(images[0].stem.rpartition('_')[2])}"]
    assert prepare_again() == (images[:1], changed)
    assert prepare_again() == ([], changed)


@pytest.mark.parametrize("size", [*RIGHT_SIZES, *COPIES, *WRONG])
def test_copies_of_the_same_aspect_ratio_can_be_used(size: Size, tmp_path: Path) -> None:
    data, regions = write_data(tmp_path / "data", size), write_regions(tmp_path / "regions", size)
    summary = prepare_data(data, regions, scale_boxes=True)
    assert summary.counts["guesswhat"]["train"].kept == (size not in WRONG)
    assert list(summary.other_sizes) == (["coco/1"] if size in WRONG else [])
    assert summary.num_scaled == (size in COPIES)


@pytest.mark.parametrize(
    ("size", "orientation", "reason"),
    [
        (STATED, 1, ""),
        (NEAR, 1, ""),
        (STATED, 3, ""),
        (TURNED, 6, ""),  # upright it has the stated size
        (STATED, 6, "turned by 90 degrees, perhaps by its EXIF orientation"),
        (STATED, 8, "turned by 90 degrees, perhaps by its EXIF orientation"),
        *((size, 1, REASONS[size]) for size in (*COPIES, *WRONG)),
    ],
)
def test_doctor_compares_with_the_upright_size_of_the_file(
    size: Size, orientation: int, reason: str, tmp_path: Path
) -> None:
    check = doctor(write_data(tmp_path / "data", size, orientation=orientation), tasks=["guesswhat"])
    reasons = check.tasks["guesswhat"].splits["train"].other_sizes
    assert list(reasons) == (["coco/1"] if reason else [])
    assert reason in "".join(reasons.values())
    assert any("do not fit their boxes" in step for step in check.tasks["guesswhat"].next) == bool(reason)
    assert check.tasks["guesswhat"].splits["val"].other_sizes == {}


def test_doctor_compares_with_the_regions_and_reads_tables(tmp_path: Path) -> None:
    data, regions = write_data(tmp_path / "data", STATED), write_regions(tmp_path / "regions", HALF)
    prepare_data(data, regions)
    for prepared in (None, tmp_path / "prepared"):
        splits = doctor(data, tasks=["guesswhat"], prepared=prepared, regions=regions).tasks["guesswhat"].splits
        assert "a resized copy" in splits["train"].other_sizes["coco/1"]
        assert splits["test"].other_sizes == {}


def test_the_commands_exit_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, regions = write_data(tmp_path / "data", TURNED), write_regions(tmp_path / "regions", TURNED)
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\ntasks = ["guesswhat"]\n[model]\npreset = "small"\n[data]\nclean = "none"\n')
    for words in (
        ["doctor", str(data), "--tasks", "guesswhat"],
        ["prepare", str(data), str(regions), str(tmp_path / "out"), "--recipe", str(recipe), "--scale-boxes"],
        ["prepare", str(data), str(regions), str(tmp_path / "out"), "--recipe", str(recipe)],
    ):
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        assert left.value.code == 1
        assert "coco/1" in capsys.readouterr().out


def test_boxes_outside_of_an_image_are_found_where_no_size_is_stated(tmp_path: Path) -> None:
    root = tmp_path / "data"
    boxes = [{"box_id": n, "x": 10 * n, "y": 10, "width": 20, "height": 20} for n in range(1, 9)]
    images = [
        {
            "image_id": number,
            "split": split,
            "qa_pairs": [
                {"qa_id": number, "image_id": number, "question": "Which?", "answer": 1, "multiple_choices": choices}
            ],
        }
        for number, split, choices in ((1, "train", [2, 3, 8]), (2, "val", [2, 3, 4]), (3, "test", [2, 3, 4]))
    ]
    (root / "visual7w").mkdir(parents=True)
    (root / "visual7w/dataset_v7w_pointing.json").write_text(json.dumps({"boxes": boxes, "images": images}))
    with ShardWriter(tmp_path / "regions/detected/a", feature_size=2) as shard:
        for number in (1, 2, 3):
            shard.add(
                ImageKey("vg", str(number)), Regions(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32), 70, 50)
            )
    finish_store(tmp_path / "regions/detected", ["a"], info={})
    config = DataConfig(clean="none")
    summary = prepare(root, tmp_path / "regions", tmp_path / "prepared", ["visual7w"], config)
    assert summary.other_sizes == {
        "vg/1": "the box 80, 10, 100, 30 lies outside of the image, which has 70 x 50 pixels"
    }
    (root / "vg").mkdir()
    sizes = [{"image_id": number, "width": 140, "height": 100} for number in (1, 2, 3)]
    (root / "vg/image_data.json").write_text(json.dumps(sizes))
    summary = prepare(root, tmp_path / "regions", tmp_path / "prepared", ["visual7w"], config)
    assert set(summary.other_sizes) == {"vg/1", "vg/2", "vg/3"}
    assert "140 x 100" in summary.other_sizes["vg/1"]


def test_the_readers_of_boxes_state_the_size(tmp_path: Path) -> None:
    example = next(load_dataset("guesswhat").read(write_data(tmp_path, HALF), "train", bad=BadRecords()))
    assert example.pairs[0].stated_size == STATED


@pytest.mark.slow
def test_candidate_boxes_of_a_copy_get_the_features_of_the_same_objects(tmp_path: Path) -> None:
    sources, examples = {}, {}
    for name, size in (("right", STATED), ("double", DOUBLE)):
        data, folder = write_data(tmp_path / name / "data", size), tmp_path / name / "regions"
        if size != STATED:
            summary = extract(data, folder, processes=1)
            assert list(summary.other_sizes) == ["coco/1"]
            assert KEY not in RegionStore.open(summary.given)
        summary = extract(data, folder, ExtractConfig(scale_boxes=True), processes=1, resume=False)
        assert (summary.num_scaled, summary.other_sizes) == (int(size != STATED), {})
        assert prepare_data(data, folder, scale_boxes=True).counts["guesswhat"]["train"].kept == 1
        sources[name] = RegionSource.open(folder)
        examples[name] = Prepared.open(data.parent / "prepared").table("guesswhat", "train")[0]
    assert examples["right"] == examples["double"]
    pair = examples["right"].pairs[0]
    right, double = (sources[name].rows(pair, 1) for name in ("right", "double"))
    # Rows, and so predictions and submissions, are in the pixels of the annotations.
    np.testing.assert_array_equal(right.boxes_px, double.boxes_px)
    assert (double.width, double.height) == STATED
    right_locations, locations_of_copy = (locations(each.boxes_px, each.width, each.height) for each in (right, double))
    np.testing.assert_array_equal(right_locations, locations_of_copy)
    correlation = np.corrcoef(right.features[-1], double.features[-1])[:2, 2:]  # (2, 2): of each box with each
    assert correlation.argmax(axis=1).tolist() == [0, 1]


def test_detected_regions_of_a_copy_are_scaled_to_the_annotations(tmp_path: Path) -> None:
    pair = Pair(KEY, "x", (), STATED)
    source = RegionSource.open(write_regions(tmp_path / "regions", HALF))
    rows = source.rows(pair, 2)
    np.testing.assert_array_equal(rows.boxes_px, [[0, 0, 128, 86], [0, 0, 64, 86]])
