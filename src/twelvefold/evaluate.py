"""Score a run's model on the test sets of all its tasks with their official metrics. Paper: section 4, Table 2."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import msgspec

from twelvefold.config.evaluation import EvaluationOptions
from twelvefold.environment import is_main_process
from twelvefold.evaluation import score
from twelvefold.evaluation.collect import add_up
from twelvefold.evaluation.distribute import score_tasks
from twelvefold.evaluation.machine import describe_invocation
from twelvefold.evaluation.model_run import make_run
from twelvefold.evaluation.per_task import read_stored
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.scores import Scores, TaskScore
from twelvefold.families import load_family
from twelvefold.model import card
from twelvefold.model.twin_encoder import TwinEncoder, require_twin_encoder
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.steps import check_processes
from twelvefold.training.distributed import (
    RankError,
    default_processes,
    init_distributed,
)
from twelvefold.training.launch import launch_local_ranks

DEFAULT_OPTIONS = EvaluationOptions()
CPU_TIMEOUT = timedelta(days=2)
"""How long a process on a CPU waits for others, which score a part each: at the published size, 16 captions and 1,000
images take hours on a core."""


def evaluate(
    run: Path,
    *,
    options: EvaluationOptions = DEFAULT_OPTIONS,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    split: Split = "test",
    tasks: Sequence[str] = (),
    processes: int | None = None,
) -> Scores:
    """Score a run's model, or any model; write ``scores.json`` and ``predictions/<task>.jsonl``.

    Of a model without a run, such as an imported one, ``--out`` makes a run that the other commands work on.

    A retrieval task is scored by image retrieval (find the image of a caption), as in the paper. Text retrieval (find a
    caption of an image) is shown next to it, from the same pass, and is not in the average.

    The score of a task whose labels are withheld (VQAv2) is None: its predictions are written, the result has the
    command that makes its server's file of them, and the average is that of the other tasks.

    Other splits have files of their own (``scores-val.json``, ``predictions-val``). Limits, pool sizes and the device
    are the recipe's. The examples of each task are split over the processes, or over those of torchrun; the results are
    the same to the bit. A retrieval task is scored exactly unless ``--shortlist`` is set; its result then says so. What
    was scored before with the same weights, temperatures and data is not scored again, so an
    interrupted evaluation resumes. Time and disk space are estimated before it starts.

    Args:
        run: Folder of the run. With ``--out`` any model: a folder of one, a checkpoint, user/name on a hub, or shipped.
        options: Folder and recipe of the run to make of a model, and the size of the shortlists.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        regions: Folder that ``extract`` wrote; by default the one that the run remembers.
        checkpoint: ``latest`` (the paper reports the end of training), ``best``, or the name of a kept checkpoint.
        split: Split to score.
        tasks: Tasks to score, as ``gqa nlvr2`` or ``gqa,nlvr2``; default: all. Tasks that were scored before with the
            same weights, temperatures and data are added to the result; others, and those of which the split has no
            examples, are named in ``missing``.
        processes: Processes on this machine; default: one for each GPU, or two on a CPU.

    Raises:
        TwelvefoldError: the run, model or checkpoint is missing, the run has no such task or no examples of it, the
            model does not fit the recipe or the data (tasks, answer lists, region features), or ``--out`` holds
            another run.
    """
    inputs = _open_inputs(run, options, prepared, regions, checkpoint)
    if processes is not None:
        check_processes(processes)
    chosen = _choose_tasks(inputs, [inputs.recipe.task_name(name) for name in tasks], split)
    inputs = _with_shortlist(inputs, options.shortlist, chosen)
    return _evaluate_tasks(inputs, chosen, split, processes or default_processes(inputs.recipe.training.device))


def _with_shortlist(inputs: RunInputs, size: int, tasks: Sequence[TaskSpec]) -> RunInputs:
    """Return the inputs with the size of the shortlists.

    Raises:
        TwelvefoldError: it is below 0, no task searches images, or the model has no twin encoder.
    """
    if size < 0:
        raise TwelvefoldError(f"--shortlist must be a number of images, or 0 for all of them; got {size}")
    if size and not any(load_family(task.family).searches_images for task in tasks):
        raise TwelvefoldError(f"--shortlist {size}: none of {', '.join(task.name for task in tasks)} searches images")
    if size and is_main_process():
        require_twin_encoder(TwinEncoder.read(inputs.checkpoint), str(inputs.checkpoint))
    return dataclasses.replace(inputs, shortlist=size)


def _choose_tasks(inputs: RunInputs, names: Sequence[str], split: Split) -> list[TaskSpec]:
    """Return the tasks of these names, or all, of which the split has examples.

    Raises:
        TwelvefoldError: one of ``names``, or every task, has no examples.
    """
    chosen = [task for task in inputs.tasks_with_examples(split) if not names or task.name in names]
    without = [name for name in names if name not in {task.name for task in chosen}]
    if without or not chosen:
        raise TwelvefoldError(
            f"{', '.join(without) or 'every task'} has no {split} examples in {inputs.prepared}: score "
            f"{'other tasks, or ' if chosen else ''}another split (--split)"
        )
    return chosen


def _evaluate_tasks(inputs: RunInputs, tasks: Sequence[TaskSpec], split: Split, processes: int) -> Scores:
    """Score the tasks that have no stored score with these inputs, and add up the scores of the run."""
    started, folder = time.monotonic(), inputs.run / "scores" / split
    digest, unscored = "", list[str]()  # rank 0 decides: the others may not see its files yet
    with ExitStack() as stack:
        if is_main_process():
            stack.enter_context(atomic_files.lock_folder(folder))
            digest = _inputs_digest(inputs)
            unscored = _unscored(folder, tasks, digest, inputs)
            stack.enter_context(launch_local_ranks(processes if unscored else 1, _command(inputs, split, unscored)))
        group = stack.enter_context(init_distributed(inputs.recipe.training.device, cpu_timeout=CPU_TIMEOUT))
        digest, unscored = group.broadcast((digest, unscored))
        if unscored:
            score_tasks(inputs, unscored, split, digest, group)
        peak_memory_gb, scores = round(group.peak_memory_gb(), 2), None
        if group.is_main:
            stored = read_stored(folder, TaskScore, [task.name for task in tasks])
            scores = Scores(
                tasks={name: each.result for name, each in stored.items()},
                checkpoint=inputs.checkpoint.name,
                seconds=round(time.monotonic() - started, 1),
                peak_memory_gb=peak_memory_gb,
                invocation=describe_invocation(),
                weights_digest=inputs.weights_digest(),
                inputs_digest=digest,
            )
            scores = add_up(inputs, scores, split, folder)
            if split == "test":
                record_scores(inputs, scores)
        return msgspec.convert(group.broadcast(msgspec.to_builtins(scores)), Scores)


def _unscored(folder: Path, tasks: Sequence[TaskSpec], inputs_digest: str, inputs: RunInputs) -> list[str]:
    """Return the tasks without a stored score with these inputs, slow ones first."""
    stored = read_stored(folder, TaskScore, [task.name for task in tasks])
    unscored = [
        task
        for task in tasks
        if task.name not in stored
        or stored[task.name].inputs_digest != inputs_digest
        or _shortlist_differs(stored[task.name].result, task, inputs)
    ]
    return [task.name for task in sorted(unscored, key=lambda task: not load_family(task.family).is_slow)]


def _shortlist_differs(score: TaskScore, task: TaskSpec, inputs: RunInputs) -> bool:
    """Return whether a retrieval task was scored by other shortlists, or exactly and should not be, or vice versa."""
    used = (score.shortlist.size, score.shortlist.twin_digest) if score.shortlist else (0, "")
    return load_family(task.family).searches_images and used != (inputs.shortlist, inputs.twin_digest())


def _command(inputs: RunInputs, split: Split, tasks: Sequence[str]) -> list[str]:
    """Return the arguments of ``python`` for the other ranks; :func:`main` reads them."""
    folders = (inputs.run, inputs.prepared, inputs.regions)
    checkpoint = inputs.checkpoint.name
    return ["-m", "twelvefold.evaluate", *map(str, folders), checkpoint, split, str(inputs.shortlist), *tasks]


def _open_inputs(
    run: Path, options: EvaluationOptions, prepared: Path | None, regions: Path | None, checkpoint: str
) -> RunInputs:
    """Open a run, or make one of a model.

    Raises:
        TwelvefoldError: as :func:`evaluate`.
    """
    if options.out is not None:
        return make_run(run, options.out, options.recipe, prepared=prepared, regions=regions, checkpoint=checkpoint)
    if options.recipe:
        raise TwelvefoldError(f"a recipe needs the folder of a run to make of {run}: --recipe NAME --out RUN")
    return RunInputs.open(run, prepared=prepared, regions=regions, checkpoint=checkpoint)


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
            + (pool_size if load_family(tasks[name].family).searches_images else "")
            + (f", by shortlists of {each.shortlist.size}" if each.shortlist else ""),
            drawn=source is not None and source.world_seed is not None,
        )
        for name, each in scores.tasks.items()
    }
    old_card = card.read(inputs.checkpoint)
    percentages = {name: each.score for name, each in scores.tasks.items()}
    new_card = msgspec.structs.replace(old_card, scores=percentages, score_details=details)
    if new_card != old_card:
        card.write(inputs.checkpoint, new_card)


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


def main() -> int:
    """Score as a rank that :func:`launch_local_ranks` started: ``python -m twelvefold.evaluate``, and the arguments of
    :func:`_command`."""
    run, prepared, regions, checkpoint, split, shortlist, *tasks = sys.argv[1:]
    try:
        evaluate(
            Path(run),
            options=EvaluationOptions(shortlist=int(shortlist)),
            prepared=Path(prepared),
            regions=Path(regions),
            checkpoint=checkpoint,
            split=msgspec.convert(split, Split),
            tasks=tasks,
        )
    except (RankError, KeyboardInterrupt):
        return 2  # rank 0 reports it
    except TwelvefoldError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
