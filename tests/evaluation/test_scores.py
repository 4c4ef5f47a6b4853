"""Score files keep their format: files of earlier versions are read, and their fields are written back unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twelvefold.evaluation.scores import Baselines, Scores, read_scores, write_scores
from twelvefold.schema import TwelvefoldError

SCORES = """{
 "tasks": {
  "gqa": {
   "metric": "accuracy",
   "split": "test",
   "score": 46.5,
   "n": 720,
   "ci95": [
    42.8,
    50.4
   ],
   "by_kind": {
    "query": {
     "score": 20.1,
     "n": 254
    }
   },
   "also": {
    "consistency": 70.1
   },
   "reliability": {
    "temperature": 1.15,
    "error": 5.6,
    "error_raw": 5.0,
    "bins": [
     {
      "confidence": 0.25,
      "score": 0.2,
      "n": 48
     }
    ],
    "bins_raw": []
   }
  }
 },
 "checkpoint": "latest",
 "seconds": 61.2,
 "peak_memory_gb": 0.73
}"""
BASELINES = """{
 "tasks": {
  "gqa": {
   "chance": 1.1,
   "majority": 24.7,
   "blind_text": 34.6,
   "blind_image": 24.4,
   "n": 720
  }
 },
 "seconds": 130.5
}"""


@pytest.mark.parametrize(("name", "text", "type_"), [("scores", SCORES, Scores), ("blind", BASELINES, Baselines)])
def test_files_of_version_0_1_are_read_and_written_back(
    name: str, text: str, type_: type[Scores] | type[Baselines], tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(text)
    write_scores(path, read_scores(path, type_))
    assert with_fields_of(json.loads(path.read_text()), json.loads(text)) == json.loads(text)


def with_fields_of(new: Any, old: Any) -> Any:
    """Return ``new`` without the fields that ``old`` does not have: later versions add fields."""
    return {name: with_fields_of(new[name], old[name]) for name in old} if isinstance(old, dict) else new


def test_the_fields_of_version_0_1_are_found(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(SCORES)
    (tmp_path / "blind.json").write_text(BASELINES)
    task = read_scores(tmp_path / "scores.json", Scores).tasks["gqa"]
    assert (task.by_question_type["query"].n, task.extra_metrics) == (254, {"consistency": 70.1})
    baselines = read_scores(tmp_path / "blind.json", Baselines).tasks["gqa"]
    assert (baselines.text_only, baselines.image_only, baselines.best) == (34.6, 24.4, 34.6)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"scores\.json is missing"):
        read_scores(tmp_path / "scores.json", Scores)
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(TwelvefoldError, match=r"scores\.json does not hold Scores"):
        read_scores(tmp_path / "scores.json", Scores)
