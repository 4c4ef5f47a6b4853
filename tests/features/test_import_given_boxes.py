"""Features of given boxes are assigned to the candidate boxes of the tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.config.extract import ImportConfig
from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.features.import_features import import_features
from twelvefold.schema import TwelvefoldError

XYWH = [[-1, -1, 61, 41], [100, 50, 30, 33], [100, 50, 31, 33], [300, 200, 77, 91]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write Visual7W with one question about four boxes: one begins outside the image, two are close to each other."""
    boxes = [
        {"box_id": 7 + i, "name": "it", **dict(zip(("x", "y", "width", "height"), b, strict=True))}
        for i, b in enumerate(XYWH)
    ]
    question = {"qa_id": 1, "image_id": 5, "question": "Which?", "answer": 9, "multiple_choices": [7, 8, 10]}
    image = {"image_id": 5, "filename": "v7w_5.jpg", "split": "train", "qa_pairs": [{**question, "type": "which"}]}
    (tmp_path / "data" / "visual7w").mkdir(parents=True)
    file = tmp_path / "data" / "visual7w" / "dataset_v7w_pointing.json"
    file.write_text(json.dumps({"dataset": "v7w_pointing", "boxes": boxes, "images": [image]}))
    return tmp_path / "data"


def extracted_record(writers: Any, order: list[int]) -> dict[str, Any]:
    """Return what the original's script saves: boxes scaled to the detector's input and back."""
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in XYWH], np.float32)[order]
    scale = np.float32(800 / 480)
    row = {**writers.image_record(1, regions=len(order)), "boxes": (corners * scale) / scale + np.float32(1e-5)}
    row["features"] = np.arange(4, dtype=np.float32)[order, None] * np.ones(16, np.float32)
    return row


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_each_candidate_gets_its_features(writers: Any, tmp_path: Path, data: Path, order: list[int]) -> None:
    path = writers.write_lmdb(tmp_path / "gt", {"v7w_5": extracted_record(writers, order)})
    assert import_features(path, tmp_path / "out", ImportConfig(given=True, match=data)).rejected == ()
    detected = writers.write_lmdb(tmp_path / "detected", {"v7w_5": writers.image_record(2, width=16)})
    import_features(detected, tmp_path / "out")
    [example] = load_dataset("visual7w").read(data, "train", bad=BadRecords())
    rows = RegionSource.open(tmp_path / "out").rows(example.pairs[0], 101)
    assert (rows.num_detected, rows.num_candidates) == (5, 4)
    np.testing.assert_array_equal(rows.features[2][:, 0], [0, 1, 2, 3])


def test_a_candidate_without_features_is_named(writers: Any, tmp_path: Path, data: Path) -> None:
    path = writers.write_lmdb(tmp_path / "gt", {"v7w_5": extracted_record(writers, [0, 1, 2])})
    summary = import_features(path, tmp_path / "out", ImportConfig(given=True, match=data))
    [problem] = summary.rejected
    assert problem.location == "key v7w_5"
    assert (
        "1 of 4 candidate boxes have no features within a pixel, such as [300.0, 200.0, 377.0, 291.0]"
        in problem.message
    )
    assert (summary.num_images, summary.num_regions) == (1, 3)


def test_matching_is_for_given_boxes_and_needs_candidates(writers: Any, tmp_path: Path, data: Path) -> None:
    path = writers.write_lmdb(tmp_path / "gt", {"v7w_5": extracted_record(writers, [0])})
    with pytest.raises(TwelvefoldError, match="--given with --match"):
        import_features(path, tmp_path / "out", ImportConfig(match=data))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TwelvefoldError, match=r"no task in .* has candidate boxes"):
        import_features(path, tmp_path / "out", ImportConfig(given=True, match=tmp_path / "empty"))
