"""Products with a matrix that stays: on a CPU its numbers are laid out once for oneDNN's kernels.

PyTorch's own `linear` lays them out anew in every call. Measured on one core (AMD EPYC, AVX-512, float32, the
shapes of Qwen3-0.6B): 97 GFLOP/s for 72 at 64 rows, 111 for 89 at 1,024. The numbers are the same to rounding.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST = 1 << 17
"""Numbers of the smallest matrix that gains: below it the call's own overhead (10 µs) is more."""


class Product:
    """x [..., n] -> x Wᵀ + b [..., m]. Differentiable in x; `weight` and `bias` are taken as constants."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None or (torch.is_grad_enabled() and x.requires_grad):
            return F.linear(x, self.weight, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return product

    @cached_property
    def _packed(self) -> Tensor | None:
        """The weight in oneDNN's own layout, or None where that is of no use."""
        fits = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        if not fits or self.weight.numel() < _SMALLEST or not torch.backends.mkldnn.is_available():
            return None
        with torch.no_grad():
            packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(self.weight)
        return packed
