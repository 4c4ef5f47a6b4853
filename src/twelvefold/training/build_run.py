"""Build what the training loop uses: the state that checkpoints hold, and the services around it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import nn

from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe
from twelvefold.config.training import TrainingConfig
from twelvefold.data.prefetch import BatchLoader, TasksAfter
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.model import Model
from twelvefold.model.card import Card
from twelvefold.model.warm_start import WarmStartReport
from twelvefold.schema import TaskSpec
from twelvefold.store.prepared import Prepared
from twelvefold.training import vilbert_mt
from twelvefold.training.activation_checkpointing import checkpoint_activations
from twelvefold.training.build_model import build_card, build_model
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.console import TrainingConsole
from twelvefold.training.distributed import ProcessGroup
from twelvefold.training.event_log import EventLog, open_event_log
from twelvefold.training.gradients import GradientReducer
from twelvefold.training.initial_alignment import align_model
from twelvefold.training.lr_schedule import LrSchedule, build_lr_schedule
from twelvefold.training.objectives import Objective, make_objective
from twelvefold.training.optimizer import base_lr, build_optimizer, loss_scales
from twelvefold.training.round_robin import RoundRobin, longest_task
from twelvefold.training.run_folder import Counters, check_same_data
from twelvefold.training.signals import GracefulShutdown
from twelvefold.training.stop_and_go import StopAndGo
from twelvefold.training.waiting import WaitTimes


@dataclass(frozen=True, slots=True)
class TrainState:
    """What changes during training and what a checkpoint holds. ``parameters``: all those of ``model``."""

    model: Model
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    stop_and_go: StopAndGo
    counters: Counters


@dataclass(frozen=True, slots=True)
class TrainServices:
    """What the loop uses and no checkpoint holds: it is rebuilt from recipe and data when a run is resumed.

    ``loss_scales``: factor on each task's loss before the backward pass. ``batches``: of each task, this rank's batches
    from its next step on, each in its micro-batches.
    """

    recipe: Recipe
    objectives: dict[str, Objective]
    loss_scales: dict[str, float]
    batches: dict[str, Iterator[list[Batch]]]
    schedule: RoundRobin
    lr_schedule: LrSchedule
    group: ProcessGroup
    checkpoints: Checkpoints
    card: Card
    log: EventLog
    console: TrainingConsole
    waiting: WaitTimes
    reducer: GradientReducer
    shutdown: GracefulShutdown


def build_run(
    recipe: Recipe,
    specs: list[TaskSpec],
    prepared: Prepared,
    regions: RegionSource,
    run: Path,
    group: ProcessGroup,
    shutdown: GracefulShutdown,
) -> tuple[TrainState, TrainServices, WarmStartReport | None]:
    """Build everything that the loop uses, and load the latest checkpoint if there is one."""
    config, checkpoints = recipe.training, Checkpoints(run / "checkpoints", keep_last=recipe.training.keep_last)
    saved = checkpoints.read_state()
    model, warm_start = build_model(recipe, specs, prepared, regions, checkpoints.latest if saved else None)
    objectives = {spec.name: make_objective(recipe, spec, prepared, regions, model.embedded_pieces) for spec in specs}
    steps_per_epoch = {name: objective.train_batches.steps_per_epoch for name, objective in objectives.items()}
    schedule, lr_schedule, stop_and_go = build_schedules(recipe, specs, steps_per_epoch)
    model.to(group.device).train()
    if config.activation_checkpointing:
        checkpoint_activations(model)
    if config.initial_alignment and saved is None and warm_start is None:
        tasks = [objective.train_batches for objective in objectives.values()]
        align_model(model, [batches for batches in tasks if isinstance(batches, TaskBatches)], group)
    build = vilbert_mt.build_optimizer if config.optimization == "vilbert_mt" else build_optimizer
    optimizer = build(model, config, base_lr(specs, config))
    counters = Counters(steps=dict.fromkeys(objectives, 0))
    card = build_card(recipe, prepared, regions)
    if saved is not None:
        check_same_data(saved["data_digests"], card.data_digests, run)
        checkpoints.load(model, optimizer)
        stop_and_go.load_state_dict(saved["stop_and_go"])
        counters = Counters(**{f.name: saved[f.name] for f in dataclasses.fields(Counters) if f.name in saved})
    waiting = WaitTimes()
    upcoming = partial(tasks_after, schedule, stop_and_go, counters)
    loader = build_loader(config, objectives, group, counters.steps, upcoming)
    services = TrainServices(
        recipe=recipe,
        objectives=objectives,
        loss_scales=loss_scales(specs, enabled=config.loss_scaling),
        batches={name: loader.iterate(name) for name in objectives},
        schedule=schedule,
        lr_schedule=lr_schedule,
        group=group,
        checkpoints=checkpoints,
        card=card,
        log=open_event_log(run, saved, tensorboard=config.tensorboard) if group.is_main else EventLog(Path(os.devnull)),
        console=TrainingConsole(
            recipe.name, schedule.iterations, counters, stop_and_go, waiting=waiting, enabled=group.is_main
        ),
        waiting=waiting,
        reducer=GradientReducer.build(model, group, config, waiting),
        shutdown=shutdown,
    )
    return TrainState(model, list(model.parameters()), optimizer, stop_and_go, counters), services, warm_start


def build_schedules(
    recipe: Recipe, specs: Sequence[TaskSpec], steps_per_epoch: Mapping[str, int]
) -> tuple[RoundRobin, LrSchedule, StopAndGo]:
    """Build what decides which tasks step and at which learning rate. ``steps_per_epoch``: of each task."""
    config, longest = recipe.training, longest_task(specs, steps_per_epoch)
    iterations, original = config.iterations or longest.iterations, config.optimization == "vilbert_mt"
    schedule = RoundRobin(
        specs,
        iterations,
        curriculum=config.curriculum,
        fraction=config.curriculum_fraction,
        vilbert_mt=original,
    )
    stop_and_go = StopAndGo(
        steps_per_epoch,
        gap=config.stop_and_go_gap,
        enabled=config.stop_and_go and recipe.pretraining is None,  # a caption set has no task to make room for
        rule=config.stop_and_go_rule,
        resets=vilbert_mt.reset_iterations(longest.epoch_iterations) if original else (),
    )
    return schedule, build_lr_schedule(config, iterations, longest), stop_and_go


def build_loader(
    config: TrainingConfig,
    objectives: dict[str, Objective],
    group: ProcessGroup,
    first_steps: Mapping[str, int],
    upcoming: TasksAfter,
) -> BatchLoader:
    """Build the loader of this rank's batches. ``first_steps``: the next step of each task."""
    on_gpu = group.device.type == "cuda"
    for objective in objectives.values():
        if isinstance(objective.train_batches, TaskBatches):
            objective.train_batches.half = on_gpu
    make_step = partial(make_micro_batches, objectives, group, config.gradient_accumulation_steps)
    return BatchLoader(make_step, first_steps, upcoming, config.num_workers, pin_memory=on_gpu)


def tasks_after(schedule: RoundRobin, stop_and_go: StopAndGo, counters: Counters, task: str | None) -> Iterator[str]:
    """Yield the tasks in the order in which the loop steps after ``task``, if no task stops or goes from now on.

    None: from the start of the next iteration on.
    """
    for iteration in count(counters.iteration + 1):
        active = stop_and_go.active_tasks(schedule.index(iteration))
        tasks = schedule.tasks_at(iteration)
        if iteration == counters.iteration + 1 and task in tasks:
            tasks = tasks[tasks.index(task) + 1 :]
        yield from (name for name in tasks if name in active)


def make_micro_batches(
    objectives: Mapping[str, Objective], group: ProcessGroup, accumulation_steps: int, task: str, step: int
) -> list[Batch]:
    """Return this rank's share of a task's batch of ``step``, split for gradient accumulation."""
    first_shard, num_shards = group.rank * accumulation_steps, group.world_size * accumulation_steps
    shards = range(first_shard, first_shard + accumulation_steps)
    return [objectives[task].train_batches.train_batch(step, shard, num_shards) for shard in shards]
