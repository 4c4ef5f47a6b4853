"""``twelvefold submit``: write a run's predictions in the format of a server or an official scorer. Paper: section 4.

Nothing is written unless every question of the official file has exactly one prediction and no prediction is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import Dataset, check_options, load_dataset
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.submissions import (
    BoxFormat,
    OfficialQuestions,
    Submission,
    SubmissionFormat,
    SubmissionRow,
)
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, read_predictions
from twelvefold.progress import track
from twelvefold.schema import Example, Split, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.training.data_folders import find_table_origin

FormatName = Literal["publishers", "vilbert_mt"]

ONLY = "-only"
"""End of the name of a part whose own questions are written although its server expects more."""

MAX_LISTED_IDS = 5
"""Ids listed of the questions that are missing or unknown."""


class SubmitSummary(msgspec.Struct, frozen=True):
    """What was written.

    left_out: predictions of other questions (``subset``, or the part is a part of the predictions). unanswered:
    expressions in whose image nothing was detected. malformed: records of the official file that could not be read.
    """

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
    part: str = "test",
    data: Path | None = None,
    form: FormatName = "publishers",
    box_format: BoxFormat = "xywh",
    subset: bool = False,
) -> SubmitSummary:
    """Write a task's predictions to a submission file, in the order of the official file.

    Args:
        run: Folder of the run; ``evaluate`` wrote its predictions.
        task: Name of the task.
        out: File to write; an older file is replaced.
        part: ``test``, ``val``, or an official part: vqav2 test-dev, test2015; gqa testdev, submission; nlvr2 test1,
            test2. VQA's server expects every question of test2015 for test-dev too; ``test-dev-only`` (as
            ``--split-only``) writes those of test-dev.
        data: Folder of the official files; by default the one that the tables were made from, or else ``RUN/world``.
        form: Format of the file: that of the publishers, or that of vilbert-multi-task.
        box_format: Boxes of RefCOCO, RefCOCO+ and RefCOCOg as x, y, width, height, or as two corners.
        subset: Leave out predictions of other questions instead of refusing them.

    Raises:
        TwelvefoldError: the run has no such task, part or format, or no predictions; or a question has no prediction,
            two predictions, or an impossible one, or a prediction has no question.
    """
    recipe = resolve_tasks(Recipe.load_run(run))
    task = recipe.task_name(task)
    name = recipe.module(task)
    dataset = load_dataset(name)
    split, part_options = _find_part(dataset, part)
    source = find_table_origin(run)
    folder = data or source.data
    if not folder.is_dir():
        raise TwelvefoldError(
            f"no folder {folder}: a submission is checked against the official question file; name the data folder "
            "that the run was prepared from (--data)"
        )
    options = reader_options(folder, [name], {name: recipe.task_config(task).options})[name]
    options |= {**source.reader_options.get(task, {}), **part_options}
    check_options(dataset, options)
    bad = BadRecords(skip=recipe.data.skip_bad)
    examples = partial(dataset.read, folder, split, bad=bad, **options)
    format_ = _find_format(dataset, form)
    make_row = format_.row(OfficialQuestions(folder, split, bad, examples, box_format))
    records = _read_records(predictions_path(run, task, split), task, format_.max_ranked)
    bad.rejected.clear()  # making the row function may have read the file before
    rows, unanswered = _make_rows(examples, records, make_row, f"{task} {part}", subset or part.endswith(ONLY))
    atomic_files.write_bytes(out, _encode_rows(format_.container, rows))
    return SubmitSummary(out, task, part, form, len(rows), len(records), unanswered, len(bad.rejected))


def _find_part(dataset: Dataset, name: str) -> tuple[Split, Mapping[str, str]]:
    """Return our split and the reader options of ``test``, ``val``, or a publisher's part of the test split."""
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    parts: dict[str, tuple[Split, Mapping[str, str]]] = {"test": ("test", {}), "val": ("val", {})}
    if submission is not None:
        parts |= {part: ("test", options) for part, options in submission.parts.items()}
        parts |= {part + ONLY: ("test", options) for part, options in submission.own_parts.items()}
    if name not in parts:
        raise TwelvefoldError(
            f"{dataset.TASK.name} has no part {name!r}; it has {', '.join(parts)}{did_you_mean(name, parts)}"
        )
    return parts[name]


