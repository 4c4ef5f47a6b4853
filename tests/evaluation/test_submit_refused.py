"""Submission files are refused whole, by name and reason, where predictions do not answer what the servers ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from twelvefold import cli
from twelvefold.evaluation import predictions
from twelvefold.evaluation.predictions import Line
from twelvefold.evaluation.submit import submit
from twelvefold.schema import Example, Ranked, TwelvefoldError

Read = Callable[..., list[Example]]


def spoil(run: Path, task: str, change: Callable[[list[Line]], Iterable[Line]]) -> None:
    path = predictions.file_of(run, task, "test")
    predictions.write(path, change(list(predictions.read(path))))


def of(line: Line, **changes: Any) -> Line:
    return Line(**{name: getattr(line, name) for name in line.__struct_fields__} | changes)


BAD: dict[str, tuple[Callable[[list[Line]], Iterable[Line]], str]] = {
    "missing": (lambda lines: lines[3:], r"3 questions \(test1-.*\) of [\d,]+ not answered.*Nothing was written"),
    "unknown": (lambda lines: [*lines, of(lines[0], id="dev-1-2-3")], r"1 question \(dev-1-2-3\).*not asked.*--subset"),
    "twice": (lambda lines: [*lines, lines[0]], r"1 question \(test1-.*\) predicted more than once"),
    "another split": (
        lambda lines: [of(line, id=line.id.replace("test1", "dev")) for line in lines],
        "predictions are of other questions: another split",
    ),
    "another task": (lambda lines: [of(lines[0], task="gqa"), *lines[1:]], "expected predictions of nlvr2, got .* gqa"),
    "no class": (lambda lines: [of(lines[0], ranked=(Ranked(1.0, name="yes"),)), *lines[1:]], "'yes'.*False, True"),
    "none": (lambda lines: [], "not answered"),
}


@pytest.mark.parametrize("what", BAD)
def test_predictions_that_do_not_fit_are_refused_before_anything_is_written(
    own: Path, data: Path, tmp_path: Path, what: str
) -> None:
    change, said = BAD[what]
    spoil(own, "nlvr2", change)
    out = tmp_path / "out" / "nlvr2.csv"
    with pytest.raises(TwelvefoldError, match=said):
        submit(own, "nlvr2", out, data=data)
    assert not out.parent.exists()


def test_a_refusal_leaves_an_older_file_as_it_was(own: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "nlvr2.csv"
    submit(own, "nlvr2", out, data=data)
    before = out.read_bytes()
    spoil(own, "nlvr2", lambda lines: lines[1:])
    with pytest.raises(TwelvefoldError):
        submit(own, "nlvr2", out, data=data)
    assert out.read_bytes() == before


def test_a_subset_leaves_other_questions_out_and_counts_them(
    examples: Read, own: Path, data: Path, tmp_path: Path
) -> None:
    spoil(own, "nlvr2", lambda lines: [*lines, of(lines[0], id="dev-1-2-3"), of(lines[0], id="dev-1-2-4")])
    summary = submit(own, "nlvr2", tmp_path / "out.csv", data=data, subset=True)
    assert (summary.left_out, summary.questions) == (2, len(examples(data, "nlvr2")))
    assert "dev-1-2" not in (tmp_path / "out.csv").read_text()


def test_a_box_that_is_no_candidate_is_refused(own: Path, data: Path, tmp_path: Path) -> None:
    spoil(own, "visual7w", lambda lines: [of(lines[0], ranked=(Ranked(1.0, box_px=(1.0, 2.0, 3.0, 4.5)),)), *lines[1:]])
    with pytest.raises(TwelvefoldError, match="none of its candidates"):
        submit(own, "visual7w", tmp_path / "out.json", data=data)


def test_an_expression_without_regions_gets_an_empty_box_and_is_counted(run: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    (own / "predictions").mkdir(parents=True)
    (own / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    lines = list(predictions.read(predictions.file_of(run, "refcoco", "test")))
    predictions.write(predictions.file_of(own, "refcoco", "test"), [of(lines[0], ranked=()), *lines[1:]])
    assert submit(own, "refcoco", tmp_path / "out.json", data=data).unanswered == 1
    assert json.loads((tmp_path / "out.json").read_text())[0]["pred_box"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "nlvr"), "did you mean 'nlvr2'"),
        (("--task", "gqa"), "there are those of nlvr2, visual7w"),
        (("--task", "nlvr2", "--split", "test-1"), "nlvr2 has no part 'test-1'.*did you mean 'test1'"),
        (("--task", "nlvr2", "--split", "val"), "no predictions .*predictions-val"),
        (("--task", "nlvr2", "--form", "original"), "no original form"),
    ],
)
def test_what_cannot_be_asked_is_said_with_the_closest(
    own: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["submit", str(own), *arguments, "--data", str(data), "--out", str(own / "out")])
    assert left.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_without_the_official_files_nothing_is_written(own: Path) -> None:
    with pytest.raises(TwelvefoldError, match="checked against the official question file"):
        submit(own, "nlvr2", own / "out")


@pytest.mark.parametrize("form", ["publishers", "original"])
def test_searches_without_their_ranks_are_refused(run: Path, data: Path, tmp_path: Path, form: Any) -> None:
    own = tmp_path / "run"
    own.mkdir()
    (own / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    lines = [of(line, rank=None) for line in predictions.read(predictions.file_of(run, "coco", "test"))]
    predictions.write(predictions.file_of(own, "coco", "test"), lines)
    with pytest.raises(TwelvefoldError, match=r"remove the run's scores/\*/coco\.json and evaluate again"):
        submit(own, "coco", tmp_path / "out", data=data, form=form)
