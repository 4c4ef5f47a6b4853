"""The optimizer: loss scales, weight decay, parameters without gradient, saved state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from twelvefold.config.training import TrainingConfig
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.training import optimizer


def test_loss_scale_is_the_lr_over_the_smallest_lr() -> None:
    specs = [TaskSpec(n, n, "answers", "h", "m", 20, 8, lr) for n, lr in (("a", 4e-5), ("b", 2e-5))]
    assert optimizer.loss_scales(specs) == {"a": 2.0, "b": 1.0}
    assert optimizer.loss_scales(specs[:1]) == {"a": 1.0}
    assert optimizer.loss_scales(specs, enabled=False) == {"a": 1.0, "b": 1.0}


def two_heads() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(3, 2) for name in ("trunk", "mine", "other")})


def take_step(model: nn.ModuleDict, adam: torch.optim.Optimizer, head: str) -> None:
    adam.zero_grad()
    model[head](model["trunk"].weight).square().sum().backward()
    optimizer.set_lr(adam, 1.0)
    adam.step()


def test_a_step_updates_the_trunk_and_its_own_head_and_no_other_head() -> None:
    model = two_heads()
    adam = optimizer.build_optimizer(model, TrainingConfig(), 0.1)
    take_step(model, adam, "other")  # the other head has momentum now
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take_step(model, adam, "mine")
    updated = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert updated == {"trunk.weight", "mine.weight", "mine.bias"}


def test_weight_decay_applies_to_matrices_and_not_to_biases() -> None:
    model = two_heads()
    adam = optimizer.build_optimizer(model, TrainingConfig(weight_decay=0.5), 0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_lr(adam, 1.0)
    adam.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name] * (0.95 if name.endswith("weight") else 1.0))


def test_steps_after_loading_the_state_equal_those_without_a_stop() -> None:
    model = two_heads()
    adam = optimizer.build_optimizer(model, TrainingConfig(), 0.1)
    take_step(model, adam, "mine")
    restored = two_heads()
    restored.load_state_dict(model.state_dict())
    restored_adam = optimizer.build_optimizer(restored, TrainingConfig(), 0.1)
    state = {name: value.clone() for name, value in optimizer.optimizer_state(model, adam).items()}
    optimizer.load_optimizer_state(restored, restored_adam, state)
    for head in ("mine", "other"):
        take_step(model, adam, head)
        take_step(restored, restored_adam, head)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), restored.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("name", "shape"), [("nose.weight.exp_avg", (2, 3)), ("mine.weight.exp_avg", (5, 3))])
def test_state_of_another_model_is_refused(name: str, shape: tuple[int, ...]) -> None:
    model = two_heads()
    adam = optimizer.build_optimizer(model, TrainingConfig(), 0.1)
    with pytest.raises(TwelvefoldError, match=rf"{name} of shape .*belongs to another model"):
        optimizer.load_optimizer_state(model, adam, {name: torch.zeros(shape)})
