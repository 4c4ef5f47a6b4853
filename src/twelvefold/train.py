"""Train one model on all tasks of a recipe together. Read :func:`learn` first: it is Algorithm 1, line by line.

A run is its folder: recipe, events, checkpoints (``docs/design.md``). Which tasks step, on which examples and with
which random numbers follows from the recipe and the counters of a checkpoint alone, so a run that was killed goes
on, bit for bit on a CPU, as if nothing had been. Paper: sections 3.2 and 3.3.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from twelvefold import datasets
from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe, TrainingConfig
from twelvefold.data.prefetch import prefetch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.tokenizer import collect_word_pieces
from twelvefold.evaluation.machine import describe_machine
from twelvefold.model import Model
from twelvefold.model.card import Card
from twelvefold.model.warm_start import WarmStartReport
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training import optimizer as optimisers
from twelvefold.training.build_model import card_of, first_model
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.console import Progress
from twelvefold.training.distributed import Ranks, companions, joined, reduce_gradients
from twelvefold.training.event_log import EventLog, open_log
from twelvefold.training.objectives import Task, lesson, masked_lesson
from twelvefold.training.round_robin import RoundRobin, is_due, longest
from twelvefold.training.run_folder import Counters, TrainSummary, begin, check_same_data, is_finished, summary
from twelvefold.training.signals import Interrupted, Interrupts
from twelvefold.training.stop_and_go import StopAndGo


@dataclass(slots=True)
class Run:
    """Everything that the loop works with. ``card``: what checkpoints say of the model. ``started``: whose weights."""

    recipe: Recipe
    choice: TrainingConfig
    tasks: dict[str, Task]
    batches: dict[str, Iterator[list[Batch]]]
    iterations: int
    model: Model
    parameters: list[nn.Parameter]
    optimiser: torch.optim.Optimizer
    stop_and_go: StopAndGo
    order: RoundRobin
    counters: Counters
    checkpoints: Checkpoints
    card: Card
    started: WarmStartReport | None
    ranks: Ranks
    log: EventLog
    progress: Progress
    asked: Interrupts


def train(recipe: Recipe, prepared: Path, regions: Path, run: Path, *, resume: bool = True) -> TrainSummary:
    """Train by ``recipe`` on the prepared examples and stored regions; leave events and checkpoints in ``run``.

    A run that was interrupted goes on from its latest checkpoint, a finished one is only reported. With
    ``processes`` above 1 this starts the others itself; under torchrun they are there already.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the checkpoint is saved.
        TwelvefoldError: ``run`` holds another run, the data are not the recipe's, a loss isn't finite, ...
    """
    specs = recipe.task_specs(lambda name: datasets.load_dataset(name).TASK)
    checkpoints = Checkpoints(run / "checkpoints", keep=recipe.training.keep_last)
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") == "0":
            stack.enter_context(atomic_files.lock_folder(run))
            begin(recipe, run, checkpoints, resume=resume)
        if is_finished(checkpoints):
            return summary(run, checkpoints)
        command = ["-m", "twelvefold.train", str(prepared), str(regions), str(run)]
        stack.enter_context(companions(recipe.training.processes, command))
        ranks = stack.enter_context(joined(recipe.training.device))
        asked = stack.enter_context(Interrupts())
        work = assemble(recipe, specs, Prepared.open(prepared), RegionSource.open(regions), run, ranks, asked)
        with work.log, work.progress:
            announce(work)
            learn(work)
        ranks.wait()  # for rank 0 to have written the last checkpoint
    return summary(run, checkpoints)


def learn(work: Run) -> None:
    """Algorithm 1, dynamic stop-and-go for multi-task learning, from the iteration after the counters' on.

    Raises:
        Interrupted: someone asked to stop; the iteration was finished and a checkpoint saved.
    """
    counters, choice = work.counters, work.choice
    base_rate = choice.lr_factor * min(task.spec.lr for task in work.tasks.values())
    judged_from = choice.stop_and_go_start_fraction * work.iterations
    began = time.monotonic() - counters.seconds

    for iteration in range(counters.iteration + 1, work.iterations + 1):
        rate = base_rate * optimisers.rate_factor(iteration, work.iterations, choice.warmup_fraction)
        optimisers.set_rate(work.optimiser, rate)
        active = work.stop_and_go.active(iteration)  # DSG_t = go, or DSG_t = stop and i mod gap = 0
        losses: dict[str, float] = {}
        to_stop = False

        for name in work.order.taught(iteration):
            if name in active:
                losses[name], asked = step(work, work.tasks[name], iteration)
                counters.steps[name] += 1
                to_stop = to_stop or asked
            due = is_due(iteration, work.tasks[name].train.steps_per_epoch, choice.evaluations_per_epoch)
            if due or is_watched(work, iteration):
                score, examples = validate(work, work.tasks[name])
                event = judge(work, name, score) if due and iteration > judged_from else None
                counters.seconds = time.monotonic() - began
                note(work, name, score, examples, event, iteration)

        counters.iteration, counters.seconds = iteration, time.monotonic() - began
        work.log.write("step", iteration, losses=losses, lr=rate, seconds=round(counters.seconds, 3))
        work.progress.iterated(iteration)
        last = iteration == work.iterations
        if last or to_stop or iteration % choice.checkpoint_interval == 0:
            save(work, "done" if last else "interrupted" if to_stop else None)
        if to_stop and not last:
            raise Interrupted(
                f"stopped after iteration {iteration} of {work.iterations}, as asked; everything is saved in "
                f"{work.checkpoints.latest}. The same command goes on from there"
            )


def step(work: Run, task: Task, iteration: int) -> tuple[float, bool]:
    """One update of trunk and head by one batch of one task: its loss (a mean, unscaled), and whether to stop.

    Each rank computes its parts of the batch; a part counts by its number of examples, so that the update is
    that of the whole batch.

    Raises:
        TwelvefoldError: the loss or the gradient is not finite; nothing was updated then.
    """
    ranks, odd = work.ranks, list[str]()
    seed(work, task, iteration)
    work.optimiser.zero_grad(set_to_none=True)  # other heads stay without a gradient: optimiser.py says why
    totals = torch.zeros(3, device=ranks.device)  # examples, sum of their losses, ranks that were asked to stop
    totals[2] = float(work.asked.to_stop)
    for part in next(work.batches[task.spec.name]):
        batch = part.to(ranks.device)
        loss, logits = task.loss(work.model, batch)
        summed = loss * len(batch.example_ids)
        torch.autograd.backward(summed * task.scale)
        totals[:2] += torch.stack([totals.new_tensor(len(batch.example_ids)), summed.detach()])
        if not torch.isfinite(summed):
            odd += not_finite(logits, batch)
    examples, total, asked = reduce_gradients(work.parameters, totals, ranks).tolist()
    norm = torch.nn.utils.clip_grad_norm_(work.parameters, work.choice.max_grad_norm or float("inf"))
    if not (np.isfinite(total) and torch.isfinite(norm)):
        raise lost(work, task, iteration, total / examples, odd)
    work.optimiser.step()
    work.progress.stepped(task.spec.name, total / examples, int(examples))
    return total / examples, asked > 0


def parts(task: Task, ranks: Ranks, accumulation: int, number: int) -> list[Batch]:
    """This rank's share of a task's batch of step ``number``, cut into the parts of an accumulation."""
    first, of = ranks.rank * accumulation, ranks.count * accumulation
    return [task.train.train_batch(number, first + part, of) for part in range(accumulation)]


def is_watched(work: Run, iteration: int) -> bool:
    """Whether all tasks are validated for people to see, without a say in who stops: also after the last iteration."""
    within = work.choice.eval_interval
    return iteration == work.iterations or (within > 0 and iteration % within == 0)


@torch.inference_mode()
def validate(work: Run, task: Task) -> tuple[float, int]:
    """A task's validation score, 0..1, and the number of its examples; each rank examines its share. What was measured
    besides is kept in the counters.

    Raises:
        TwelvefoldError: there are no examples.
    """
    work.model.eval()
    measured: dict[str, tuple[float, float]] = {}  # the sum of a measure, and of how many
    size = max(1, work.recipe.evaluation.batch_size // task.spec.pairs_per_example)
    for exam in task.exams:
        totals = torch.zeros((len(exam.measures), 2), dtype=torch.float64, device=work.ranks.device)
        for batch in exam.batches(size, work.ranks.rank, work.ranks.count):
            scores = exam.score(work.model, batch.to(work.ranks.device))
            totals += torch.stack([torch.stack([s.double().sum(), totals.new_tensor(len(s))]) for s in scores])
        measured |= dict(zip(exam.measures, work.ranks.add(totals).tolist(), strict=True))
    work.model.train()
    means = {name: total / count for name, (total, count) in measured.items() if count}
    if not (judged := [name for name in task.judged if name in means]):
        raise TwelvefoldError(
            f"task {task.spec.name} has no validation examples to watch: prepare more data, or leave it out of tasks"
        )
    work.counters.measures[task.spec.name] = means
    return fmean(means[name] for name in judged), int(measured[judged[-1]][1])


def judge(work: Run, name: str, score: float) -> str | None:
    """Whether a score makes its task ``stop`` or ``go``: one decision, taken on rank 0 and known to all."""
    event = work.stop_and_go.report(name, score) if work.ranks.first else None
    event, states = work.ranks.share((event, work.stop_and_go.state_dict()))
    work.stop_and_go.load_state_dict(states)
    return str(event) if event else None


def note(work: Run, name: str, score: float, examples: int, event: str | None, iteration: int) -> None:
    """Keep, log and show a validation and what it changed."""
    counters, state, row = work.counters, work.stop_and_go.states[name], work.progress.rows[name]
    counters.scores[name] = score
    counters.best_scores[name] = max(score, counters.best_scores.get(name, score))
    row.score, row.best, row.stopped = score, counters.best_scores[name], state.stopped
    said = {"task": name, "score": score, "best": row.best, "seconds": round(counters.seconds, 3)}
    means = counters.measures[name]
    more = {"measures": means} if len(means) > 1 else {}
    work.log.write("eval", iteration, **said, examples=examples, **more)
    if event is not None:
        work.log.write(event, iteration, **said)


def save(work: Run, end: str | None) -> None:
    """Leave a checkpoint; ``end``: the event that says why the run ends with it, if it does."""
    counters = work.counters
    average = sum(counters.scores.values()) / len(work.tasks) if len(counters.scores) == len(work.tasks) else None
    is_best = average is not None and (counters.best_average is None or average > counters.best_average)
    if is_best:
        counters.best_average = average
    counters.peak_memory_gb = max(counters.peak_memory_gb, work.ranks.peak_memory_gb())
    if not work.ranks.first:
        return
    seconds = round(counters.seconds, 3)
    work.log.write("checkpoint", counters.iteration, average=average, best=is_best, seconds=seconds)
    if end is not None:
        peak = round(counters.peak_memory_gb, 3)
        said = {"scores": counters.scores, "steps": counters.steps, "peak_memory_gb": peak, "seconds": seconds}
        work.log.write(end, counters.iteration, **said)
    state = dataclasses.asdict(counters) | {
        "iterations": work.iterations,
        "stop_and_go": work.stop_and_go.state_dict(),
        "events_bytes": work.log.sync(),
        "made_from": work.card.made_from,
    }
    card = msgspec.structs.replace(work.card, iterations=counters.iteration)
    work.checkpoints.save(work.model, work.optimiser, state, card, is_best=is_best)


def seed(work: Run, task: Task, iteration: int) -> None:
    """Make this step's random numbers (dropout) a function of run, iteration, task and rank: none need be saved."""
    place = list(work.tasks).index(task.spec.name)
    words = np.random.SeedSequence([abs(work.recipe.seed), iteration, place, work.ranks.rank]).generate_state(1)
    torch.manual_seed(int(words[0]))


