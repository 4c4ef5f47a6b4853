"""Linear layers that compute with oneDNN on a CPU, in float32.

PyTorch multiplies float32 matrices with MKL, which does not use AVX-512 on processors of other makers, and is slow
for few rows. oneDNN, which PyTorch also contains and uses for all other types, is there twice as fast (measured:
``docs/performance.md``). The result is the same up to rounding. Everywhere else this is :func:`F.linear`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """``nn.Linear`` that uses :func:`linear`; in evaluation mode with weights in oneDNN's own order.

    That order is computed once, in the first call without gradients, and takes as much memory again as the weights, or
    half of it under autocast to bfloat16, for which PyTorch would convert the weights in every call. It is computed
    again when the weights have changed. PyTorch does not note changes through ``weight.data`` and NumPy: they are found
    by comparing an element of each row. After a change of other elements in that way, call ``train()`` and ``eval()``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return self._multiply(x, self.weight, self.bias, (0, self.out_features))

    def forward_outputs(self, x: Tensor, start: int, end: int) -> Tensor:
        """Return the outputs ``start`` to ``end`` only: (..., in_features) -> (..., end - start)."""
        return self._multiply(x, self.weight[start:end], self.bias[start:end], (start, end))

    def _multiply(self, x: Tensor, weight: Tensor, bias: Tensor | None, outputs: tuple[int, int]) -> Tensor:
        """Return the outputs for some rows of the weight, ``outputs``."""
        # An inference tensor can't say whether it has changed.
        if self.training or torch.is_grad_enabled() or self.weight.is_inference() or not can_use_onednn(x, weight):
            return linear(x, weight, bias)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if dtype not in (torch.float32, torch.bfloat16):
            return linear(x, weight, bias)
        packed = self._packed_weight(weight, outputs, dtype)
        return _multiply(x.to(dtype), packed, None if bias is None else bias.to(dtype))

    def train(self, mode: bool = True) -> Linear:
        self.__dict__.pop("_packed", None)
        return super().train(mode)

    def _packed_weight(self, weight: Tensor, outputs: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Return ``weight``, which is some rows of this layer's, in oneDNN's order."""
        packed: dict[tuple[object, ...], tuple[Tensor, Tensor]] = self.__dict__.setdefault("_packed", {})
        key = (outputs, dtype, self.weight.data_ptr(), self.weight._version)
        flat = self.weight.detach().reshape(-1)  # (N * K,)
        sample = flat[:: self.in_features + 1]  # of almost every row, each in another column
        entry = packed.get(key)
        if entry is None or not torch.equal(sample, entry[0]):
            for old in [other for other in list(packed) if other[1:] != key[1:]]:
                packed.pop(old, None)  # the weights or the precision have changed; another thread may notice it too
            entry = sample.clone(), torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
            packed[key] = entry
        return entry[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the packed weights, which can't be copied or pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``: x (..., K), weight (N, K), bias (N,) -> (..., N)."""
    if torch.is_autocast_enabled("cpu") or not x.dtype == weight.dtype == torch.float32:
        return F.linear(x, weight, bias)  # PyTorch uses oneDNN itself for half precision
    if not can_use_onednn(x, weight):
        return F.linear(x, weight, bias)
    result: Tensor = _OneDNNLinear.apply(x, weight, bias)
    return result


def can_use_onednn(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN can multiply these: on a CPU, except in traced graphs."""
    return (
        _HAS_ONEDNN
        and x.device.type == weight.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
    )


_HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _OneDNNLinear(torch.autograd.Function):
    """oneDNN's product with gradients, which PyTorch's operator lacks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])  # (..., N) -> (M, N)
        for_x = _multiply(gradient, weight.t()) if needs_x else None
        for_weight = _multiply(rows.t(), x.reshape(-1, x.shape[-1]).t()) if needs_weight else None  # (N, K)
        return for_x, for_weight, rows.sum(dim=0) if needs_bias else None


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result
