"""AdamW over trunk and heads, the learning rate of every iteration, the weight of every task's loss. Section 3.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from twelvefold.model.save_load import disk_name
from twelvefold.schema import TaskSpec, TwelvefoldError


def build(
    model: nn.Module, *, weight_decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6
) -> torch.optim.AdamW:
    """AdamW with the original project's settings; the rate is set anew in every iteration by :func:`set_rate`.

    Matrices and embeddings decay, biases and the numbers of norms don't.

    A parameter without a gradient (the head of another task) is left wholly alone: no decay, no momentum, so
    that a head moves in the steps of its own tasks only. Paper: Algorithm 1 updates the trunk and the task's own
    layers. Differs: the original code keeps zero gradients there, so that eleven other steps per iteration
    decay a head's moments and weights; it has no bias correction, decays some norms' weights by an accident of
    names, and trains some heads at a rate of their own that the paper doesn't mention.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(beta1, beta2), eps=epsilon, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the learning rate ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def rate_factor(iteration: int, iterations: int, warmup_fraction: float) -> float:
    """By what to multiply the base rate in ``iteration`` (1 is the first): up to 1 and down again, in lines.

    Paper: section 3.3, warm-up over eta N iterations, N being the longest task's. Differs: the original's
    first step has rate 0 and changes nothing; here the first and the last one count.
    """
    warmup = round(warmup_fraction * iterations)
    if iteration <= warmup:
        return iteration / warmup
    return (iterations + 1 - iteration) / (iterations + 1 - max(warmup, 1))


def loss_scales(specs: Iterable[TaskSpec], *, enabled: bool = True) -> dict[str, float]:
    """By what to multiply each task's loss: its lr over the least of all. Paper: section 3.3, loss scaling."""
    rates = {spec.name: spec.lr for spec in specs}
    return {name: rate / min(rates.values()) if enabled else 1.0 for name, rate in rates.items()}


def moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything the optimiser remembers, as ``<parameter>.<what>``: step, exp_avg, exp_avg_sq."""
    return {
        f"{disk_name(name)}.{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimiser.state.get(parameter, {}).items()
    }


def load_moments(model: nn.Module, optimiser: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Go on from what :func:`moments` gave.

    Raises:
        TwelvefoldError: the moments are of other parameters, or of other shapes.
    """
    parameters = {disk_name(name): parameter for name, parameter in model.named_parameters()}
    for key, value in saved.items():
        name, _, what = key.rpartition(".")
        parameter = parameters.get(name)
        if parameter is None or (what != "step" and parameter.shape != value.shape):
            raise TwelvefoldError(
                f"the optimiser's state has {key} of shape {tuple(value.shape)}, which this model has not: "
                "it belongs to another model; start the run in a new folder"
            )
        optimiser.state[parameter][what] = value.to(parameter.device)
