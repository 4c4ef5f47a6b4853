"""Features of given boxes reach the candidates that they were made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.features.import_features import import_features
from twelvefold.schema import TwelvefoldError

XYWH = [[-1, -1, 61, 41], [100, 50, 30, 33], [100, 50, 31, 33], [300, 200, 77, 91]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Visual7W with one question: which of four boxes, one of them from outside the picture, two of them close by."""
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


def as_extracted(foreign: Any, order: list[int]) -> dict[str, Any]:
    """What the original's script saves of the boxes: scaled to the detector's picture and back."""
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in XYWH], np.float32)[order]
    scale = np.float32(800 / 480)
    row = {**foreign.picture(1, regions=len(order)), "boxes": (corners * scale) / scale + np.float32(1e-5)}
    row["features"] = np.arange(4, dtype=np.float32)[order, None] * np.ones(16, np.float32)
    return row


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_each_candidate_finds_its_features(foreign: Any, tmp_path: Path, data: Path, order: list[int]) -> None:
    path = foreign.write_lmdb(tmp_path / "gt", {"v7w_5": as_extracted(foreign, order)})
    assert import_features(path, tmp_path / "out", given=True, match=data).refused == ()
    found = foreign.write_lmdb(tmp_path / "found", {"v7w_5": foreign.picture(2, width=16)})
    import_features(found, tmp_path / "out")
    [example] = load_dataset("visual7w").read(data, "train", bad=BadRecords())
    rows = RegionSource.open(tmp_path / "out").rows(example.pairs[0], 101)
    assert (rows.num_detected, rows.num_candidates) == (5, 4)
    np.testing.assert_array_equal(rows.features[2][:, 0], [0, 1, 2, 3])


def test_a_candidate_without_features_is_named(foreign: Any, tmp_path: Path, data: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "gt", {"v7w_5": as_extracted(foreign, [0, 1, 2])})
    done = import_features(path, tmp_path / "out", given=True, match=data)
    [problem] = done.refused
    assert problem.where == "key v7w_5"
    assert "1 of 4 candidate boxes have no features within a pixel, such as [300.0, 200.0, 377.0, 291.0]" in problem.why
    assert (done.pictures, done.regions) == (1, 3)


def test_matching_is_for_given_boxes_and_needs_candidates(foreign: Any, tmp_path: Path, data: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "gt", {"v7w_5": as_extracted(foreign, [0])})
    with pytest.raises(TwelvefoldError, match="--given besides --match"):
        import_features(path, tmp_path / "out", match=data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TwelvefoldError, match=r"no task under .* gives candidate boxes"):
        import_features(path, tmp_path / "out", given=True, match=tmp_path / "empty")
