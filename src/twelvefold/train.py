"""Train one model on all tasks of a recipe. Read :func:`train_loop` first: it is the paper's Algorithm 1.

A run is a folder with its recipe, event log and checkpoints. Which tasks step, on which examples and with which random
numbers is a function of the recipe and of the counters in a checkpoint. A killed run therefore resumes bit for bit on
a CPU. Paper: sections 3.2 and 3.3.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import torch

from twelvefold.config.recipe import Recipe
from twelvefold.data.prefetch import report_killed_processes
from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets.reading.recipe_tasks import check_prepared, resolve_tasks, task_specs
from twelvefold.evaluation.machine import describe_invocation, describe_machine
from twelvefold.export import hub
from twelvefold.model.warm_start import WarmStartReport
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training.build_run import TrainServices, TrainState, build_run
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.data_folders import find_data_folders, remember_data_folders
from twelvefold.training.distributed import ProcessGroup, init_distributed
from twelvefold.training.estimate import announce_training
from twelvefold.training.launch import launch_local_ranks
from twelvefold.training.objectives import Objective
from twelvefold.training.optimizer import set_lr
from twelvefold.training.round_robin import is_task_epoch_end
from twelvefold.training.run_folder import Counters, TrainSummary, is_finished, prepare_run_folder, summarize
from twelvefold.training.signals import GracefulShutdown, Interrupted
from twelvefold.training.step import StepResult, read_results, train_step
from twelvefold.training.stop_and_go import StopAndGo, Transition


@dataclass(frozen=True, slots=True)
class Validation:
    """A validation of one task. ``score``: 0..1; ``metrics``: all metrics by name, 0..1."""

    score: float
    metrics: dict[str, float]
    num_examples: int


def train(
    recipe: Recipe,
    prepared: Path | None,
    regions: Path | None,
    run: Path,
    *,
    initial: Path | None = None,
    iterations: int | None = None,
    resume: bool = True,
) -> TrainSummary:
    """Train one model on all tasks of a recipe. An interrupted run resumes exactly where it stopped.

    With ``[training] processes`` above 1 this starts the other ranks, except under torchrun, which has started them.

    A finished run is only summarized, unless ``iterations`` is now higher: then it is trained for longer, with its
    weights, optimizer, stop-and-go and order of examples. From the next iteration on, the learning rate and all that is
    a fraction of the iterations are those of a run that was planned for the new number: with the linear schedule the
    learning rate jumps from about 0 to the new line and falls to 0 again; there is no second warm-up. Of the recipe
    only iterations, lr_factor and lr_schedule may change then, and what may change in any resumed run: processes,
    gradient_accumulation_steps, device, num_workers, tensorboard, keep_last, checkpoint_interval, [evaluation] and
    [extract].

    Args:
        recipe: What to train and how: the name of a shipped recipe (``twelvefold recipes``) or a .toml file.
        prepared: Folder of the tables that ``prepare`` wrote; default: the one that the run remembers.
        regions: Folder of the regions that ``extract`` wrote; default: the one that the run remembers.
        run: Folder of the run: recipe, events, checkpoints.
        initial: Start from the weights of this run or model folder, instead of what the recipe says.
        iterations: Iterations in total, instead of what the recipe says.
        resume: Resume the run that the folder holds; if false, a folder that holds a run is refused.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the checkpoint is saved.
        TwelvefoldError: the folder holds another run, the data differ from those the run was started with, a task has
            no examples, a loss is not finite, a file can't be read or written, or the recipe pretrains.
    """
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"recipe {recipe.name} pretrains: use `twelvefold pretrain`")
    recipe = recipe if initial is None else recipe.with_initial(initial)
    recipe = recipe if iterations is None else recipe.with_iterations(iterations)
    return train_recipe(recipe, prepared, regions, run, resume)


def train_recipe(
    recipe: Recipe, prepared: Path | None, regions: Path | None, run: Path, resume: bool = True
) -> TrainSummary:
    """Train as :func:`train` does; the recipe may also pretrain."""
    listed, recipe = recipe, resolve_tasks(recipe)
    checkpoints = Checkpoints(run / "checkpoints", keep_last=recipe.training.keep_last)
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") == "0":
            stack.enter_context(atomic_files.lock_folder(run))
            prepare_run_folder(recipe, run, checkpoints, resume=resume)
        if is_finished(checkpoints, recipe):
            return summarize(run, checkpoints)
        if recipe.initial is not None and not checkpoints.latest.exists():
            hub.resolve_folder(recipe.initial)  # before anything is read, as a missing file is reported at once
        folders = find_data_folders(run, prepared=prepared, regions=regions)
        data = Prepared.open(folders.prepared), RegionSource.open(folders.regions)
        check_prepared(listed, data[0])
        specs = task_specs(recipe, data[0])
        command = ["-m", "twelvefold.train", str(folders.prepared), str(folders.regions), str(run)]
        stack.enter_context(launch_local_ranks(recipe.training.processes, command))
        group = stack.enter_context(init_distributed(recipe.training.device))
        shutdown = stack.enter_context(GracefulShutdown())
        state, services, warm_start = build_run(recipe, specs, *data, run, group, shutdown)
        stack.callback(services.reducer.close)
        if group.is_main:
            remember_data_folders(run, folders)
        announce_training(state, services)
        with services.log, services.console, report_killed_processes():
            log_start(state, services, warm_start)
            train_loop(state, services)
        group.barrier()  # until rank 0 has written the last checkpoint
    return summarize(run, checkpoints)


def train_loop(state: TrainState, services: TrainServices) -> None:
    """Run Algorithm 1, dynamic stop-and-go for multi-task learning, from the iteration after ``state.counters`` on.

    Raises:
        Interrupted: a shutdown was requested; the iteration was finished and a checkpoint saved.
        TwelvefoldError: the loss or the gradient of a step was not finite; it updated nothing.
    """
    config, counters, iterations = services.recipe.training, state.counters, services.schedule.iterations
    base_lr = state.optimizer.defaults["lr"]  # of all tasks: their own rates are factors on their losses (loss scaling)
    start_time = time.monotonic() - counters.seconds

    for iteration in range(counters.iteration + 1, iterations + 1):
        i = services.schedule.index(iteration)  # the paper's, which is the iteration, or the original code's
        active = state.stop_and_go.active_tasks(i)  # DSG_t = go, or DSG_t = stop and i mod gap = 0
        monitor = is_monitored(iteration, iterations, config.eval_interval)
        results = list[StepResult]()

        for turn in services.schedule.turns_at(iteration):  # one task each, except with optimization = "vilbert_mt"
            for task in turn:
                if task in active:
                    set_lr(state.optimizer, services.lr_schedule.multiplier(iteration, counters.lr_steps))
                    results.append(train_step(state, services, services.objectives[task], iteration))
                    counters.steps[task] += 1
                    counters.lr_steps += len(results) == 1  # the first step of this iteration
            for task in turn:
                objective = services.objectives[task]
                steps_per_epoch = objective.train_batches.steps_per_epoch
                epoch_end = is_task_epoch_end(i, steps_per_epoch, config.evaluations_per_epoch)
                if epoch_end or monitor:
                    validation, transition = validate(state, services, objective), None
                    if epoch_end and iteration > config.stop_and_go_start_fraction * iterations:
                        transition = update_stop_and_go(state.stop_and_go, services.group, task, validation.score)
                    counters.seconds = time.monotonic() - start_time
                    log_validation(state, services, task, validation, transition, iteration)
        for task in state.stop_and_go.reset_after(iteration):
            services.log.write("go", iteration, **score_fields(counters, task))

        losses, shutdown = read_results(services, results, iteration)
        lr = base_lr * services.lr_schedule.multiplier(iteration, counters.lr_steps)
        counters.iteration, counters.seconds = iteration, time.monotonic() - start_time
        services.log.write("step", iteration, losses=losses, lr=lr, seconds=round(counters.seconds, 3))
        services.console.record_iteration()
        done = iteration == iterations
        if done or shutdown or iteration % config.checkpoint_interval == 0:
            save_checkpoint(state, services, "done" if done else "interrupted" if shutdown else None)
        if shutdown and not done:
            raise Interrupted(
                f"interrupted after iteration {iteration} of {iterations}; everything is saved in "
                f"{services.checkpoints.latest}. Start the same command again to resume"
            )


def is_monitored(iteration: int, iterations: int, eval_interval: int) -> bool:
    """Return whether all tasks are validated for monitoring: at intervals, if set, and after the last iteration."""
    return iteration == iterations or (eval_interval > 0 and iteration % eval_interval == 0)


@torch.inference_mode()
def validate(state: TrainState, services: TrainServices, objective: Objective) -> Validation:
    """Validate one task; each rank scores its share of the examples.

    Raises:
        TwelvefoldError: there are no examples.
    """
    state.model.eval()
    group = services.group
    sums: dict[str, tuple[float, float]] = {}  # of each metric: the sum over its entries, and how many
    batch_size = max(1, services.recipe.evaluation.batch_size // objective.spec.pairs_per_example)
    for evaluator in objective.evaluators:
        totals = torch.zeros((len(evaluator.metrics), 2), dtype=torch.float64, device=group.device)
        for batch in evaluator.batches(batch_size, group.rank, group.world_size):
            scores = evaluator.score(state.model, batch.to(group.device))
            totals += torch.stack([torch.stack([s.double().sum(), totals.new_tensor(len(s))]) for s in scores])
        sums |= dict(zip(evaluator.metrics, group.all_reduce(totals).tolist(), strict=True))
    state.model.train()
    metrics = {name: total / count for name, (total, count) in sums.items() if count}
    if not (names := [name for name in objective.score_metrics if name in metrics]):
        raise TwelvefoldError(
            f"task {objective.spec.name} has no validation examples: prepare more data, or remove it from tasks"
        )
    return Validation(fmean(metrics[name] for name in names), metrics, int(sums[names[-1]][1]))


def update_stop_and_go(stop_and_go: StopAndGo, group: ProcessGroup, task: str, score: float) -> Transition | None:
    """Update stop-and-go with a validation score on rank 0, and broadcast the decision to all ranks."""
    transition = stop_and_go.update(task, score) if group.is_main else None
    shared: tuple[Transition | None, dict[str, Any]] = group.broadcast((transition, stop_and_go.state_dict()))
    stop_and_go.load_state_dict(shared[1])
    return shared[0]


def log_validation(
    state: TrainState,
    services: TrainServices,
    task: str,
    validation: Validation,
    transition: Transition | None,
    iteration: int,
) -> None:
    """Record and log a validation and the stop-and-go transition that it caused."""
    counters, score = state.counters, validation.score
    counters.metrics[task] = validation.metrics
    counters.scores[task] = score
    counters.best_scores[task] = max(score, counters.best_scores.get(task, score))
    metrics = {"metrics": validation.metrics} if len(validation.metrics) > 1 else {}
    fields = score_fields(counters, task)
    services.log.write("eval", iteration, **fields, examples=validation.num_examples, **metrics)
    if transition is not None:
        services.log.write(transition, iteration, **fields)


def score_fields(counters: Counters, task: str) -> dict[str, Any]:
    """Return the fields that events about a task's score have."""
    score, best = counters.scores[task], counters.best_scores[task]
    return {"task": task, "score": score, "best": best, "seconds": round(counters.seconds, 3)}


