"""A model and prepared data with other answers are refused where they meet: its outputs would be read as others."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.training.conftest import CATEGORIES, Toy

from twelvefold import cli
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.model import Model
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared
from twelvefold.training.data_folders import DataFolders, remember_data_folders


def write_run(toy: Toy, run: Path, answers: Sequence[str]) -> Path:
    """Write a run whose checkpoint has an answer head with these outputs."""
    prepared = Prepared.open(toy.prepared)
    heads = {task.head: prepared.head(task.name) for task in prepared.tasks}
    heads["vqa"] = dataclasses.replace(heads["vqa"], outputs=tuple(answers))
    config = toy.recipe().model_config(feature_size=len(CATEGORIES))
    Model(config, prepared.tasks, list(heads.values())).save(run / "checkpoints" / "latest")
    (run / "recipe.toml").write_text(toy.recipe().to_toml())
    remember_data_folders(run, DataFolders(toy.prepared.absolute(), toy.regions.absolute()))
    return run


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (CATEGORIES[::-1], "the same 6 answers in another order; at index 0 'fox' and 'ant'; .*--answers vqav2=FILE"),
        (CATEGORIES[:4], "4 and 6 answers, 4 of them in both; .*--answers vqav2=FILE"),
        ([f"unnamed.{n}" for n in range(6)], "its outputs have no names: import it with its list"),
    ],
)
def test_other_answers_are_refused(toy: Toy, tmp_path: Path, answers: Sequence[str], message: str) -> None:
    run = write_run(toy, tmp_path / "run", answers)
    for command in ("evaluate", "calibrate"):
        with pytest.raises(TwelvefoldError, match=f"vqav2: the model .*{message}"):
            cli.app(
                f"{command} {run} --prepared {toy.prepared} --regions {toy.regions}",
                result_action="return_value",
                exit_on_error=False,
            )


@pytest.mark.parametrize("answers", [CATEGORIES, (*CATEGORIES, "unnamed.6", "unnamed.7")])
def test_equal_answers_and_further_outputs_without_names_are_scored(
    toy: Toy, tmp_path: Path, answers: Sequence[str]
) -> None:
    run = write_run(toy, tmp_path / "run", answers)
    inputs = RunInputs.open(run, prepared=toy.prepared, regions=toy.regions, checkpoint="latest")
    batches = inputs.batches(inputs.tasks()[0], "val")
    batch = batches.batch(range(4))
    assert batch.target is not None
    assert batch.target.shape == (4, len(answers))
    model, _ = inputs.load_model()
    assert model(batch).shape == batch.target.shape


def test_classes_in_another_order_are_refused(toy: Toy, tmp_path: Path) -> None:
    run, prepared = write_run(toy, tmp_path / "run", CATEGORIES), tmp_path / "prepared"
    shutil.copytree(toy.prepared, prepared)
    manifest = json.loads((prepared / "prepared.json").read_text())
    task = next(task for task in manifest["tasks"] if task["name"] == "nlvr2")
    task["classes"].reverse()
    (prepared / "prepared.json").write_text(json.dumps(manifest))
    with pytest.raises(TwelvefoldError, match=r"nlvr2: .*use the data that it was trained on"):
        RunInputs.open(run, prepared=prepared, regions=toy.regions, checkpoint="latest")
