"""The command that submits predictions names the part of the test set that was evaluated, for where the run is now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import Dataset, load_dataset
from twelvefold.datasets.reading.submissions import server_part
from twelvefold.evaluation.scores import Scores, TaskScore, read_scores, write_scores
from twelvefold.evaluation.withheld import explain_unknown_scores, move_command
from twelvefold.schema import TwelvefoldError

UNKNOWN = TaskScore("accuracy", "test", score=None, n=0, ci95=None, unlabeled=40)


@pytest.mark.parametrize(
    ("task", "options", "option", "expects_more"),
    [
        ("vqav2", {}, " --split test-dev", False),
        ("vqav2", {"test": "test-dev2015"}, " --split test-dev --split-only", True),
        ("gqa", {"test": "submission"}, " --split submission", False),
        ("gqa", {}, " --split testdev", True),
        ("gqa", {"test": "challenge"}, "", True),
        ("nlvr2", {}, " --split test1", False),
        ("nlvr2", {"test": "test2"}, " --split test2", False),
        ("snli_ve", {}, "", False),
    ],
    ids=str,
)
def test_the_part_is_the_one_that_the_reader_options_select(
    task: str, options: dict[str, Any], option: str, expects_more: bool
) -> None:
    part = server_part(load_dataset(task), options)
    assert (part.option, bool(part.note)) == (option, expects_more)
    assert bool(part.name) is not (task == "gqa" and options.get("test") == "challenge")


def test_a_dataset_without_a_submission_format_has_the_test_split_alone() -> None:
    module = SimpleNamespace(TASK=load_dataset("gqa").TASK, read=lambda root, split, *, bad: iter(()))
    assert server_part(cast(Dataset, module), {}).name == "test"


def explain(task: str, recipe: str = "", run: Path = Path("a run"), split: Any = "test") -> tuple[str, str]:
    parsed = Recipe.parse(f'name = "toy"\ntasks = ["{task}"]\n{recipe}')
    each = explain_unknown_scores(run, parsed, {task: UNKNOWN}, split)[task]
    return each.reason, each.command


def test_commands_quote_names_and_say_where_the_data_go() -> None:
    reason, command = explain("vqav2")
    assert reason == "scored by the server: the labels of its test split are withheld"
    out = "'a run/submissions/vqav2-test-dev.json'"
    assert command == f"twelvefold submit 'a run' --task vqav2 --split test-dev --data DATA --out {out}"
    assert explain("nlvr2", split="val")[1].split(" --data")[0] == "twelvefold submit 'a run' --task nlvr2 --split val"


def test_what_the_server_would_refuse_has_no_command_but_a_reason() -> None:
    reason, command = explain("gqa", '[per_task.gqa]\noptions = { test = "challenge" }')
    assert command == ""
    assert 'options.test = "submission" under [per_task.gqa]' in reason


def test_predictions_of_some_questions_are_not_called_complete() -> None:
    assert "only 40 of its questions are predicted" in explain("nlvr2", "[evaluation]\nmax_examples = 40")[0]
    assert "only" not in explain("nlvr2", "[evaluation]\nmax_examples = 41")[0]


@pytest.mark.parametrize("old", [Path("runs/old"), Path()], ids=str)
def test_a_command_follows_its_run(old: Path, tmp_path: Path) -> None:
    command = explain("snli_ve", run=old)[1]
    moved = move_command(command, tmp_path)
    assert (
        moved == f"twelvefold submit {tmp_path} --task snli_ve --data DATA --out {tmp_path}/submissions/snli_ve.jsonl"
    )
    assert move_command(moved, old) == command


def test_only_known_scores_are_averaged_and_they_are_named() -> None:
    known = TaskScore("accuracy", "test", score=40.0, n=10, ci95=(30.0, 50.0))
    scores = Scores({"gqa": UNKNOWN, "nlvr2": known}, "latest", 1.0, 1.0, missing={"coco": "it was not evaluated"})
    assert scores.average == 40.0
    assert scores.describe_average() == "average 40.00 of 1 of 3 tasks: nlvr2"
    assert known.require_score() == 40.0
    with pytest.raises(TwelvefoldError, match="the test labels are withheld"):
        UNKNOWN.require_score()


def test_without_any_score_the_average_is_null(tmp_path: Path) -> None:
    scores = Scores({"gqa": UNKNOWN}, "latest", 1.0, 1.0)
    assert scores.average is None
    assert scores.describe_average() == ""
    write_scores(tmp_path / "scores.json", scores)
    assert '"average": null' in (tmp_path / "scores.json").read_text()
    assert read_scores(tmp_path / "scores.json", Scores) == scores
