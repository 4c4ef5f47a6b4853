"""A model without a run is evaluated like a run: imported, copied, of a checkpoint, or shipped with the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tests.training.conftest import TASKS, Toy
from tests.vilbert_checkpoints import SMALL, shapes

from twelvefold import cli
from twelvefold.config.evaluation import EvaluationOptions
from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.baselines import baselines
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.predictions import predictions_path
from twelvefold.model import card, save_load
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.train import train


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    train(toy.recipe(), toy.prepared, toy.regions, run)
    evaluate(run, split="val", processes=1)
    return run


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run's model without the run."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (save_load.TENSORS, save_load.DESCRIPTION):
        shutil.copyfile(trained / "checkpoints/latest" / name, folder / name)
    return folder


def score(toy: Toy, model: Path, out: Path, recipe: str, **options: Any) -> dict[str, float]:
    new_run = EvaluationOptions(out=out, recipe=recipe)
    folders = {"prepared": toy.prepared, "regions": toy.regions}
    scores = evaluate(model, options=new_run, split="val", processes=1, **(folders | options))
    return scores.known


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_model_has_the_scores_of_its_run(toy: Toy, trained: Path, model: Path, tmp_path: Path) -> None:
    before, out = contents(model), tmp_path / "out"
    recipe = str(trained / "recipe.toml")
    scores = score(toy, model, out, recipe)
    assert scores == {name: task["score"] for name, task in read_scores(trained).items()}
    for task in TASKS:
        assert predictions_path(out, task, "val").read_bytes() == predictions_path(trained, task, "val").read_bytes()
    calibrate(out, processes=1)  # the folder is a run: it knows its data
    assert contents(model) == before
    assert score(toy, model, out, recipe) == scores  # a second call continues
    assert evaluate(out, split="val", processes=1).known == scores


def test_a_model_that_was_calibrated_or_described_in_another_way_is_evaluated_as_it_is(
    toy: Toy, trained: Path, model: Path, tmp_path: Path
) -> None:
    out, recipe = tmp_path / "out", str(trained / "recipe.toml")
    score(toy, model, out, recipe)
    latest, temperatures = out / "checkpoints/latest", {"vqav2": 2.0}
    card.write(model, msgspec.structs.replace(card.read(model), temperatures=temperatures))
    score(toy, model, out, recipe)
    assert card.read(latest).temperatures == temperatures
    calibrate(out, processes=1)
    fitted = card.read(latest).temperatures
    card.write(model, msgspec.structs.replace(card.read(model), temperatures={"vqav2": 3.0}))
    score(toy, model, out, recipe)
    assert card.read(latest).temperatures == fitted  # those of the run are kept
    description = json.loads((model / save_load.DESCRIPTION).read_text())
    description["tasks"][0]["title"] = "Another title"
    description["config"]["dropout"] = 0.25
    (model / save_load.DESCRIPTION).write_text(json.dumps(description))
    score(toy, model, out, recipe)
    assert save_load.describe(latest).config.dropout == 0.25


def test_a_task_without_examples_is_named_and_the_others_are_scored(toy: Toy, trained: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    shutil.copytree(toy.prepared, prepared)
    manifest = json.loads((prepared / "prepared.json").read_text())
    del manifest["tables"]["vqav2"]["val"]
    (prepared / "prepared.json").write_text(json.dumps(manifest))
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    folders: dict[str, Any] = {"prepared": prepared, "regions": toy.regions}
    scores = evaluate(run, split="val", processes=1, **folders)
    assert scores.missing == {"vqav2": "its data have no val examples"}
    assert set(scores.known) == set(TASKS) - {"vqav2"}
    with pytest.raises(TwelvefoldError, match=r"^vqav2 has no val examples in .*: score other tasks, or another split"):
        evaluate(run, split="val", tasks=["vqav2", "refcoco"], processes=1, **folders)
    with pytest.raises(TwelvefoldError, match=r"^every task has no test examples"):
        evaluate(run, processes=1, **folders)
    assert baselines(run, processes=1, **folders).tasks == {}


def read_scores(run: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((run / "scores-val.json").read_text())["tasks"]
    return scores


def test_a_run_a_checkpoint_and_a_hub_folder_are_models(toy: Toy, trained: Path, model: Path, tmp_path: Path) -> None:
    (model / save_load.DESCRIPTION).rename(model / save_load.HUB_DESCRIPTION)
    expected = {name: task["score"] for name, task in read_scores(trained).items()}
    assert score(toy, model, tmp_path / "hub", str(trained / "recipe.toml")) == expected
    latest = trained / "checkpoints/latest"
    for number, source in enumerate((trained, latest)):  # they know recipe and data
        assert score(toy, source, tmp_path / f"{number}", "", prepared=None, regions=None) == expected
    assert "average" not in read_scores(tmp_path / "1")


def test_the_shipped_model_is_named_and_checked(toy: Toy, tmp_path: Path) -> None:
    recipe = tmp_path / "toy.toml"
    recipe.write_text(toy.recipe().to_toml())
    with pytest.raises(
        TwelvefoldError, match=r"^shipped reads region features of 256 numbers, but those in .* have 6: "
    ):
        score(toy, Path("shipped"), tmp_path / "out", str(recipe))
    with pytest.raises(TwelvefoldError, match=r"'shipped' for the model that ships.*; did you mean 'shipped'\?"):
        score(toy, Path("shiped"), tmp_path / "out", str(recipe))
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_contents_is_refused(toy: Toy, trained: Path, model: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", str(trained / "recipe.toml")
    score(toy, model, out, recipe, tasks=["vqav2"])
    scores = contents(out)
    other = tmp_path / "other.toml"
    other.write_text(toy.recipe(grounding_loss="softmax").to_toml())
    with pytest.raises(
        TwelvefoldError, match=r"results by another recipe.*grounding_loss: sigmoid before, softmax now"
    ):
        score(toy, model, out, str(other))
    with pytest.raises(TwelvefoldError, match=r"is a run that was trained: `twelvefold evaluate .*` scores it"):
        score(toy, model, trained, recipe)
    with pytest.raises(TwelvefoldError, match=r"is the folder of a model; choose another --out"):
        score(toy, model, model, recipe)
    tensors = model / save_load.TENSORS
    changed = bytearray(tensors.read_bytes())
    changed[-1] ^= 1
    tensors.unlink()
    tensors.write_bytes(changed)
    with pytest.raises(TwelvefoldError, match=r"out holds results of another model: its weights have digest"):
        score(toy, model, out, recipe)
    assert contents(out) == scores
    with pytest.raises(TwelvefoldError, match=r"has no state\.json: no training to resume"):
        train(toy.recipe(), toy.prepared, toy.regions, out)


def test_a_model_that_does_not_fit_is_refused(toy: Toy, trained: Path, model: Path, tmp_path: Path) -> None:
    recipe, description = trained / "recipe.toml", json.loads((model / save_load.DESCRIPTION).read_text())

    def refused(match: str, **changes: Any) -> None:
        atomic_files.write_json(model / save_load.DESCRIPTION, description | changes)
        with pytest.raises(TwelvefoldError, match=match):
            score(toy, model, tmp_path / "out", str(recipe))
        assert not (tmp_path / "out").exists()

    tasks, heads = description["tasks"], description["heads"]
    refused(r"lacks tasks of the recipe: vqav2; it has flickr30k, refcoco", tasks=tasks[1:])
    refused(r"another task 'vqav2': head 'other', here 'vqa'", tasks=[tasks[0] | {"head": "other"}, *tasks[1:]])
    answers = [heads[0] | {"outputs": heads[0]["outputs"][:5]}, *heads[1:]]
    refused(r"vqav2: the model .*model has other answers than the prepared data .*: 5 and 6 answers", heads=answers)


def test_a_model_without_out_or_recipe_is_refused_with_the_options(toy: Toy, trained: Path, model: Path) -> None:
    with pytest.raises(
        TwelvefoldError, match=r"but it holds a model; `twelvefold evaluate .*model --out RUN --recipe NAME"
    ):
        evaluate(model, processes=1)
    with pytest.raises(TwelvefoldError, match=r"is not a run, it has no recipe.toml; did you mean .*run\?"):
        calibrate(trained / "checkpoints/latest", processes=1)
    with pytest.raises(TwelvefoldError, match=r"has no recipe\.toml, so it is not a run: state a recipe"):
        evaluate(model, options=EvaluationOptions(out=model.parent / "out"), processes=1)
    with pytest.raises(TwelvefoldError, match=r"a recipe needs the folder of a run to make"):
        evaluate(trained, options=EvaluationOptions(recipe="demo"), processes=1)


def run_command(*arguments: str | Path) -> None:
    assert cli.app([str(argument) for argument in arguments], result_action="return_value") == 0


@pytest.mark.slow
def test_a_published_checkpoint_is_imported_evaluated_and_reported(tmp_path: Path) -> None:
    """By the commands, on the drawn world, with a small checkpoint that has the published names of tensors."""
    data, regions, prepared, run = (tmp_path / name for name in ("world", "regions", "prepared", "run"))
    recipe, model = tmp_path / "recipe.toml", tmp_path / "model"
    recipe.write_text('extends = "smoke"\nname = "published"\n[evaluation]\nmax_examples = 0\nretrieval_pool = 6\n')
    run_command("world", data, "--images", "100")
    run_command("extract", data, regions, "--recipe", recipe)
    run_command("prepare", data, regions, prepared, "--recipe", recipe)
    answers, feature_size = Prepared.open(prepared).head("vqav2").outputs, RegionSource.open(regions).feature_size
    sizes = SMALL | {"vocab_size": 30522, "max_position_embeddings": 64, "v_feature_size": feature_size}
    generator = torch.Generator().manual_seed(0)
    names = shapes(sizes, "tokens", (len(answers), 5))
    tensors = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in names.items()}
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    torch.save(tensors, tmp_path / "multi_task_model.bin")
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    (tmp_path / "answers.json").write_text(json.dumps(list(answers)))
    weights: list[str | Path] = [tmp_path / "multi_task_model.bin", "--config", tmp_path / "sizes.json"]
    run_command("weights", "import", *weights, "--answers", f"vqav2={tmp_path / 'answers.json'}", "--out", model)

    folders: list[str | Path] = ["--prepared", prepared, "--regions", regions]
    run_command("evaluate", model, "--recipe", recipe, *folders, "--out", run, "--processes", "1")
    run_command("calibrate", run, "--processes", "1")
    run_command("evaluate", run, "--processes", "1")
    run_command("report", run, "--images", data)
    run_command("submit", run, "nlvr2", tmp_path / "nlvr2.csv", "--data", data)
    report = json.loads((run / "report.json").read_text())
    assert set(report["tasks"]) == set(Recipe.load(recipe).tasks)
    assert report["checkpoint"] == "latest"
    assert report["parameters"] > 100_000
    assert (tmp_path / "nlvr2.csv").read_text().count("\n") == report["tasks"]["nlvr2"]["n"]
