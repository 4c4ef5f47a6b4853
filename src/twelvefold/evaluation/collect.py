"""Add up the evaluations of a run: scores of now, and those of before with the same model on the same data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from twelvefold.evaluation.per_task import read_stored
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.scores import Scores, TaskScore, read_scores, write_scores
from twelvefold.evaluation.withheld import explain_unknown_scores
from twelvefold.schema import Split, TwelvefoldError

NOT_EVALUATED = "it was not evaluated"
NO_EXAMPLES = "its data have no {} examples"
OTHER_INPUTS = "its score is of other weights, data, limits or temperatures"


def add_up(inputs: RunInputs, scores: Scores, split: Split, folder: Path) -> Scores:
    """Return ``scores`` with the tasks that were scored before with the same inputs; write them to the run's folder.

    A score with other inputs, such as another checkpoint, is left out, and ``missing`` says so. Test scores are in
    ``scores.json``, those of val in ``scores-val.json``.

    Args:
        inputs: Run, data and model.
        scores: The tasks that are scored now.
        split: Their split.
        folder: Folder of the stored results.
    """
    path = inputs.run / ("scores.json" if split == "test" else f"scores-{split}.json")
    names = [task.name for task in inputs.tasks()]
    before, stored = _read_before(path), read_stored(folder, TaskScore, names)
    together = {name: each.result for name, each in stored.items() if each.inputs_digest == scores.inputs_digest}
    if before is not None and before.inputs_digest == scores.inputs_digest:
        together = before.tasks | together
    together |= scores.tasks
    tasks = {name: together[name] for name in names if name in together}
    with_examples = {task.name for task in inputs.tasks_with_examples(split)}
    unknown = explain_unknown_scores(inputs.run, inputs.recipe, tasks, split, prepared=inputs.prepared)
    scores = msgspec.structs.replace(
        scores,
        tasks=tasks,
        unknown={name: each.reason for name, each in unknown.items()},
        submit={name: each.command for name, each in unknown.items() if each.command},
        missing={
            name: _why_missing(name, before, scores, is_stored=name in stored)
            if name in with_examples
            else NO_EXAMPLES.format(split)
            for name in names
            if name not in tasks
        },
    )
    if before is None or _content(before) != _content(scores):  # else it keeps the date and command of the evaluation
        write_scores(path, scores)
    return scores


def _content(scores: Scores) -> Mapping[str, object]:
    times = ("seconds", "peak_memory_gb", "invocation")
    return {name: value for name, value in scores.to_json().items() if name not in times}


def _read_before(path: Path) -> Scores | None:
    try:
        return read_scores(path, Scores) if path.exists() else None
    except TwelvefoldError:
        return None  # it is replaced


def _why_missing(name: str, before: Scores | None, scores: Scores, *, is_stored: bool) -> str:
    if before is not None and name in before.tasks and before.weights_digest not in ("", scores.weights_digest):
        date = f", evaluated {before.invocation.date}" if before.invocation else ""
        return f"its score is of another checkpoint ({Path(before.checkpoint).name}{date})"
    if before is not None and name in before.missing and before.missing[name] != NOT_EVALUATED:
        return before.missing[name]
    return OTHER_INPUTS if is_stored or (before is not None and name in before.tasks) else NOT_EVALUATED
