"""Every command works on official files whose test labels are withheld, and the commands that submit are exact."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twelvefold import cli
from twelvefold.config.recipe import Recipe
from twelvefold.doctor import doctor
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.baselines import baselines
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.scores import Baselines, Scores, read_scores
from twelvefold.export.hub import write_hub_folder
from twelvefold.features.extract import extract
from twelvefold.model import card
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.train import train
from twelvefold.world.write import make_world

pytestmark = pytest.mark.slow

WITHHELD = ("vqav2", "gqa", "nlvr2", "snli_ve")
RECIPE = """
name = "withheld"
tasks = ["vqav2", "gqa", "nlvr2", "snli_ve", "refcoco"]
extends = "smoke"

[per_task.gqa]
options = { test = "submission" }

[training]
iterations = 4

[evaluation]
max_examples = 0
"""


def withhold_labels(world: Path) -> None:
    """Remove test labels as the publishers do: VQAv2's file of annotations, GQA's answers and all that follows from
    them, NLVR2's and SNLI-VE's labels."""
    (world / "vqav2" / "v2_mscoco_test2015_annotations.json").unlink()
    questions = json.loads((world / "gqa" / "testdev_all_questions.json").read_text())
    submission = {
        id_: {"isBalanced": True, "question": question["question"], "imageId": question["imageId"]}
        for id_, question in questions.items()
    }
    (world / "gqa" / "submission_all_questions.json").write_text(json.dumps(submission))
    for name, key in ("nlvr2/test1.json", "label"), ("snli_ve/snli_ve_test.jsonl", "gold_label"):
        records = [json.loads(line) for line in (world / name).read_text().splitlines()]
        lines = (json.dumps({field: value for field, value in record.items() if field != key}) for record in records)
        (world / name).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; its folder has a blank in its name, and its data are in another folder."""
    root = tmp_path_factory.mktemp("withheld labels")
    data, run = root / "data", root / "run"
    make_world(data, images=120, seed=0, processes=1)
    withhold_labels(data)
    recipe = Recipe.parse(RECIPE)
    extract(data, root / "regions", processes=1)
    prepare_recipe(recipe, data, root / "regions", root / "prepared")
    train(recipe, root / "prepared", root / "regions", run)
    return run


@pytest.fixture(scope="module")
def scores(run: Path) -> Scores:
    """The sum of three evaluations."""
    for tasks in (["refcoco"], ["vqav2", "gqa"], ["nlvr2", "snli_ve"]):
        result = evaluate(run, tasks=tasks, processes=1)
    return result


def command(*arguments: str | Path) -> int:
    code: int = cli.app([str(argument) for argument in arguments], result_action="return_value")
    return code