def not_finite(logits: Tensor, batch: Batch) -> list[str]:
    """Ids of the examples whose own logits are not finite; all where that can't be told."""
    rows = logits.detach().isfinite().reshape(len(batch.example_ids), -1).all(dim=1)
    odd = [id_ for id_, fine in zip(batch.example_ids, rows.tolist(), strict=True) if not fine]
    return odd or batch.example_ids


def lost(work: Run, task: Task, iteration: int, loss: float, odd: list[str]) -> TwelvefoldError:
    """The error of a loss or gradient that is no number: where, by which examples, what to go back to."""
    everywhere = [id_ for rank in range(work.ranks.count) for id_ in work.ranks.share(odd, rank)]
    more = f" and {len(everywhere) - 8} more" if len(everywhere) > 8 else ""
    whose = f"Examples: {', '.join(everywhere[:8])}{more}. " if everywhere else ""
    saved = work.checkpoints.state()
    good = f"{work.checkpoints.latest}, of iteration {saved['iteration']}" if saved else "none yet"
    return TwelvefoldError(
        f"task {task.spec.name}, iteration {iteration}: the loss is {loss:.4g}, and it or its gradient is not finite; "
        f"nothing was updated. {whose}Last good checkpoint: {good}. Look at these examples' features; or start anew "
        "with a lower lr_factor, a longer warm-up or a clip"
    )


