"""Score tasks with all processes of a group: each part of a task by one of them, whichever it is.

Parts are stored when they are scored and merged when all are, so an evaluation that was killed loses at most the parts
that were being scored. All processes must see the run's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from twelvefold.evaluation.estimate import Estimate, count_bytes, measure_seconds
from twelvefold.evaluation.part_store import PartStore, StoredParts, remove_other_parts
from twelvefold.evaluation.per_task import StoredResult
from twelvefold.evaluation.predictions import predictions_path, write_predictions
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.score import PartResult, TaskScoring
from twelvefold.evaluation.scores import TaskScore
from twelvefold.model import Model, card
from twelvefold.model.twin_encoder import TwinEncoder
from twelvefold.progress import console, progress_bar
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.disk_space import free_bytes, require_free_space
from twelvefold.store.steps import StepCache
from twelvefold.training.distributed import ProcessGroup


class Part(NamedTuple):
    """Rows ``start`` to ``stop - 1`` of a task's examples."""

    task: str
    start: int
    stop: int


def score_tasks(inputs: RunInputs, tasks: Sequence[str], split: Split, inputs_digest: str, group: ProcessGroup) -> None:
    """Score the tasks and write their predictions and results, ``scores/SPLIT/<task>.json``. Every rank calls this.

    ``inputs_digest``: of all that scores depend on.

    Raises:
        TwelvefoldError: the disk has too little space, an example has no features, or a GPU has too little memory.
    """
    folder, limits = inputs.run / "scores" / split, inputs.recipe.evaluation
    with group.fail_together():
        model = Model.load(inputs.checkpoint).to(group.device)
        scorings = {name: _scoring(inputs, model.tasks[name], split) for name in tasks}
    shortlist = [inputs.shortlist, inputs.twin_digest()] if inputs.shortlist else []
    # The batch size only changes rounding.
    digest = atomic_files.digest_value([inputs_digest, limits.batch_size, *shortlist])
    stores = {name: PartStore(folder, digest, name) for name in scorings}
    if group.is_main:
        remove_other_parts(folder, digest)
    missing = _missing_parts(scorings, stores, group)
    _check_and_announce(inputs, scorings, missing, model, group)
    _score_parts(missing, scorings, stores, model, group)
    with group.fail_together():
        for name in list(scorings)[group.rank :: group.world_size]:
            result = scorings[name].merge(StoredParts(stores[name], scorings[name].parts()))
            write_predictions(predictions_path(inputs.run, name, split), result.records)
            score = result.task_score(split, resamples=limits.bootstrap_samples)
            StepCache(folder, StoredResult[TaskScore]).save(name, StoredResult(inputs_digest, score))
            stores[name].remove()


def _scoring(inputs: RunInputs, task: TaskSpec, split: Split) -> TaskScoring:
    limits = inputs.recipe.evaluation
    return TaskScoring(
        inputs.batches(task, split),
        max_examples=limits.max_examples,
        pool=limits.retrieval_pool,
        batch_size=limits.batch_size,
        temperature=card.read(inputs.checkpoint).temperatures.get(task.name, 1.0),
        shortlist=inputs.shortlist,
        twin=TwinEncoder.read(inputs.checkpoint) if inputs.shortlist else None,
    )


def _missing_parts(
    scorings: Mapping[str, TaskScoring], stores: Mapping[str, PartStore], group: ProcessGroup
) -> list[Part]:
    """Return the parts that are not stored, as rank 0 sees them."""
    parts = [(name, rows) for name, scoring in scorings.items() for rows in scoring.parts()]
    missing = [[name, rows.start, rows.stop] for name, rows in parts if group.is_main and rows not in stores[name]]
    return [Part(*part) for part in group.broadcast(missing)]


def _check_and_announce(
    inputs: RunInputs, scorings: Mapping[str, TaskScoring], missing: list[Part], model: Model, group: ProcessGroup
) -> None:
    """Show on rank 0 how long the missing parts will take and how large the files will be.

    Raises:
        TwelvefoldError: the disk has too little space.
    """
    num_missing = {name: sum(part.stop - part.start for part in missing if part.task == name) for name in scorings}
    num_bytes = sum(count_bytes(scoring, num_missing[name]) for name, scoring in scorings.items())
    with group.fail_together():
        require_free_space(
            inputs.run, num_bytes, work="the evaluation", advice="score fewer tasks (--tasks) or examples"
        )
    with group.fail_together():
        seconds = measure_seconds(scorings, num_missing, model, group)
    estimate = Estimate(sum(num_missing.values()), seconds, num_bytes)
    if group.is_main and missing:
        console.print(estimate.describe(group, free_bytes(inputs.run)), highlight=False, soft_wrap=True)


def _score_parts(
    missing: Sequence[Part],
    scorings: Mapping[str, TaskScoring],
    stores: Mapping[str, PartStore],
    model: Model,
    group: ProcessGroup,
) -> None:
    """Score parts in rounds, a part on each rank, and store them.

    Raises:
        TwelvefoldError: a rank could not score its part; the parts of earlier rounds are stored.
    """
    total = sum(part.stop - part.start for part in missing)
    with progress_bar(description="examples scored", total=total if group.is_main else 0) as bar:
        for first in range(0, len(missing), group.world_size):
            parts = missing[first : first + group.world_size]
            with group.fail_together():
                if group.rank < len(parts):
                    task, rows = parts[group.rank].task, range(*parts[group.rank][1:])
                    stores[task].save(rows, _score_part(scorings[task], model, rows, group.device))
            bar.advance(sum(part.stop - part.start for part in parts))


def _score_part(scoring: TaskScoring, model: Model, rows: range, device: torch.device) -> PartResult:
    try:
        return scoring.score(model, rows, device)
    except torch.OutOfMemoryError as error:
        raise TwelvefoldError(
            f"task {scoring.data.task.name}: {device} has too little memory for a batch of {scoring.batch_size} "
            f"examples ({str(error).splitlines()[0]}): lower [evaluation] batch_size in the run's recipe.toml"
        ) from error
