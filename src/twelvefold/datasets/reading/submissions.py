"""Formats of submission files for evaluation servers and official scorers. Paper: section 4, Table 2.

A dataset's module may define ``SUBMISSION``. ``docs/submissions.md`` says what is known of every format.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Box, Example, Ranked, Split, TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.datasets import Dataset

SCORED_BY_SERVER = "scored by the server"
"""What tables and pages show instead of a score that is unknown because the labels are withheld."""

BoxFormat = Literal["xywh", "xyxy"]
EMPTY_BOX: Box = (0.0, 0.0, 0.0, 0.0)
"""The box of an expression in whose image nothing was detected; it overlaps nothing."""


class Answered(Protocol):
    """A prediction: ranked answers, best first, and for retrieval the rank of the true image in the whole pool."""

    @property
    def task(self) -> str: ...
    @property
    def ranked(self) -> tuple[Ranked, ...]: ...
    @property
    def rank(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class OfficialQuestions:
    """The official files whose questions are answered. ``examples`` reads them."""

    data: Path
    split: Split
    bad_records: BadRecords
    examples: Callable[[], Iterator[Example]]
    box_format: BoxFormat = "xywh"


SubmissionRow = Callable[[Example, Answered], Any]
"""Returns one question's entry of the file: a JSON value, or a line of text."""


@dataclass(frozen=True, slots=True)
class SubmissionFormat:
    """Format of a file: a JSON list, JSON lines or CSV without a header.

    row: makes the function that makes a row. max_ranked: number of ranked answers that a row needs; None for all.
    """

    container: Literal["json", "jsonl", "csv"]
    row: Callable[[OfficialQuestions], SubmissionRow]
    max_ranked: int | None = 1


@dataclass(frozen=True, slots=True)
class Submission:
    """Formats of a task's submission files.

    publishers: the format of the publishers' server or scorer. vilbert_mt: what vilbert-multi-task writes; None if it
    can't be derived from predictions. parts: publishers' names of parts of the test split, with the reader options
    that select what the server expects for each. own_parts: the reader options that select the questions of a part
    alone, where its server expects more. server: the part that a server scores, of a task whose labels are withheld.
    """

    publishers: SubmissionFormat
    vilbert_mt: SubmissionFormat | None = None
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    own_parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    server: str = ""


@dataclass(frozen=True, slots=True)
class ServerPart:
    """The part of a test set whose predictions are submitted; no name if no server takes them alone.

    ``option``: that of ``submit``. ``note``: what else the server expects, in words; empty if nothing.
    """

    name: str
    option: str
    note: str = ""


def simple_format(
    container: Literal["json", "jsonl", "csv"], row: SubmissionRow, max_ranked: int | None = 1
) -> SubmissionFormat:
    """Return a format whose rows depend on example and prediction only."""
    return SubmissionFormat(container, lambda _: row, max_ranked)


def candidate_submission(
    candidate_ids: Callable[..., Iterator[tuple[str, list[int]]]], row: Callable[[Example, int], Any]
) -> Submission:
    """Return the formats of a task with candidate boxes.

    ``candidate_ids``: yields example ids with the publisher's ids of their candidates, called as a dataset's ``read``.
    ``row``: returns the row of an example from the publisher's id of the predicted candidate.
    """

    def publishers_row(questions: OfficialQuestions) -> SubmissionRow:
        ids = dict(candidate_ids(questions.data, questions.split, bad=questions.bad_records))
        return lambda example, answered: row(example, ids[example.id][best_candidate(example, answered)])

    return Submission(SubmissionFormat("json", publishers_row), simple_format("json", candidate_row))


def best_class(example: Example, answered: Answered, classes: tuple[str, ...]) -> str:
    """Return the predicted class.

    Raises:
        TwelvefoldError: it is not one of ``classes``.
    """
    name = answered.ranked[0].name
    if name not in classes:
        raise TwelvefoldError(
            f"{answered.task}: question {example.id!r} is answered {name!r}; expected one of {', '.join(classes)}"
        )
    return name


def best_candidate(example: Example, answered: Answered) -> int:
    """Return the index of the predicted candidate; the first of several candidates with the same box.

    Raises:
        TwelvefoldError: the predicted box is not a candidate.
    """
    box = answered.ranked[0].box_px if answered.ranked else None
    candidates = np.array(example.pairs[0].candidates_px, dtype=np.float32)  # a batch holds boxes as float32
    is_chosen = (candidates == np.array(box or EMPTY_BOX, dtype=np.float32)).all(axis=1)
    if box is None or not is_chosen.any():
        raise TwelvefoldError(
            f"{answered.task}: question {example.id!r} is answered by the box {box}, which is none of its candidates "
            f"{candidates.tolist()}; the predictions were made from other data: prepare and evaluate again"
        )
    return int(is_chosen.argmax())


def candidate_row(example: Example, answered: Answered) -> dict[str, Any]:
    """Return a row of vilbert-multi-task: the image and the index of the predicted candidate."""
    return {"id": int(example.pairs[0].image.id), "target": best_candidate(example, answered)}


def server_part(dataset: Dataset, options: Mapping[str, Any]) -> ServerPart:
    """Return the part of the test set that reader options select, as ``submit`` names it."""
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    if submission is None:
        return ServerPart("test", "")
    parameters = inspect.signature(dataset.read).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    options = defaults | dict(options)

    def selects(part: Mapping[str, str]) -> bool:
        return all(options.get(name) == value for name, value in part.items())

    names = sorted(submission.parts, key=lambda name: name != submission.server)  # the server's first
    note = ""
    if submission.server and not selects(submission.parts[submission.server]):
        expected = " and ".join(f'options.{k} = "{v}"' for k, v in submission.parts[submission.server].items())
        note = (
            f"its server expects every question of another part: prepare and evaluate with {expected} under "
            f"[per_task.{dataset.TASK.name}]"
        )
    for name in names:
        if selects(submission.parts[name]):
            return ServerPart(name, f" --split {name}", note)
    for name, own in submission.own_parts.items():
        if selects(own):
            return ServerPart(f"{name}-only", f" --split {name} --split-only", note)
    return ServerPart("" if submission.server else "test", "", note)
