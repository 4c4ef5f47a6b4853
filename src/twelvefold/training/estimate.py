"""Estimate the time and disk space of a training before it starts."""

from __future__ import annotations

import time
from datetime import timedelta

import torch
from torch import nn

from twelvefold.progress import console
from twelvefold.store.disk_space import format_bytes, free_bytes, require_free_space
from twelvefold.training.build_run import TrainServices, TrainState
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.objectives import Objective

MIN_ITERATIONS = 20
"""Shorter trainings are not timed: that would take longer than a part of them."""
FIRST_EXAMPLES = 4
"""Examples of a task's first step on a CPU; the next ones have eight times as many, up to those of training."""
TIMED_SECONDS = 1.5
"""Seconds after which no larger steps are timed on a CPU, of all tasks together."""


def announce_training(state: TrainState, services: TrainServices) -> None:
    """Check that the checkpoints fit on the disk; show on rank 0 how long the training takes and their size.

    The time is that of iterations in which every task steps: stop-and-go saves some of it. It has no validations.

    Raises:
        TwelvefoldError: the disk has too little space.
    """
    folder, world_size = services.checkpoints.folder, services.group.world_size
    num_bytes = checkpoint_bytes(state.model, services.checkpoints)
    if services.group.is_main:
        require_free_space(folder, num_bytes, work="this training", advice="lower [training] keep_last")
    iterations = services.schedule.iterations - state.counters.iteration
    if iterations < MIN_ITERATIONS:
        return
    budget = TIMED_SECONDS / len(services.objectives)
    seconds = sum(measure_step(state, services, objective, budget) for objective in services.objectives.values())
    mean = services.group.all_reduce(torch.tensor([seconds], device=services.group.device)).item() / world_size
    total = timedelta(seconds=round(iterations * mean))
    if services.group.is_main:
        tasks, device = len(services.objectives), services.group.device.type
        console.print(
            f"{iterations:,} iterations of {tasks} task{'s' if tasks > 1 else ''}, about {total} if every task steps "
            f"in each, without validations, with {world_size} process{'es' if world_size > 1 else ''} on {device}; "
            f"checkpoints of up to {format_bytes(num_bytes)} ({format_bytes(free_bytes(folder))} free)",
            highlight=False,
            soft_wrap=True,
        )


def checkpoint_bytes(model: nn.Module, checkpoints: Checkpoints) -> int:
    """Return the bytes that checkpoints will need in addition to those that are there.

    A checkpoint has the weights and two moments of each. There are at most ``latest``, ``best`` and the older ones to
    keep, and one that is being written.
    """
    size = 3 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    existing = {stat.st_ino: stat.st_size for path in checkpoints.folder.rglob("*") if (stat := path.stat())}
    return max(size, (3 + checkpoints.keep_last) * size - sum(existing.values()))


def measure_step(state: TrainState, services: TrainServices, objective: Objective, budget: float) -> float:
    """Return the seconds of a task's update on this rank; nothing changes, neither weights nor random states.

    The first step is only used where a step is long, as it has costs that later ones don't have. On a CPU steps grow to
    the size of training until ``budget`` seconds have passed: a small one takes longer for each example.
    """
    group, size = services.group, objective.spec.batch_size
    num_shards = group.world_size * services.recipe.training.gradient_accumulation_steps
    on_cpu, started = group.device.type == "cpu", time.perf_counter()
    shards = max(num_shards, size // FIRST_EXAMPLES) if on_cpu else num_shards
    with torch.random.fork_rng(devices=[]):  # every step seeds those of GPUs
        per_example = seconds_per_example(state, services, objective, shards)
        first = time.perf_counter() - started
        if not on_cpu or shards == num_shards or budget < first < 8 * budget:
            per_example = seconds_per_example(state, services, objective, shards)
        while shards > num_shards and time.perf_counter() - started < budget:
            shards = max(num_shards, shards // 8)
            per_example = seconds_per_example(state, services, objective, shards)
    state.optimizer.zero_grad(set_to_none=True)
    return per_example * size / group.world_size


def seconds_per_example(state: TrainState, services: TrainServices, objective: Objective, num_shards: int) -> float:
    """Return the seconds of a step, divided by its examples: this rank's shard of ``num_shards`` of the first batch."""
    started = time.perf_counter()
    batch = objective.train_batches.train_batch(0, services.group.rank, num_shards).to(services.group.device)
    loss, _ = objective.loss(state.model, batch)
    torch.autograd.backward(loss)
    loss.item()  # waits for the GPU
    return (time.perf_counter() - started) / len(batch.example_ids)
