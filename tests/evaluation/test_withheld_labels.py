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
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.model import card
from twelvefold.store.prepared import Prepared
from twelvefold.train import train


def withhold_labels(toy: Toy, folder: Path, task: str, *, every: int = 1) -> Path:
    """Return a copy of the toy's tables without the val labels of a task, or without every second or third label."""
    shutil.copytree(toy.prepared, folder)
    prepared = Prepared.open(folder)
    examples = [
        example if index % every else replace(example, label=None)
        for index, example in enumerate(prepared.table(task, "val"))
    ]
    file = folder / "tables" / f"{task}-val.arrow"
    write_table(file, examples, encode_words, digest="withheld")
    manifest = json.loads((folder / "prepared.json").read_text())
    manifest["tables"][task]["val"] |= {"file_bytes": file.stat().st_size, "digest": "withheld"}
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


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqav2", "nlvr2", "refcoco"])
def test_examples_with_a_label_are_scored_where_others_have_none(toy: Toy, tmp_path: Path, task: str) -> None:
    run, part = tmp_path / "run", withhold_labels(toy, tmp_path / "part", task, every=3)
    train(toy.recipe(), toy.prepared, toy.regions, run)
    labeled = evaluate(run, prepared=toy.prepared, regions=toy.regions, split="val", tasks=[task], processes=1)
    before = {record.id: record for record in read_predictions(predictions_path(run, task, "val"))}
    scores = evaluate(run, prepared=part, regions=toy.regions, split="val", tasks=[task], processes=1)
    after = {record.id: record for record in read_predictions(predictions_path(run, task, "val"))}
    unlabeled = [id_ for id_, record in after.items() if record.score is None]
    assert len(unlabeled) == scores.tasks[task].unlabeled == 4
    assert scores.tasks[task].n == labeled.tasks[task].n - 4 == 8
    assert after.keys() == before.keys()
    assert {id_: after[id_].score for id_ in after if id_ not in unlabeled} == {
        id_: record.score for id_, record in before.items() if id_ not in unlabeled
    }
    assert {id_: after[id_].ranked[0].name for id_ in after} == {id_: before[id_].ranked[0].name for id_ in before}
    assert "4 of 12 examples have no label and are not scored" in scores.tasks[task].limitations


@pytest.mark.slow
def test_a_task_without_validation_labels_is_named_and_the_others_are_calibrated(toy: Toy, tmp_path: Path) -> None:
    run, part = tmp_path / "run", withhold_labels(toy, tmp_path / "part", "nlvr2")
    train(toy.recipe(), toy.prepared, toy.regions, run)
    fitted = calibrate(run, prepared=part, regions=toy.regions, processes=1)
    assert {name for name, each in fitted.items() if not each.n} == {"nlvr2"}
    latest = card.read(run / "checkpoints" / "latest")
    assert "Confidence is not calibrated for nlvr2: no validation label is known." in latest.limitations
    assert "nlvr2" not in latest.temperatures


@pytest.mark.slow
def test_evaluations_of_one_model_add_up_and_other_weights_are_named(toy: Toy, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(toy.recipe(), toy.prepared, toy.regions, run)

    def score(*tasks: str, checkpoint: str = "latest") -> Scores:
        folders = {"prepared": toy.prepared, "regions": toy.regions}
        return evaluate(run, **folders, split="val", tasks=tasks, checkpoint=checkpoint, processes=1)  # type: ignore[arg-type]

    assert list(score("nlvr2").tasks) == ["nlvr2"]
    partial = score("refcoco")
    assert list(partial.tasks) == ["refcoco", "nlvr2"]
    assert set(partial.missing.values()) == {"it was not evaluated"}
    assert partial.average == sum(partial.known.values()) / 2
    assert read_scores(run / "scores-val.json", Scores) == partial
    kept = (run / "scores-val.json").read_bytes()
    score("refcoco")
    assert (run / "scores-val.json").read_bytes() == kept  # nothing changed: date and command stay
    train(toy.recipe(iterations=8), toy.prepared, toy.regions, run)  # other weights under the same name
    mixed = score("vqav2")
    assert list(mixed.tasks) == ["vqav2"]
    assert mixed.missing["flickr30k"] == "it was not evaluated"
    for name in "refcoco", "nlvr2":
        assert mixed.missing[name].startswith("its score is of another checkpoint (latest, evaluated ")
        assert score("visual7w").missing[name] == mixed.missing[name]
    assert not score().missing