def save_checkpoint(state: TrainState, services: TrainServices, final_event: str | None) -> None:
    """Save a checkpoint. ``final_event``: ``done`` or ``interrupted`` if the run ends here, else None."""
    counters, log, scores = state.counters, services.log, state.counters.scores
    average = sum(scores.values()) / len(scores) if len(scores) == len(services.objectives) else None
    is_best = average is not None and (counters.best_average is None or average > counters.best_average)
    if is_best:
        counters.best_average = average
    counters.peak_memory_gb = max(counters.peak_memory_gb, services.group.peak_memory_gb())
    if not services.group.is_main:
        return
    seconds = round(counters.seconds, 3)
    log.write("checkpoint", counters.iteration, average=average, best=is_best, seconds=seconds)
    if final_event is not None:
        peak_memory_gb = round(counters.peak_memory_gb, 3)
        fields = {"scores": scores, "steps": counters.steps, "peak_memory_gb": peak_memory_gb, "seconds": seconds}
        log.write(final_event, counters.iteration, **fields)
    content = dataclasses.asdict(counters) | {
        "iterations": services.schedule.iterations,
        "stop_and_go": state.stop_and_go.state_dict(),
        "events_bytes": log.sync(),
        "data_digests": services.card.data_digests,
    }
    card = msgspec.structs.replace(services.card, iterations=counters.iteration)
    services.checkpoints.save(state.model, state.optimizer, content, card, is_best=is_best)


