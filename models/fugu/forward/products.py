"""Linear layers with constant weights, which on a CPU are prepacked once for oneDNN's kernels, or kept in int8.

PyTorch's own `linear` packs them in every call. Measured on one core (AMD EPYC, AVX-512, float32, the shapes of
Qwen3-0.6B): 97 instead of 72 GFLOP/s at 64 rows, 111 instead of 89 at 1,024. Results are equal up to rounding.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST = 1 << 17
"""Elements of the smallest matrix that is kept in int8: below it the call's overhead (10 µs) exceeds the gain."""

_PACKED = 1 << 19
"""Elements of the smallest matrix that is prepacked. Measured on one core (AMD EPYC, AVX2, 17 to 544 rows): from half a
million on up to 1.4 times as fast, below it as fast or slower."""


@cache
def int8_is_exact() -> bool:
    """Whether int8 products are summed exactly on this CPU, as the settings let oneDNN use it.

    Without VNNI (or with `ONEDNN_MAX_CPU_ISA` below it) oneDNN adds pairs of products in 16 bits, which saturate: sums
    are wrong, not rounded. The kernel is tried once, with the numbers that give the largest sums.
    """
    for rows in (1, 16, 64):  # each may use another kernel
        x, weight = torch.full((rows, 64), 127, dtype=torch.int8), torch.full((64, 64), 127, dtype=torch.int8)
        if not bool((torch._int_mm(x, weight) == 64 * 127 * 127).all()):
            return False
    return True


class Product:
    """x [..., n] -> x Wᵀ + b [..., m]. Differentiable in x; `weight` and `bias` are taken as constants.

    `exact`: whether inputs that are equal up to rounding give results that are equal up to rounding.
    """

    exact: ClassVar[bool] = True

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None or (torch.is_grad_enabled() and x.requires_grad):
            return F.linear(x, self.weight, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return product

    def unrounded(self, x: Tensor) -> Tensor:
        """The same in float32 [..., m], without rounding the sums to the precision of x and W."""
        if self.weight.dtype == torch.float32:
            return self(x)
        if x.device.type == "cuda" and not (torch.is_grad_enabled() and x.requires_grad):  # it has no derivative
            whole: Tensor = torch.mm(x.flatten(0, -2), self.weight.T, out_dtype=torch.float32)
            whole = whole.unflatten(0, x.shape[:-1])
        else:
            whole = F.linear(x.float(), self.weight.float())
        return whole if self.bias is None else whole + self.bias

    @property
    def traces(self) -> bool:
        """Whether TorchScript can hold it."""
        return type(self) is Product and self._packed is None

    @cached_property
    def _packed(self) -> Tensor | None:
        """The weight in oneDNN's layout, or None where that does not help."""
        fits = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        if not fits or self.weight.numel() < _PACKED or not torch.backends.mkldnn.is_available():
            return None
        with torch.no_grad():
            packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(self.weight)
        return packed


class Int8Product(Product):
    """The same to about 1 %: weights in int8 with a scale per row, inputs in int8 with a scale per token.

    No token's result depends on another's, so that a text's state is the same in every batch. Measured on one core (AMD
    EPYC, AVX-512 VNNI, the shapes of Qwen3-0.6B, 64 and 512 tokens): 2.5 to 3.4 times as fast as float32. PyTorch's
    `quantize_dynamic` is as fast, but its single scale for all inputs adds half as much error again, and depends on the
    batch. An input's last bit may decide to which integer it is rounded: a rounding difference becomes one of 1 %.
    For CPUs where `int8_is_exact` (`Backbone.in_int8` checks it): elsewhere large sums saturate.
    """

    exact = False

    def __call__(self, x: Tensor) -> Tensor:
        if self._quantised is None or (torch.is_grad_enabled() and x.requires_grad):
            return super().__call__(x)
        weight, scales = self._quantised
        rows = x.flatten(0, -2)
        size = rows.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
        whole = torch._int_mm((rows / size).round_().to(torch.int8), weight)
        product = whole.float().mul_(size).mul_(scales).unflatten(0, x.shape[:-1])
        return product if self.bias is None else product + self.bias

    @cached_property
    def _quantised(self) -> tuple[Tensor, Tensor] | None:
        """The weight transposed, [n, m] int8, and the scales of its columns [m]; None where int8 does not help."""
        if self.weight.device.type != "cpu" or self.weight.numel() < _SMALLEST:
            return None
        scales = self.weight.abs().amax(1).clamp(min=1e-30) / 127
        return (self.weight / scales[:, None]).round_().to(torch.int8).T, scales
