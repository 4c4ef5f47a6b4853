"""The commands and formats in docs/features.md are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.cli import app
from twelvefold.config.extract import BoxFormat, FeatureFormat
from twelvefold.schema import ImageKey
from twelvefold.store.region_store import RegionStore

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "features.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_fill_the_stores(
    writers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writers.write_lmdb(tmp_path / "COCO_trainval.lmdb", {"391895": writers.image_record(1)})
    writers.write_lmdb(tmp_path / "vg.lmdb", {"2318324": writers.image_record(2)})
    given_row = writers.image_record(3, regions=4)
    writers.write_lmdb(tmp_path / "visual7w_gt.lmdb", {"v7w_2318324": given_row})
    boxes = [
        {"box_id": i, "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        for i, (x1, y1, x2, y2) in enumerate(given_row["boxes"].tolist())
    ]
    question = {"qa_id": 1, "image_id": 2318324, "question": "Which?", "answer": 1, "multiple_choices": [0, 2, 3]}
    images = [{"image_id": 2318324, "split": "train", "qa_pairs": [question]}]
    (tmp_path / "data" / "real" / "visual7w").mkdir(parents=True)
    (tmp_path / "data" / "real" / "visual7w" / "dataset.json").write_text(
        json.dumps({"boxes": boxes, "images": images})
    )
    commands = re.findall(r"^twelvefold (features import .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert app(command, result_action="return_value") == 0
    detected, given = (RegionStore.open(tmp_path / "regions" / "real" / name) for name in ("detected", "given"))
    assert set(detected.keys()) == {ImageKey("coco", "391895"), ImageKey("vg", "2318324")}
    assert given.keys() == [ImageKey("vg", "2318324")]


def test_the_page_names_every_format_and_box_format() -> None:
    for word in {*get_args(FeatureFormat), *get_args(BoxFormat)} - {"auto"}:
        assert f"`{word}`" in PAGE