def find_nan(value: Any) -> Iterator[Any]:
    """Yield the values of JSON that are no numbers: NaN and infinity."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from find_nan(each)
    elif isinstance(value, float) and not abs(value) < float("inf"):
        yield value


def test_scores_of_withheld_labels_are_null_and_in_no_average(run: Path, scores: Scores) -> None:
    assert {name for name, task in scores.tasks.items() if task.score is None} == set(WITHHELD) == set(scores.unknown)
    assert scores.average == scores.tasks["refcoco"].score
    content = json.loads((run / "scores.json").read_text())
    assert content["average_of"] == ["refcoco"]
    assert content["missing"] == {}
    for name in WITHHELD:
        task = content["tasks"][name]
        assert (task["score"], task["ci95"], task["n"]) == (None, None, 0)
        assert task["unlabeled"] == len((run / "predictions" / f"{name}.jsonl").read_text().splitlines())
    assert not list(find_nan(content))


def test_each_submit_command_writes_the_file_of_its_server(run: Path, scores: Scores) -> None:
    assert set(scores.submit) == set(WITHHELD)
    for name, line in scores.submit.items():
        assert command(*shlex.split(line)[1:]) == 0, line
        assert Path(shlex.split(line)[-1]).parent == run / "submissions"
        written = Path(shlex.split(line)[-1]).read_text()
        questions = [json.loads(r)["id"] for r in (run / "predictions" / f"{name}.jsonl").read_text().splitlines()]
        assert all(id_ in written for id_ in questions)
    assert "--split test-dev " in scores.submit["vqav2"]
    assert "--split submission " in scores.submit["gqa"]


def test_the_console_shows_who_scores_and_the_command(
    run: Path, scores: Scores, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evaluate", run) == 0
    output = capsys.readouterr().out
    assert output.count("scored by the server") == 2 * len(WITHHELD)
    assert f"average {scores.average:.2f} of 1 of 5 tasks: refcoco" in output
    assert all(line in output for line in scores.submit.values())
    assert command("evaluate", run, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tasks"]["vqav2"]["score"] is None
    assert printed["submit"] == scores.submit


def test_baselines_are_null_where_there_is_nothing_to_compare(
    run: Path, scores: Scores, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.evaluation.baselines.TRAIN_STEPS", 80)  # their scores do not matter here
    result = baselines(run, processes=1)
    assert {name for name, task in result.tasks.items() if task.best is None} == set(WITHHELD)
    assert result.tasks["refcoco"].n == scores.tasks["refcoco"].n
    assert read_scores(run / "blind.json", Baselines) == result
    assert json.loads((run / "blind.json").read_text())["tasks"]["nlvr2"]["chance"] is None
    assert command("baselines", run) in (0, 1)
    assert "vqav2, gqa, nlvr2, snli_ve: scored by the server" in capsys.readouterr().out


def test_calibration_needs_validation_labels_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibrate(run, processes=1)
    assert command("calibrate", run) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "The test labels of vqav2, gqa, nlvr2, snli_ve are withheld" in output
    calibrations = card.read(run / "checkpoints" / "latest").calibrations
    assert all(calibrations[name].n_fit > 0 for name in WITHHELD)


def test_the_report_names_the_server_and_the_commands(run: Path) -> None:
    scores = evaluate(run, processes=1)
    assert command("report", run) == 0
    html, content = (run / "report.html").read_text(), json.loads((run / "report.json").read_text())
    for name in WITHHELD:
        assert content["tasks"][name]["score"] is None
        assert content["tasks"][name]["submit"] == scores.submit[name]
    assert html.count('<td role="cell" class="bar server">scored by the server</td>') == len(WITHHELD)
    assert html.count("not scored</p>") == 4 * len(WITHHELD)
    assert "<h1>5 tasks, one model" in html
    assert "over 1 of them" in html
    assert not list(find_nan(content))


def test_cards_state_which_scores_are_unknown(run: Path, tmp_path: Path) -> None:
    evaluate(run, processes=1)
    model_card = card.read(run / "checkpoints" / "latest")
    assert {name for name, score in model_card.scores.items() if score is None} == set(WITHHELD)
    write_hub_folder(run, tmp_path / "hub")
    readme = (tmp_path / "hub" / "README.md").read_text()
    assert readme.count("| scored by the server |") == len(WITHHELD)
    assert readme.count("metrics:") == 1  # results of the hub's form have values


def test_doctor_lists_the_tasks_that_need_a_server(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = run.with_name("data")
    check = doctor(data)
    assert set(check.server_tasks) == {"vqav2", "nlvr2", "snli_ve"}  # GQA's testdev has labels
    assert {check.tasks[name].state for name in check.server_tasks} == {"whole"}
    assert doctor(data, prepared=run.with_name("prepared")) == check
    check = doctor(data, recipe=Recipe.parse(RECIPE))
    assert "submit RUN --task gqa --split submission --out FILE" in check.server_tasks["gqa"]
    assert check.tasks["gqa"].state == "whole"
    command("doctor", data)
    output = " ".join(capsys.readouterr().out.split())
    assert "twelvefold submit RUN --task vqav2 --split test-dev --out FILE" in output
    assert "(no labels)" in output


def test_a_score_of_another_checkpoint_is_never_mixed_in(run: Path) -> None:
    evaluate(run, processes=1)
    mixed = evaluate(run, tasks=["refcoco"], checkpoint="best", processes=1)
    other_weights = (run / "checkpoints/best/model.safetensors").read_bytes() != (
        run / "checkpoints/latest/model.safetensors"
    ).read_bytes()
    if other_weights:
        assert set(mixed.tasks) == {"refcoco"}
        assert all("another checkpoint (latest" in reason for reason in mixed.missing.values())
    assert set(evaluate(run, tasks=["refcoco"], processes=1).tasks) == {*WITHHELD, "refcoco"}
