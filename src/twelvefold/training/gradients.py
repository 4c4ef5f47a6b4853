"""Gradients of a batch that is split over ranks and micro-batches: sums that equal those of one process.

Each micro-batch's mean loss is weighted by its share of the batch's examples, so gradients only need to be summed over
ranks, never divided. Parameters that a task does not use, such as heads of other tasks, take no part in communication.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_wrapper
from torch.nn.parallel import DistributedDataParallel

from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.model import Model
from twelvefold.training.distributed import ProcessGroup
from twelvefold.training.objectives import Objective
from twelvefold.training.waiting import WaitTimes

BUCKET_MB = 25
"""Size of a bucket, PyTorch's default. Smaller models have nothing to overlap: their gradients are summed after the
backward pass, which took 5 % less time than buckets for a round of the recipe ``demo`` with two processes."""
MAX_GAP = 1 << 18
"""Unused gradients (numbers, which are zero) between used ones that are communicated, because another message costs
more."""


class LossModule(nn.Module):
    """The model with a loss at its end, the form in which DistributedDataParallel sees which parameters are used."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, objective: Objective, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, and the logits, detached."""
        loss, logits = objective.loss(self.model, batch)
        return loss, logits.detach()


@dataclass(slots=True)
class GradientReducer:
    """Compute losses, and gradients summed over all ranks.

    ``module`` computes the loss. If it is a DistributedDataParallel, sums overlap with the backward pass.
    ``waiting``: to which this adds the time that this rank waits for others.
    """

    module: nn.Module
    parameters: Sequence[nn.Parameter]
    group: ProcessGroup
    waiting: WaitTimes
    _last_ready: float = field(default=0.0, init=False)

    @classmethod
    def build(cls, model: Model, group: ProcessGroup, config: TrainingConfig, waiting: WaitTimes) -> GradientReducer:
        """Build the reducer that is fastest for the model: buckets only if there are several."""
        module, parameters = LossModule(model), [p for p in model.parameters() if p.requires_grad]
        reducer = cls(module, parameters, group, waiting)
        num_bytes = sum(p.numel() * p.element_size() for p in parameters)
        if group.world_size > 1 and (config.reduce_dtype != "fp32" or num_bytes > BUCKET_MB * 2**20):
            reducer.wrap(bf16=config.reduce_dtype == "bf16")
        return reducer

    def wrap(self, *, bf16: bool) -> None:
        """Sum gradients in buckets during the backward pass, as bfloat16 if ``bf16``."""
        module = DistributedDataParallel(
            self.module,
            bucket_cap_mb=BUCKET_MB,
            find_unused_parameters=True,  # tasks use different parameters
            gradient_as_bucket_view=True,
            forward_sync_buffers=False,  # no buffer changes during training
        )
        hook = lambda reducer, bucket: sum_bucket(reducer, bucket)  # noqa: E731 (PyTorch refuses text annotations)
        module.register_comm_hook(self, bf16_compress_wrapper(hook) if bf16 else hook)
        self.module = module

    def close(self) -> None:
        """Release the buckets, which hold the process group: its threads may abort the interpreter at exit.

        They and this object refer to each other, in part in C++, where Python's garbage collector does not look.
        """
        if isinstance(self.module, DistributedDataParallel):
            self.module = self.module.module
            gc.collect()

    def loss(self, objective: Objective, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, and the logits, detached."""
        result: tuple[Tensor, Tensor] = self.module(objective, batch)
        return result

    def accumulate_only(self, *, enabled: bool) -> AbstractContextManager[Any]:
        """Return a context in which a backward pass sums nothing over ranks: for all micro-batches but the last."""
        if enabled and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return nullcontext()

    def finish(self, totals: Tensor) -> None:
        """After the last backward pass of a step, sum ``totals`` (n,), and gradients that are not summed yet."""
        if self.group.world_size == 1:
            return
        if isinstance(self.module, DistributedDataParallel):
            started = self._last_ready
            self.group.all_reduce(totals)
        else:
            started = time.perf_counter()
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            flat = self.group.all_reduce(torch.cat([g.reshape(-1) for g in gradients] + [totals]))
            *sums, totals_sum = torch.split(flat, [g.numel() for g in gradients] + [totals.numel()])
            torch._foreach_copy_(gradients, [s.view_as(g) for s, g in zip(sums, gradients, strict=True)])
            totals.copy_(totals_sum)
        if self.group.device.type == "cpu":
            self.waiting.ranks += time.perf_counter() - started

    def mark_ready(self) -> None:
        """Record that gradients of this rank's last backward pass are ready to be summed."""
        self._last_ready = time.perf_counter()


def sum_bucket(reducer: GradientReducer, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Sum the used gradients of a bucket over all ranks: a communication hook of DistributedDataParallel."""
    buffer = bucket.buffer()
    futures = [dist.all_reduce(buffer[s], async_op=True).get_future() for s in used_slices(bucket.parameters())]
    reducer.mark_ready()
    if not futures:
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(buffer)
        return done
    return torch.futures.collect_all(futures).then(lambda _: buffer)


def used_slices(parameters: Sequence[Tensor], max_gap: int = MAX_GAP) -> list[slice]:
    """Return the parts of a flat buffer of parameters that hold gradients, with gaps of at most ``max_gap`` between.

    All ranks step the same task, so they have gradients for the same parameters and return the same parts.
    """
    slices: list[slice] = []
    end = 0
    for parameter in parameters:
        start, end = end, end + parameter.numel()
        if parameter.grad is None:
            continue
        if slices and start - slices[-1].stop <= max_gap:
            slices[-1] = slice(slices[-1].start, end)
        else:
            slices.append(slice(start, end))
    return slices
