"""``twelvefold submit``: predictions of a run as a server or a publisher's scorer wants them. Paper: section 4.

Nothing is written unless every question of the official file is answered exactly once and no other is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.evaluation import predictions
from twelvefold.evaluation.predictions import Line
from twelvefold.evaluation.submission_formats import Asked, BoxForm, FormName, Row, encode, form_of, part
from twelvefold.progress import track
from twelvefold.schema import Example, Split, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files

SHOWN = 5
"""Ids named of those that are missing or unknown."""


class SubmitSummary(msgspec.Struct, frozen=True):
    """What was written. left_out: predictions of other questions (``subset``). unanswered: expressions in whose
    picture nothing was detected. malformed: records of the official file that could not be read."""

    file: Path
    task: str
    part: str
    form: str
    questions: int
    left_out: int = 0
    unanswered: int = 0
    malformed: int = 0


def submit(
    run: Path,
    task: str,
    out: Path,
    *,
    part_name: str = "test",
    data: Path | None = None,
    form: FormName = "publishers",
    box_form: BoxForm = "xywh",
    subset: bool = False,
) -> SubmitSummary:
    """Write the run's predictions of a task to ``out``, in the order of the official file.

    ``part_name``: test, val, or a publisher's name (``submissions.PARTS``). ``data``: the folder of official files;
    ``RUN/world`` where left out. ``subset``: leave predictions of other questions out instead of refusing them
    (VQA's test-dev is a part of test2015).

    Raises:
        TwelvefoldError: no such task, part or form; no predictions; or a question is answered never, twice, by
            something that can't be, or is not asked.
    """
    recipe = Recipe.load(run / "recipe.toml")
    module = _module(recipe, task)
    split, chosen = part(task, part_name)
    folder = _data(run, data)
    options = reader_options(folder, [module], {module: recipe.choice(module).options})[module] | chosen
    datasets.check_options(datasets.load(module), options)
    bad = BadRecords(skip=recipe.data.skip_bad)
    examples = partial(_questions, module, folder, split, bad, options)
    shape = form_of(task, form, Asked(folder, split, bad, examples), box_form)
    said = _said(predictions.file_of(run, task, split), task, shape.kept)
    bad.listed.clear()  # looking up may have read the file before
    rows, unanswered = _answered(examples, said, shape.row, f"{task} {part_name}", subset)
    with atomic_files.atomic_file(out) as file:
        file.writelines(encode(shape.kind, rows))
    return SubmitSummary(out, task, part_name, form, len(rows), len(said), unanswered, len(bad.listed))


def _module(recipe: Recipe, task: str) -> str:
    """The dataset (a name, or a dotted path) whose task is called so."""
    modules = {datasets.load(name).TASK.name: name for name in recipe.tasks}
    if task not in modules:
        raise TwelvefoldError(f"the run has no task {task!r}; it has {', '.join(modules)}{did_you_mean(task, modules)}")
    return modules[task]


def _data(run: Path, data: Path | None) -> Path:
    folder = data or run / "world"
    if not folder.is_dir():
        raise TwelvefoldError(
            f"no folder {folder}: a submission is checked against the official question file; name the data folder "
            "that the run was prepared from (--data)"
        )
    return folder


def _questions(module: str, data: Path, split: Split, bad: BadRecords, options: Mapping[str, Any]) -> Iterator[Example]:
    return datasets.load(module).read(data, split, bad=bad, **options)


def _said(path: Path, task: str, kept: int) -> dict[str, Line]:
    """Every line of a prediction file by its id, as much of its ranking as the form needs."""
    if not path.exists():
        there = sorted(file.stem for file in path.parent.glob("*.jsonl"))
        raise TwelvefoldError(
            f"no predictions {path}; {'there are those of ' + ', '.join(there) if there else 'there are none'}: "
            "run `twelvefold evaluate` first"
        )
    said: dict[str, Line] = {}
    twice: list[str] = []
    for line in track(predictions.read(path), description="predictions"):
        if line.task != task:
            raise TwelvefoldError(f"{path}: expected predictions of {task}, got one of {line.task} ({line.id!r})")
        if line.id in said:
            twice.append(line.id)
        said[line.id] = msgspec.structs.replace(line, ranked=line.ranked[:kept])
    if twice:
        raise TwelvefoldError(f"{path}: {_named(twice)} predicted more than once; evaluate again")
    return said


def _answered(
    examples: Callable[[], Iterator[Example]], said: dict[str, Line], row: Row, what: str, subset: bool
) -> tuple[list[Any], int]:
    """The rows of the file and how many say nothing; what is left of ``said`` was not asked."""
    total, rows, unanswered = len(said), [], 0
    missing: list[str] = []
    for example in track(examples(), description="questions"):
        line = said.pop(example.id, None)
        if line is None:
            missing.append(example.id)
            continue
        unanswered += not line.ranked
        rows.append(row(example, line))
    problems = [f"{_named(missing)} of {len(missing) + len(rows):,} not answered"] if missing else []
    if said and not subset:
        problems.append(f"{_named(list(said))} of {total:,} predictions not asked there")
    if problems:
        raise TwelvefoldError(f"{what}: {'; '.join(problems)}. {_advice(rows, missing, subset)} Nothing was written")
    return rows, unanswered


def _advice(rows: list[Any], missing: list[str], subset: bool) -> str:
    if not rows:
        return "The predictions are of other questions: another split, or other data (--data)."
    if missing:
        return (
            "The recipe limits what is evaluated ([evaluation] max_examples, pool), `prepare` left pictures without "
            "regions out, or the tables hold another part (the reader's option test): mend it and evaluate again."
        )
    return "To send a part of what was predicted, use --subset."


def _named(ids: list[str]) -> str:
    """``3 questions (1, 2, 3)``: how many, and the first few."""
    more = ", ..." if len(ids) > SHOWN else ""
    return f"{len(ids):,} question{'s' if len(ids) != 1 else ''} ({', '.join(ids[:SHOWN])}{more})"
