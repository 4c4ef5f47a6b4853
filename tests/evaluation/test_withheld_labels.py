"""A test set without labels has predictions, and a score that is unknown instead of a number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.training.conftest import Toy, encode_words

from twelvefold import cli
from twelvefold.data.write_table import write_table
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.store.prepared import Prepared
from twelvefold.train import train


def withhold_labels(toy: Toy, folder: Path, task: str) -> Path:
    """Return a copy of the toy's tables without the val labels of a task."""
    shutil.copytree(toy.prepared, folder)
    prepared = Prepared.open(folder)
    examples = [replace(example, label=None) for example in prepared.table(task, "val")]
    file = folder / "tables" / f"{task}-val.arrow"
    write_table(file, examples, encode_words, digest="toy")
    manifest = json.loads((folder / "prepared.json").read_text())
    manifest["tables"][task]["val"]["file_bytes"] = file.stat().st_size
    (folder / "prepared.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.slow
def test_the_score_of_withheld_labels_is_unknown(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, run = withhold_labels(toy, tmp_path / "prepared", "nlvr2"), tmp_path / "run"
    train(toy.recipe(), toy.prepared, toy.regions, run)
    for _ in range(2):  # the second call reads what the first wrote
        scores = evaluate(run, prepared=prepared, regions=toy.regions, split="val", processes=1)
        assert scores.tasks["nlvr2"].score is None
        assert "withheld" in scores.unknown["nlvr2"]
        assert scores.average == sum(scores.known.values()) / 4
    assert read_scores(run / "scores-val.json", Scores).unknown == scores.unknown
    records = list(read_predictions(predictions_path(run, "nlvr2", "val")))
    assert records
    assert {record.score for record in records} == {None}
    command = f"evaluate {run} --prepared {prepared} --regions {toy.regions} --split val"
    assert cli.app(command, result_action="return_value") == 0
    output = capsys.readouterr().out
    assert "scored by the server" in output
    assert "nan" not in output
