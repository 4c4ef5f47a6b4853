"""Score a run's model on the test sets of all its tasks with their official metrics. Paper: section 4, Table 2."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from twelvefold.config.evaluation import NewRunConfig
from twelvefold.evaluation import score
from twelvefold.evaluation.collect import add_up
from twelvefold.evaluation.machine import describe_invocation
from twelvefold.evaluation.model_run import make_run
from twelvefold.evaluation.per_task import run_per_task
from twelvefold.evaluation.predictions import predictions_path, write_predictions
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.scores import Scores, TaskScore
from twelvefold.families import load_family
from twelvefold.model import card
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.store import atomic_files

NO_NEW_RUN = NewRunConfig()


def evaluate(
    run: Path,
    *,
    new_run: NewRunConfig = NO_NEW_RUN,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    split: Split = "test",
    tasks: Sequence[str] = (),
    processes: int = 2,
) -> Scores:
    """Score a run's model, or any model; write ``scores.json`` and ``predictions/<task>.jsonl``.

    Of a model without a run, such as an imported one, ``--out`` makes a run that the other commands work on.

    A retrieval task is scored by image retrieval (find the image of a caption), as in the paper. Text retrieval (find a
    caption of an image) is shown next to it, from the same pass, and is not in the average.

    The score of a task whose labels are withheld (VQAv2) is None: its predictions are written, the result has the
    command that makes its server's file of them, and the average is that of the other tasks.

    Other splits have files of their own (``scores-val.json``, ``predictions-val``). Limits, pool sizes and the device
    are the recipe's. A task that was scored before with the same weights, temperatures and data is not scored again,
    so an interrupted evaluation resumes.

    Args:
        run: Folder of the run. With ``--out`` any model: a folder of one, a checkpoint, user/name on a hub, or shipped.
        new_run: Folder and recipe of the run to make of a model.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        regions: Folder that ``extract`` wrote; by default the one that the run remembers.
        checkpoint: ``latest`` (the paper reports the end of training), ``best``, or the name of a kept checkpoint.
        split: Split to score.
        tasks: Tasks to score, as ``gqa nlvr2`` or ``gqa,nlvr2``; default: all. Tasks that were scored before with the
            same weights, temperatures and data are added to the result; others are named in ``missing``.
        processes: Number of tasks scored at the same time.

    Raises:
        TwelvefoldError: the run, model or checkpoint is missing, the run has no such task, the model does not fit the
            recipe or the data (tasks, answer lists, region features), or ``--out`` holds another run.
    """
    started = time.monotonic()
    inputs = _open_inputs(run, new_run, prepared, regions, checkpoint)
    names = [inputs.recipe.task_name(name) for name in tasks]
    chosen = [task for task in inputs.tasks() if not names or task.name in names]
    folder, inputs_digest = inputs.run / "scores" / split, _inputs_digest(inputs)
    slow_first = sorted(chosen, key=lambda task: not load_family(task.family).is_slow)
    results = run_per_task(
        evaluate_task,
        {task.name: (inputs, task.name, split) for task in slow_first},
        type_=TaskScore,
        folder=folder,
        inputs_digest=inputs_digest,
        processes=processes,
        description=f"tasks scored on {split}",
    )
    scores = add_up(inputs, _describe(inputs, results, inputs_digest, started), split, folder)
    if split == "test":
        record_scores(inputs, scores)
    return scores


def _open_inputs(
    run: Path, new_run: NewRunConfig, prepared: Path | None, regions: Path | None, checkpoint: str
) -> RunInputs:
    """Open a run, or make one of a model.

    Raises:
        TwelvefoldError: as :func:`evaluate`.
    """
    if new_run.out is not None:
        return make_run(run, new_run.out, new_run.recipe, prepared=prepared, regions=regions, checkpoint=checkpoint)
    if new_run.recipe:
        raise TwelvefoldError(f"a recipe needs the folder of a run to make of {run}: --recipe NAME --out RUN")
    return RunInputs.open(run, prepared=prepared, regions=regions, checkpoint=checkpoint)


def _describe(inputs: RunInputs, results: dict[str, TaskScore], inputs_digest: str, started: float) -> Scores:
    """Return the results with the time, memory and command of their evaluation, and what they depend on."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Scores(
        tasks=results,
        checkpoint=inputs.checkpoint.name,
        seconds=round(time.monotonic() - started, 1),
        peak_memory_gb=round(sum(usage.ru_maxrss for usage in usages) / 2**20, 2),
        invocation=describe_invocation(),
        weights_digest=inputs.weights_digest(),
        inputs_digest=inputs_digest,
    )


def record_scores(inputs: RunInputs, scores: Scores) -> None:
    """Write test scores to the checkpoint's card, with what they were measured on, if they changed."""
    source, tasks = inputs.data_source(), {task.name: task for task in inputs.tasks()}
    pool = inputs.recipe.evaluation.retrieval_pool
    pool_size = f", {pool} images to search" if pool else ", all its images to search"
    details = {
        name: card.ScoreDetails(
            title=tasks[name].title,
            metric=each.metric,
            split=each.split,
            n=each.n,
            ci95=each.ci95,
            unlabeled=each.unlabeled,
            data=(source.describe() if source else "data that was not recorded")
            + (pool_size if load_family(tasks[name].family).searches_images else ""),
            drawn=source is not None and source.world_seed is not None,
        )
        for name, each in scores.tasks.items()
    }
    old_card = card.read(inputs.checkpoint)
    percentages = {name: each.score for name, each in scores.tasks.items()}
    new_card = msgspec.structs.replace(old_card, scores=percentages, score_details=details)
    if new_card != old_card:
        card.write(inputs.checkpoint, new_card)


def evaluate_task(inputs: RunInputs, name: str, split: Split) -> TaskScore:
    """Score one task and write its predictions. Runs in a process of its own."""
    torch.set_num_threads(1)
    model, device = inputs.load_model()
    limits = inputs.recipe.evaluation
    result = score.score_task(
        model,
        inputs.batches(model.tasks[name], split),
        max_examples=limits.max_examples,
        pool=limits.retrieval_pool,
        batch_size=limits.batch_size,
        temperature=card.read(inputs.checkpoint).temperatures.get(name, 1.0),
        device=device,
    )
    write_predictions(predictions_path(inputs.run, name, split), result.records)
    return result.task_score(split, resamples=limits.bootstrap_samples)


def _inputs_digest(inputs: RunInputs) -> str:
    """Return the digest of all that scores depend on."""
    limits, temperatures = inputs.recipe.evaluation, card.read(inputs.checkpoint).temperatures
    return inputs.digest(
        inputs.weights_digest(),
        limits.max_examples,
        limits.retrieval_pool,
        score.VERSION,
        *([atomic_files.digest_value(temperatures)] if temperatures else []),
    )