def assemble(
    recipe: Recipe,
    specs: list[TaskSpec],
    prepared: Prepared,
    regions: RegionSource,
    run: Path,
    ranks: Ranks,
    asked: Interrupts,
) -> Run:
    """Make, or bring back from the latest checkpoint, everything that the loop works with."""
    choice, checkpoints = recipe.training, Checkpoints(run / "checkpoints", keep=recipe.training.keep_last)
    state = checkpoints.state()
    scales = optimisers.loss_scales(specs, enabled=choice.loss_scaling)
    tables = (prepared.table(spec.name, "train") for spec in specs)
    pieces = collect_word_pieces(tables) if choice.word_pieces == "seen" else ()
    saved = checkpoints.latest if state else None
    model, started = first_model(recipe, specs, pieces, prepared, regions, saved)
    teach = lesson if recipe.pretraining is None else partial(masked_lesson, recipe.pretraining, model.embedded_pieces)
    tasks = {spec.name: teach(recipe, spec, scales[spec.name], prepared, regions) for spec in specs}
    epochs = {name: task.train.steps_per_epoch for name, task in tasks.items()}
    iterations = choice.iterations or longest(specs, epochs)
    model.to(ranks.device).train()
    optimiser = optimisers.build(
        model,
        weight_decay=choice.weight_decay,
        beta1=choice.adam_beta1,
        beta2=choice.adam_beta2,
        epsilon=choice.adam_eps,
    )
    may_stop = choice.stop_and_go and recipe.pretraining is None  # there is no task to make room for
    stop_and_go = StopAndGo(tasks, gap=choice.stop_and_go_gap, enabled=may_stop, rule=choice.stop_and_go_rule)
    counters = Counters(steps=dict.fromkeys(tasks, 0))
    about = card_of(recipe, prepared, regions)
    if state is not None:
        check_same_data(state["made_from"], about.made_from, run)
        checkpoints.load(model, optimiser)
        stop_and_go.load_state_dict(state["stop_and_go"])
        counters = Counters(**{f.name: state[f.name] for f in dataclasses.fields(Counters) if f.name in state})
    make = {name: partial(parts, task, ranks, choice.gradient_accumulation_steps) for name, task in tasks.items()}
    return Run(
        recipe=recipe,
        choice=choice,
        tasks=tasks,
        batches={name: prefetch(make[name], counters.steps[name], choice.num_workers) for name in tasks},
        iterations=iterations,
        model=model,
        parameters=list(model.parameters()),
        optimiser=optimiser,
        stop_and_go=stop_and_go,
        order=RoundRobin(specs, iterations, curriculum=choice.curriculum, fraction=choice.curriculum_fraction),
        counters=counters,
        checkpoints=checkpoints,
        card=about,
        started=started,
        ranks=ranks,
        log=open_log(run, state, tensorboard=choice.tensorboard) if ranks.first else EventLog(Path(os.devnull)),
        progress=Progress(recipe.name, list(tasks), iterations, done=counters.iteration, enabled=ranks.first),
        asked=asked,
    )


