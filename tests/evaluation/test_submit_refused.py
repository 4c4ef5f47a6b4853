"""Predictions that do not fit the official questions are refused, and no file is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from twelvefold import cli
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, read_predictions, write_predictions
from twelvefold.evaluation.submit import submit
from twelvefold.schema import Example, Ranked, TwelvefoldError

ReadExamples = Callable[..., list[Example]]
Records = list[PredictionRecord]


def change_predictions(run: Path, task: str, change: Callable[[Records], Records]) -> None:
    path = predictions_path(run, task, "test")
    write_predictions(path, change(list(read_predictions(path))))


BAD: dict[str, tuple[Callable[[Records], Records], str]] = {
    "missing": (
        lambda records: records[3:],
        r"3 questions \(test1-.*\) of [\d,]+ have no prediction.*Nothing was written",
    ),
    "unknown": (
        lambda records: [*records, replace(records[0], id="dev-1-2-3")],
        r"1 question \(dev-1-2-3\).*not in the official file.*--subset",
    ),
    "repeated": (lambda records: [*records, records[0]], r"1 question \(test1-.*\) predicted more than once"),
    "another split": (
        lambda records: [replace(record, id=record.id.replace("test1", "dev")) for record in records],
        "predictions are of other questions: another split",
    ),
    "another task": (
        lambda records: [replace(records[0], task="gqa"), *records[1:]],
        "expected predictions of nlvr2, got .* gqa",
    ),
    "unknown class": (
        lambda records: [replace(records[0], ranked=(Ranked(1.0, name="yes"),)), *records[1:]],
        "'yes'.*False, True",
    ),
    "empty": (lambda records: [], "have no prediction"),
}


@pytest.mark.parametrize("problem", BAD)
def test_predictions_that_do_not_fit_are_refused_before_a_file_is_written(
    run_copy: Path, data: Path, tmp_path: Path, problem: str
) -> None:
    change, message = BAD[problem]
    change_predictions(run_copy, "nlvr2", change)
    out = tmp_path / "out" / "nlvr2.csv"
    with pytest.raises(TwelvefoldError, match=message):
        submit(run_copy, "nlvr2", out, data=data)
    assert not out.parent.exists()


def test_a_refusal_keeps_an_older_file(run_copy: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "nlvr2.csv"
    submit(run_copy, "nlvr2", out, data=data)
    before = out.read_bytes()
    change_predictions(run_copy, "nlvr2", lambda records: records[1:])
    with pytest.raises(TwelvefoldError):
        submit(run_copy, "nlvr2", out, data=data)
    assert out.read_bytes() == before


def test_a_subset_leaves_out_and_counts_other_predictions(
    examples: ReadExamples, run_copy: Path, data: Path, tmp_path: Path
) -> None:
    unknown = ("dev-1-2-3", "dev-1-2-4")
    change_predictions(run_copy, "nlvr2", lambda records: [*records, *(replace(records[0], id=i) for i in unknown)])
    summary = submit(run_copy, "nlvr2", tmp_path / "out.csv", data=data, subset=True)
    assert (summary.left_out, summary.questions) == (2, len(examples(data, "nlvr2")))
    assert "dev-1-2" not in (tmp_path / "out.csv").read_text()


def test_a_box_that_is_no_candidate_is_refused(run_copy: Path, data: Path, tmp_path: Path) -> None:
    ranked = (Ranked(1.0, box_px=(1.0, 2.0, 3.0, 4.5)),)
    change_predictions(run_copy, "visual7w", lambda records: [replace(records[0], ranked=ranked), *records[1:]])
    with pytest.raises(TwelvefoldError, match="none of its candidates"):
        submit(run_copy, "visual7w", tmp_path / "out.json", data=data)


def test_an_expression_without_regions_gets_an_empty_box_and_is_counted(
    run: Path, run_copy: Path, data: Path, tmp_path: Path
) -> None:
    records = list(read_predictions(predictions_path(run, "refcoco", "test")))
    write_predictions(predictions_path(run_copy, "refcoco", "test"), [replace(records[0], ranked=()), *records[1:]])
    assert submit(run_copy, "refcoco", tmp_path / "out.json", data=data).unanswered == 1
    assert json.loads((tmp_path / "out.json").read_text())[0]["pred_box"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "nlvr"), "did you mean 'nlvr2'"),
        (("--task", "gqa"), "tasks with predictions: nlvr2, visual7w"),
        (("--task", "nlvr2", "--split", "test-1"), "nlvr2 has no part 'test-1'.*did you mean 'test1'"),
        (("--task", "nlvr2", "--split", "val"), "no predictions .*predictions-val"),
        (("--task", "nlvr2", "--form", "vilbert_mt"), "no submission format 'vilbert_mt'"),
    ],
)
def test_unknown_tasks_parts_and_formats_are_refused_with_the_closest_name(
    run_copy: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["submit", str(run_copy), *arguments, "--data", str(data), "--out", str(run_copy / "out")])
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_without_the_official_files_nothing_is_written(run_copy: Path) -> None:
    with pytest.raises(TwelvefoldError, match="checked against the official question file"):
        submit(run_copy, "nlvr2", run_copy / "out")


@pytest.mark.parametrize("form", ["publishers", "vilbert_mt"])
def test_retrieval_predictions_without_ranks_are_refused(
    run: Path, run_copy: Path, data: Path, tmp_path: Path, form: Any
) -> None:
    records = [replace(record, rank=None) for record in read_predictions(predictions_path(run, "coco", "test"))]
    write_predictions(predictions_path(run_copy, "coco", "test"), records)
    with pytest.raises(TwelvefoldError, match=r"remove the run's scores/\*/coco\.json and evaluate again"):
        submit(run_copy, "coco", tmp_path / "out", data=data, form=form)
