"""The product by oneDNN against PyTorch's own, in values and gradients, and when its packed weights are renewed."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from twelvefold.model import linear as linear_module
from twelvefold.model.linear import Linear, linear


@pytest.mark.parametrize("shape", [(1, 5), (37, 128), (4, 6, 128), (0, 128)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight, added = torch.randn(24, shape[-1], requires_grad=True), torch.randn(24, requires_grad=True)
    inputs = [x, weight, added] if bias else [x, weight]
    direction = torch.randn(*shape[:-1], 24)
    ours = torch.autograd.grad((linear(*inputs) * direction).sum(), inputs)
    exact = [each.detach().double().requires_grad_() for each in inputs]
    theirs = torch.autograd.grad((F.linear(*exact) * direction).sum(), exact)
    torch.testing.assert_close(linear(*inputs), F.linear(*exact).float(), atol=1e-4, rtol=1e-5)
    for gradient, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, expected.float(), atol=1e-4, rtol=1e-5)


def test_onednn_is_used_here(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[torch.dtype] = []
    multiply = linear_module._multiply

    def record(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        products.append(x.dtype)
        return multiply(x, weight, bias)

    monkeypatch.setattr(linear_module, "_multiply", record)
    layer, x = Linear(16, 8).eval(), torch.randn(5, 16)
    layer(x)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert products == [torch.float32, torch.bfloat16]  # else the tests of this file compare nothing


@pytest.mark.parametrize("bias", [True, False])
def test_in_half_precision_the_packed_weights_give_what_autocast_gives(bias: bool) -> None:
    layer, x = Linear(64, 32, bias=bias).eval(), torch.randn(7, 64)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = F.linear(x, layer.weight, layer.bias)
        assert layer(x).dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(layer(x), expected, atol=2e-2, rtol=2e-2)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    double = Linear(64, 32, bias=bias).eval().double()
    with torch.inference_mode():
        assert double(x.double()).dtype == torch.float64


def test_a_changed_weight_is_packed_again() -> None:
    layer, x = Linear(16, 8).eval(), torch.randn(5, 16)
    with torch.inference_mode():
        before = layer(x)
        assert torch.equal(layer(x), before)
        torch.testing.assert_close(before, F.linear(x, layer.weight, layer.bias))
    with torch.no_grad():
        layer.weight.mul_(2.0)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    layer.load_state_dict(Linear(16, 8).state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
        torch.testing.assert_close(layer.forward_outputs(x, 2, 7), F.linear(x, layer.weight, layer.bias)[:, 2:7])
    layer.weight = nn.Parameter(torch.randn(8, 16))
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("shape", [(16, 8), (8, 16)])
def test_a_weight_that_is_changed_behind_autograd_is_packed_again(shape: tuple[int, int]) -> None:
    layer, x = Linear(*shape).eval(), torch.randn(5, shape[0])

    def assert_current() -> None:
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))

    assert_current()
    layer.weight.data.mul_(2.0)  # as moving averages of weights do
    assert_current()
    layer.weight.data[3].zero_()
    assert_current()
    layer.weight.detach().numpy()[:] *= 0.5
    assert_current()


def test_a_layer_with_packed_weights_can_be_copied_and_trained() -> None:
    layer, x = Linear(16, 8).eval(), torch.randn(5, 16)
    with torch.inference_mode():
        expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with torch.inference_mode():
            assert torch.equal(twin(x), expected)
    layer.train()
    torch.autograd.backward(layer(x).sum())
    assert layer.weight.grad is not None
    assert "_packed" not in layer.__dict__


def test_without_onednn_the_product_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "_HAS_ONEDNN", False)
    layer, x = Linear(16, 8).eval(), torch.randn(5, 16)
    with torch.inference_mode():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
