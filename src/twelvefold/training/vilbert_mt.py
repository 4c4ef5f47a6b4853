"""The original project's optimization: ``[training] optimization = "vilbert_mt"``.

The update rule is that of vilbert-multi-task's train_tasks.py (commit f22b84a), with which the published model was
trained. How many iterations that model took, its order of examples and its random numbers are not known, so its weights
can't be computed again. It differs from the paper's rule, as the rest of this package implements it, in these points:

- the heads on pooled vectors have a learning rate of their own, and some norms are decayed (:func:`build_optimizer`);
- AdamW without bias correction, with decay after the update; heads and task tokens of other tasks get zero gradients,
  so that their moments, momentum and decay go on (:class:`VilbertAdamW`);
- in an iteration the first task that steps has another learning rate than the others, and the first step of all has
  learning rate 0 (:class:`VilbertLrSchedule`);
- iterations are counted from 0 where tasks are evaluated or a stopped task steps, and tasks are evaluated after all
  have stepped (:class:`twelvefold.training.round_robin.RoundRobin`);
- stop-and-go has a cool-down, and starts again at the end of two epochs, whatever the learning-rate schedule
  (:class:`twelvefold.training.stop_and_go.StopAndGo`).

Differs: its gradient accumulation mixes the gradients of different tasks; here it splits a task's batch and changes no
update, as without accumulation, which the published command does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from twelvefold.config.training import LrScheduleName, TrainingConfig
from twelvefold.families import load_family
from twelvefold.model import Model
from twelvefold.model.model import head_module_path

HEAD_LR = 1e-4
"""Learning rate of the parameters with ``vil_`` in their original names; the paper does not mention it."""
DROP_EPOCHS = (5, 7)
"""Epochs, counted from 0, from which on the ``step`` schedule is lower, and after which stop-and-go starts again."""
DROP = 0.2
"""Factor on the learning rate at each of these epochs."""


class VilbertAdamW(torch.optim.Optimizer):
    """AdamW of pytorch-transformers 1.0 without bias correction.

    A step computes, for the gradient g of a parameter p, ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2)
    g^2``, ``p -= lr m / (sqrt(v) + eps)`` and then ``p -= lr weight_decay p``.

    A parameter takes part from its first gradient on: :meth:`zero_grad` leaves a gradient of zeros, as in PyTorch
    before 2.0. So the eleven other steps of an iteration decay a head's moments, move it by its momentum and decay its
    weights.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of parameters that have had one to zero, and those of all others to None.

        ``set_to_none`` has no effect. Which parameters have had a gradient is known from their state, so a resumed run
        continues exactly.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter not in self.state:
                    parameter.grad = None
                elif parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                else:
                    parameter.grad.zero_()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters with a gradient; ``closure`` is not supported.

        Nothing is updated if ``found_inf``, an attribute as of torch.optim.AdamW, is not 0. Reading it waits for a GPU.
        """
        if (found_inf := getattr(self, "found_inf", None)) is not None and found_inf.item():
            return
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            for p in parameters:
                if not self.state[p]:
                    self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            gradients = [p.grad for p in parameters]
            averages = [self.state[p]["exp_avg"] for p in parameters]
            squares = [self.state[p]["exp_avg_sq"] for p in parameters]
            lr, (beta1, beta2) = group["lr"], group["betas"]
            torch._foreach_mul_(averages, beta1)
            torch._foreach_add_(averages, gradients, alpha=1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
            denominators = torch._foreach_sqrt(squares)
            torch._foreach_add_(denominators, group["eps"])
            torch._foreach_addcdiv_(parameters, averages, denominators, value=-lr)
            if group["weight_decay"]:
                torch._foreach_add_(parameters, parameters, alpha=-lr * group["weight_decay"])


def build_optimizer(model: Model, config: TrainingConfig, base_lr: float) -> VilbertAdamW:
    """Build the original project's AdamW, with its learning rates and its weight decay.

    ``base_lr`` is the learning rate of the trunk and the head on regions; all other heads have HEAD_LR. Both are
    multiplied by ``lr_factor``, and by the schedule. Weight decay does not apply to biases, nor to norms except
    those after co-attention and in heads: the original exempts names that contain ``LayerNorm.weight``, and these are
    called ``LayerNorm1``, ``LayerNorm2`` and ``logit_fc.2``.
    """
    pooled = [spec.name for spec in model.head_specs.values() if load_family(spec.family).head_kind != "region_score"]
    own_lr = tuple(f"{head_module_path(name)}." for name in pooled)
    norms = {p for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(base_lr, config.weight_decay): []}
    for name, parameter in model.named_parameters():
        lr = HEAD_LR * config.lr_factor if name.startswith(own_lr) else base_lr
        decayed_norm = (".co_attention." in name and ".feed_forward." not in name) or name.startswith("heads.")
        exempt = name.endswith("bias") or (parameter in norms and not decayed_norm)
        decay = 0.0 if exempt else config.weight_decay
        groups.setdefault((lr, decay), []).append(parameter)
    return VilbertAdamW(
        [
            {"params": parameters, "lr": lr, "initial_lr": lr, "weight_decay": decay}
            for (lr, decay), parameters in groups.items()
        ],
        base_lr,
        (config.adam_beta1, config.adam_beta2),
        config.adam_eps,
    )


@dataclass(frozen=True, slots=True)
class VilbertLrSchedule:
    """The factor on the learning rates of a step, by the number of iterations in which any task has stepped before.

    This number rises after the first step of an iteration: the first task of iteration i (from 0) has the factor of i,
    the others that of i + 1, and an iteration in which all tasks are stopped does not count.

    ``linear``: from 0 to 1 over ``warmup`` iterations, then to 0 at the end. ``constant``: 1 after the warm-up.
    ``step``, the original's default: 1 after the warm-up, 0.2 from epoch 5 on and 0.04 from epoch 7 on, counted from 0;
    an epoch is one of the longest task. Its scheduler starts every epoch at the full rate, also in the warm-up, which
    then concerns one step.
    """

    iterations: int
    warmup: float
    kind: LrScheduleName
    epoch_iterations: int

    def multiplier(self, iteration: int, lr_steps: int) -> float:
        """Return the factor in ``iteration`` (from 1), after ``lr_steps`` iterations in which a task has stepped."""
        epoch = (iteration - 1) // self.epoch_iterations
        starts_epoch = self.kind == "step" and lr_steps == epoch * self.epoch_iterations
        if lr_steps < self.warmup and not starts_epoch:
            return lr_steps / max(1.0, self.warmup)
        if self.kind == "linear":
            return max(0.0, (self.iterations - lr_steps) / max(1.0, self.iterations - self.warmup))
        drops = sum(epoch >= drop for drop in DROP_EPOCHS) if self.kind == "step" else 0
        return DROP**drops


def reset_iterations(epoch_iterations: int) -> tuple[int, ...]:
    """Return the iterations (from 1) after which stop-and-go starts again: the last ones of DROP_EPOCHS."""
    return tuple((epoch + 1) * epoch_iterations for epoch in DROP_EPOCHS)
