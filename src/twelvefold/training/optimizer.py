"""AdamW over trunk and heads, and the scale of every task's loss. Paper: section 3.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from twelvefold.config.training import TrainingConfig
from twelvefold.model.save_load import disk_name
from twelvefold.schema import TaskSpec, TwelvefoldError


def build_optimizer(model: nn.Module, config: TrainingConfig, base_lr: float) -> torch.optim.Optimizer:
    """Build AdamW with the recipe's values; :func:`set_lr` sets the learning rate of every step.

    Weight decay applies to matrices and embeddings, not to biases and norms.

    A parameter without a gradient (the head of another task) stays unchanged: no decay, no momentum. A head
    therefore moves only in the steps of its own tasks. Paper: Algorithm 1 updates the trunk and the task's own
    layers. Differs: the original code keeps zero gradients there, so the other eleven steps of an iteration decay a
    head's moments and weights; :mod:`twelvefold.training.vilbert_mt` does that, with its other differences.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    optimizer = torch.optim.AdamW(groups, lr=base_lr, betas=betas, eps=config.adam_eps, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = base_lr
    return optimizer


def base_lr(specs: Iterable[TaskSpec], config: TrainingConfig) -> float:
    """Return the learning rate of all tasks: the smallest of theirs, times ``lr_factor``. Paper: section 3.3."""
    return config.lr_factor * min(spec.lr for spec in specs)


def set_lr(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Set the learning rate of every parameter group to ``multiplier`` times its initial one."""
    for group in optimizer.param_groups:
        group["lr"] = multiplier * group["initial_lr"]


def loss_scales(specs: Iterable[TaskSpec], *, enabled: bool = True) -> dict[str, float]:
    """Return the factor on each task's loss: its lr over the smallest lr. Paper: section 3.3, loss scaling."""
    lrs = {spec.name: spec.lr for spec in specs}
    return {name: lr / min(lrs.values()) if enabled else 1.0 for name, lr in lrs.items()}


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as ``<parameter>.<field>`` with the fields exp_avg, exp_avg_sq and step
    (without ``step`` for vilbert_mt, which has no bias correction).

    Parameters have the names that they have in a model's file.
    """
    return {
        f"{disk_name(name)}.{field}": value
        for name, parameter in model.named_parameters()
        for field, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`optimizer_state` returned.

    Raises:
        TwelvefoldError: the state belongs to other parameters, or to parameters of other shapes.
    """
    parameters = {disk_name(name): parameter for name, parameter in model.named_parameters()}
    for key, value in state.items():
        name, _, field = key.rpartition(".")
        parameter = parameters.get(name)
        if parameter is None or (field != "step" and parameter.shape != value.shape):
            raise TwelvefoldError(
                f"the optimizer state has {key} of shape {tuple(value.shape)}, which this model does not have: "
                "it belongs to another model; start the run in a new folder"
            )
        optimizer.state[parameter][field] = value.to(parameter.device)