def log_start(state: TrainState, services: TrainServices, warm_start: WarmStartReport | None) -> None:
    """Log the start or resume of a run."""
    counters, group = state.counters, services.group
    warmup, iterations = round(services.lr_schedule.warmup), services.schedule.iterations
    if warmup > iterations:
        services.console.note(
            f"The warm-up takes {warmup:,} iterations and this run has {iterations:,}: its learning rate stays below "
            "that of the recipe. With [training] warmup_fraction_of = 'iterations' the warm-up is a share of the run."
        )
    services.log.write(
        "resume" if counters.iteration else "start",
        counters.iteration,
        tasks=list(services.objectives),
        iterations=iterations,
        warmup_iterations=warmup,
        steps_per_epoch={name: o.train_batches.steps_per_epoch for name, o in services.objectives.items()},
        processes=group.world_size,
        device=str(group.device),
        machine=describe_machine(),
        invocation=msgspec.to_builtins(describe_invocation()),
        versions={"python": platform.python_version(), "torch": torch.__version__},
        seconds=round(counters.seconds, 3),
        **({"warm_start": dataclasses.asdict(warm_start)} if warm_start else {}),
    )


def main() -> int:
    """Train as a rank that :func:`launch_local_ranks` started: ``python -m twelvefold.train PREPARED REGIONS RUN``."""
    prepared, regions, run = (Path(argument) for argument in sys.argv[1:4])
    try:
        train_recipe(Recipe.load_run(run), prepared, regions, run)
    except Interrupted:
        return 0  # rank 0 reports it
    except TwelvefoldError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
