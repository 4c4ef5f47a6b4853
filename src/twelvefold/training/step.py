"""One update of one task: gradients of its batch, a check that they are finite, and the optimizer's step.

A step never waits for the device: whether its gradient is finite is decided there, and an update that is not is left
out there. The host reads the results of all steps of an iteration at its end, when losses are logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from twelvefold.schema import TwelvefoldError
from twelvefold.training.build_run import TrainServices, TrainState
from twelvefold.training.objectives import Objective


@dataclass(slots=True)
class StepResult:
    """What a step leaves on the device until the end of its iteration.

    ``totals`` (3,) float32, summed over ranks: the sum of the examples' losses, the number of ranks with a requested
    shutdown, and 1 if the update was left out. ``micro_batches``: example ids, logits and loss of this rank's.
    """

    objective: Objective
    totals: Tensor
    micro_batches: list[tuple[list[str], Tensor, Tensor]] = field(default_factory=list)


def train_step(state: TrainState, services: TrainServices, objective: Objective, iteration: int) -> StepResult:
    """Update the trunk and a task's head with one batch.

    Each rank computes the micro-batches of its share. The mean loss of a micro-batch is weighted by its share of the
    batch's examples, so the update is that of the whole batch. If the loss or the gradient is not finite, nothing is
    updated and :func:`read_results` raises the error.
    """
    group, reducer, name = services.group, services.reducer, objective.spec.name
    seed_step(services, objective, iteration)
    state.optimizer.zero_grad()  # which gradients of other heads are None or zero: optimizer.py and vilbert_mt.py
    result = StepResult(objective, torch.zeros(3, device=group.device))
    result.totals[1] = float(services.shutdown.requested)
    with services.waiting.for_data():
        micro_batches = next(services.batches[name])
    for number, micro_batch in enumerate(micro_batches, start=1):
        batch = micro_batch.to(group.device)
        with reducer.accumulate_only(enabled=number < len(micro_batches)):
            loss, logits = reducer.loss(objective, batch)
            share = len(batch.example_ids) / objective.spec.batch_size
            torch.autograd.backward(loss * (share * services.loss_scales[name]))
        result.totals[0] += loss.detach() * len(batch.example_ids)
        result.micro_batches.append((batch.example_ids, logits, loss.detach()))
    reducer.finish(result.totals)
    result.totals[2] = update(state, services.recipe.training.max_grad_norm, result.totals[0])
    return result


def update(state: TrainState, max_grad_norm: float, loss: Tensor) -> Tensor:
    """Clip gradients to ``max_grad_norm`` (0: no clipping) and update the weights, if ``loss`` and gradients are
    finite.

    Returns:
        1 if the update was left out, else 0: () float32 on the device of ``loss``.
    """
    gradients = [p.grad for p in state.parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    skipped = (~(norm + loss).isfinite()).float()
    on_cpu = loss.device.type == "cpu"  # where reading a value is free
    if max_grad_norm and not (on_cpu and norm + 1e-6 <= max_grad_norm):
        torch.nn.utils.clip_grads_with_norm_(state.parameters, max_grad_norm, norm)
    if on_cpu and skipped:
        return skipped
    if not on_cpu:  # the optimizer computes nothing where this is 1, as for torch.amp.GradScaler
        state.optimizer.found_inf = skipped  # type: ignore[attr-defined]
    state.optimizer.step()
    return skipped


def read_results(
    services: TrainServices, results: Sequence[StepResult], iteration: int
) -> tuple[dict[str, float], bool]:
    """Read the results of an iteration's steps, in one transfer from the device.

    Returns:
        The mean loss (unscaled) of each task, and whether a shutdown was requested on any rank.

    Raises:
        TwelvefoldError: the loss or the gradient of a step was not finite; it updated nothing.
    """
    losses: dict[str, float] = {}
    shutdown = False
    if not results:
        return losses, shutdown
    for result, values in zip(results, torch.stack([r.totals for r in results]).tolist(), strict=True):
        spec = result.objective.spec
        loss_sum, shutdowns, skipped = values
        losses[spec.name] = loss_sum / spec.batch_size
        shutdown = shutdown or shutdowns > 0
        if skipped:
            raise non_finite_error(services, result, iteration, losses[spec.name])
        services.console.record_step(spec.name, losses[spec.name], spec.batch_size)
    return losses, shutdown


def seed_step(services: TrainServices, objective: Objective, iteration: int) -> None:
    """Seed the random numbers of a step (dropout) with recipe seed, iteration, task and rank: no state to save."""
    task_index = list(services.objectives).index(objective.spec.name)
    entropy = [abs(services.recipe.seed), iteration, task_index, services.group.rank]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if (
        services.group.device.type == "cpu"
    ):  # torch.manual_seed also notes a call, with its stack, for every kind of GPU
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def non_finite_examples(example_ids: Sequence[str], logits: Tensor) -> list[str]:
    """Return the ids of examples with logits that are not finite, or all ids if there are none."""
    finite = logits.isfinite().reshape(len(example_ids), -1).all(dim=1).tolist()
    return [id_ for id_, is_finite in zip(example_ids, finite, strict=True) if not is_finite] or list(example_ids)


def non_finite_error(services: TrainServices, result: StepResult, iteration: int, loss: float) -> TwelvefoldError:
    """Return the error for a loss or gradient that is not finite; it names task, iteration, examples and checkpoint."""
    group, bad_examples = services.group, list[str]()
    for example_ids, logits, micro_loss in result.micro_batches:
        if not micro_loss.isfinite():
            bad_examples += non_finite_examples(example_ids, logits)
    examples = [id_ for rank in range(group.world_size) for id_ in group.broadcast(bad_examples, rank)]
    more = f" and {len(examples) - 8} more" if len(examples) > 8 else ""
    listed = f"Examples: {', '.join(examples[:8])}{more}. " if examples else ""
    saved = services.checkpoints.read_state()
    checkpoint = f"{services.checkpoints.latest}, of iteration {saved['iteration']}" if saved else "none yet"
    return TwelvefoldError(
        f"task {result.objective.spec.name}, iteration {iteration}: the loss is {loss:.4g}, and it or its gradient is "
        f"not finite; nothing was updated. {listed}Last good checkpoint: {checkpoint}. Check the features of these "
        "examples, or train from the start with a lower lr_factor, a longer warm-up or max_grad_norm"
    )
