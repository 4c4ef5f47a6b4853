"""The rate's two lines, loss scales of the twelve tasks, what decays, what a step leaves alone, moments by name."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.training import optimizer


def test_rate_rises_over_the_warm_up_and_falls_to_the_end_in_lines() -> None:
    factors = [optimizer.rate_factor(i, 20, 0.25) for i in range(1, 21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    steps = {round(a - b, 9) for a, b in itertools.pairwise(factors[4:])}
    assert steps == {round(1 / 16, 9)}
    assert factors[-1] == pytest.approx(1 / 16)


@pytest.mark.parametrize("iterations", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_rate_is_never_zero_nor_above_one(iterations: int, warmup: float) -> None:
    factors = [optimizer.rate_factor(i, iterations, warmup) for i in range(1, iterations + 1)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1


def test_loss_scale_is_the_lr_over_the_least() -> None:
    specs = [TaskSpec(n, n, "answers", "h", "m", 20, 8, lr) for n, lr in (("a", 4e-5), ("b", 2e-5))]
    assert optimizer.loss_scales(specs) == {"a": 2.0, "b": 1.0}
    assert optimizer.loss_scales(specs[:1]) == {"a": 1.0}
    assert optimizer.loss_scales(specs, enabled=False) == {"a": 1.0, "b": 1.0}


def two_heads() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(3, 2) for name in ("trunk", "mine", "other")})


def one_step(model: nn.ModuleDict, made: torch.optim.Optimizer, head: str) -> None:
    made.zero_grad()
    model[head](model["trunk"].weight).square().sum().backward()
    optimizer.set_rate(made, 0.1)
    made.step()


def test_a_step_moves_the_trunk_and_its_own_head_and_leaves_the_other_wholly_alone() -> None:
    model = two_heads()
    made = optimizer.build(model)
    one_step(model, made, "other")  # the other head has momentum now
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one_step(model, made, "mine")
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"trunk.weight", "mine.weight", "mine.bias"}


def test_matrices_decay_and_biases_do_not() -> None:
    model = two_heads()
    made = optimizer.build(model, weight_decay=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_rate(made, 0.1)
    made.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name] * (0.95 if name.endswith("weight") else 1.0))


def test_going_on_from_moments_steps_as_never_having_stopped() -> None:
    model = two_heads()
    made = optimizer.build(model)
    one_step(model, made, "mine")
    again = two_heads()
    again.load_state_dict(model.state_dict())
    made_again = optimizer.build(again)
    saved = {name: value.clone() for name, value in optimizer.moments(model, made).items()}
    optimizer.load_moments(again, made_again, saved)
    for head in ("mine", "other"):
        one_step(model, made, head)
        one_step(again, made_again, head)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(("name", "shape"), [("nose.weight.exp_avg", (2, 3)), ("mine.weight.exp_avg", (5, 3))])
def test_moments_of_another_model_are_refused(name: str, shape: tuple[int, ...]) -> None:
    model = two_heads()
    with pytest.raises(TwelvefoldError, match=rf"{name} of shape .*belongs to another model"):
        optimizer.load_moments(model, optimizer.build(model), {name: torch.zeros(shape)})