def _find_format(dataset: Dataset, name: FormatName) -> SubmissionFormat:
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    result: SubmissionFormat | None = getattr(submission, name, None)
    if result is None:
        raise TwelvefoldError(
            f"task {dataset.TASK.name!r} has no submission format {name!r} that can be derived from predictions; "
            "docs/submissions.md lists the formats"
        )
    return result


def _read_records(path: Path, task: str, max_ranked: int | None) -> dict[str, PredictionRecord]:
    """Return a task's records by id, with at most ``max_ranked`` answers each; None for all."""
    if not path.exists():
        others = ", ".join(sorted(file.stem for file in path.parent.glob("*.jsonl"))) or "none"
        raise TwelvefoldError(
            f"no predictions {path}; tasks with predictions: {others}. Run `twelvefold evaluate` first"
        )
    records: dict[str, PredictionRecord] = {}
    repeated: list[str] = []
    for record in track(read_predictions(path), description="predictions"):
        if record.task != task:
            raise TwelvefoldError(f"{path}: expected predictions of {task}, got one of {record.task} ({record.id!r})")
        if record.id in records:
            repeated.append(record.id)
        records[record.id] = msgspec.structs.replace(record, ranked=record.ranked[:max_ranked])
    if repeated:
        raise TwelvefoldError(f"{path}: {_list_questions(repeated)} predicted more than once; evaluate again")
    return records


def _make_rows(
    examples: Callable[[], Iterator[Example]],
    records: dict[str, PredictionRecord],
    make_row: SubmissionRow,
    what: str,
    subset: bool,
) -> tuple[list[Any], int]:
    """Return the rows of the file and how many have no answer; remove the used records from ``records``."""
    total, rows, unanswered = len(records), [], 0
    missing: list[str] = []
    for example in track(examples(), description="questions"):
        record = records.pop(example.id, None)
        if record is None:
            missing.append(example.id)
            continue
        unanswered += not record.ranked
        rows.append(make_row(example, record))
    problems = [f"{_list_questions(missing)} of {len(missing) + len(rows):,} have no prediction"] if missing else []
    if records and not subset:
        problems.append(f"{_list_questions(list(records))} of {total:,} predictions are not in the official file")
    if problems:
        raise TwelvefoldError(f"{what}: {'; '.join(problems)}. {_advice(rows, missing)} Nothing was written")
    return rows, unanswered


def _advice(rows: list[Any], missing: list[str]) -> str:
    if not rows:
        return "The predictions are of other questions: another split, or other data (--data)."
    if missing:
        return (
            "The recipe limits what is evaluated ([evaluation] max_examples, retrieval_pool), `prepare` left out "
            "images without regions, or the tables hold another part (the reader's option test): fix it and evaluate "
            "again. To write a part's own questions where its server expects more, use --split-only."
        )
    return "To submit a subset of the predictions, use --subset."


def _list_questions(ids: list[str]) -> str:
    """Return their number and the first ids: ``3 questions (1, 2, 3)``."""
    more = ", ..." if len(ids) > MAX_LISTED_IDS else ""
    return f"{len(ids):,} question{'s' if len(ids) != 1 else ''} ({', '.join(ids[:MAX_LISTED_IDS])}{more})"


def _encode_rows(container: str, rows: Sequence[Any]) -> bytes:
    """Return the content of a file that holds ``rows``, each on a line of its own."""
    if container == "csv":
        return "".join(f"{row}\n" for row in rows).encode()
    if container == "jsonl":
        return msgspec.json.Encoder().encode_lines(rows)
    return b"[" + b",".join(b"\n" + msgspec.json.encode(row) for row in rows) + b"\n]\n"