def announce(work: Run) -> None:
    """Say what begins: a line in the log, and on the screen what an earlier part of the run has reached."""
    counters, ranks = work.counters, work.ranks
    work.log.write(
        "resume" if counters.iteration else "start",
        counters.iteration,
        tasks=list(work.tasks),
        iterations=work.iterations,
        epoch_iterations={name: task.train.steps_per_epoch for name, task in work.tasks.items()},
        processes=ranks.count,
        device=str(ranks.device),
        machine=describe_machine(),
        versions={"python": platform.python_version(), "torch": torch.__version__},
        seconds=round(counters.seconds, 3),
        **({"initial": dataclasses.asdict(work.started)} if work.started else {}),
    )
    for name, row in work.progress.rows.items():
        state = work.stop_and_go.states[name]
        row.steps, row.score = counters.steps[name], counters.scores.get(name)
        row.best, row.stopped = counters.best_scores.get(name), state.stopped


def main() -> int:
    """A rank that :func:`companions` started: ``python -m twelvefold.train PREPARED REGIONS RUN``."""
    prepared, regions, run = (Path(argument) for argument in sys.argv[1:4])
    try:
        train(Recipe.load_run(run), prepared, regions, run)
    except Interrupted:
        return 0  # rank 0 says so
    except TwelvefoldError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
