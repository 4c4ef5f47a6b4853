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
CPU_EXAMPLES = 4
"""Examples of a measured batch on a CPU, where time is proportional to their number; on a GPU it is a micro-batch."""


def announce_training(state: TrainState, services: TrainServices) -> None:
    """Check that the checkpoints fit on the disk; show on rank 0 how long the training takes and their size.

    The time is an upper estimate: every task steps in every iteration. It has no validations.

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
    seconds = sum(measure_step(state, services, objective) for objective in services.objectives.values())
    mean = services.group.all_reduce(torch.tensor([seconds], device=services.group.device)).item() / world_size
    total = timedelta(seconds=round(iterations * mean))
    if services.group.is_main:
        tasks, device = len(services.objectives), services.group.device.type
        console.print(
            f"{iterations:,} iterations of {tasks} task{'s' if tasks > 1 else ''}, at most about {total} without "
            f"validations, with {world_size} process{'es' if world_size > 1 else ''} on {device}; checkpoints of up to "
            f"{format_bytes(num_bytes)} ({format_bytes(free_bytes(folder))} free)",
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


def measure_step(state: TrainState, services: TrainServices, objective: Objective) -> float:
    """Return the seconds of a task's update on this rank; nothing changes, neither weights nor random states."""
    group, parts = services.group, services.recipe.training.gradient_accumulation_steps
    num_shards, size = group.world_size * parts, objective.spec.batch_size
    if group.device.type == "cpu":
        num_shards = max(num_shards, size // CPU_EXAMPLES)
    with torch.random.fork_rng(devices=[]):  # every step seeds those of GPUs
        for _ in range(2 if group.device.type != "cpu" else 1):  # the first batch on a GPU is slower
            started = time.perf_counter()
            batch = objective.train_batches.train_batch(0, group.rank, num_shards).to(group.device)
            loss, _ = objective.loss(state.model, batch)
            torch.autograd.backward(loss)
            loss.item()  # waits for the GPU
            seconds = time.perf_counter() - started
    state.optimizer.zero_grad(set_to_none=True)
    return seconds * (size / group.world_size) / len(batch.example_ids)
