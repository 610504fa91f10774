"""A layout's matrices under one or more candidates: the functions that replace them in a forward.

Installing a candidate computes its gains, some thousand numbers; no matrix is rebuilt. A router that serves may have
its single candidate `folded` instead: then every adapted matrix is one dense product again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.fugu.forward.decoder import EMBEDDING, INPUT_MATRICES, OUTPUT, Map
from models.fugu.forward.layout import Layout
from models.fugu.forward.svf import Factors, gains, tied_gains

FactorsOf = Callable[[str], tuple[Factors, Tensor | None]]


@dataclass(frozen=True)
class Scaling:
    """`count` candidates. `gains`: [count, r] float32 by matrix; `first_layer`: the lowest layer that is adapted.

    `folded`: the functions of a single candidate over dense matrices, if they were computed.
    """

    matrices: Mapping[str, tuple[Factors, Tensor | None]]
    gains: Mapping[str, Tensor]
    first_layer: int
    folded: Mapping[str, Map] | None = None

    @property
    def count(self) -> int:
        return len(next(iter(self.gains.values())))

    @property
    def embeds(self) -> bool:
        """Whether the embedding is adapted; then candidates share nothing."""
        return EMBEDDING in self.gains

    @property
    def static(self) -> bool:
        """Whether all shapes inside the functions follow from the shapes of their inputs, as a CUDA graph needs. An
        adapted embedding that is not folded looks up each distinct token once, so its shapes depend on the ids.
        """
        return self.folded is not None or not self.embeds

    def maps(self, owners: Tensor | None = None, rows: Tensor | None = None) -> Mapping[str, Map]:
        """The functions for one batch. `owners` [B]: index of each result's candidate (default: the only one).

        `rows` [B]: index of each result's text among those given. What is common to a text's results is computed
        once: the lowest adapted matrices map texts to results; those above map results to results.
        """
        if self.folded is not None:
            return self.folded
        lowest = {EMBEDDING} if self.embeds else {f"layers.{self.first_layer}.{name}" for name in INPUT_MATRICES}
        maps: dict[str, Map] = {}
        for name, (factors, bias) in self.matrices.items():
            shared = rows if name in lowest else None
            if name == EMBEDDING:
                maps[name] = factors.rows(self.gains[name], owners, shared)
            else:
                gain = self.gains[name][0] if owners is None else self.gains[name][owners, None]
                maps[name] = factors.linear(gain, bias, shared)
        return maps

    def fold(self) -> Scaling:
        """The same single candidate with its matrices made dense."""
        folded = {}
        for name, (factors, bias) in self.matrices.items():
            gain = self.gains[name][0]
            folded[name] = factors.folded_rows(gain) if name == EMBEDDING else factors.folded(gain, bias)
        return replace(self, folded=folded)


def scale_matrices(factors_of: FactorsOf, tied: bool, layout: Layout, offsets: Tensor) -> Scaling | None:
    """The layout's matrices under `offsets` [n] or [C, n], differentiable; None for a layout without offsets.

    `factors_of`: a matrix's name -> its factors and bias, as `Backbone.factors` gives them. With `tied` embeddings
    the shared matrix is scaled twice, as the released code does; untied, the output matrix's offsets do not
    affect the hidden states.
    """
    if not layout.blocks:
        return None
    offsets = offsets.reshape(-1, layout.offsets)
    parts = dict(zip((b.name for b in layout.blocks), offsets.split([b.size for b in layout.blocks], 1), strict=True))
    output = parts.pop(OUTPUT, None)
    matrices = {name: factors_of(name) for name in parts}
    scaled = {}
    for name, part in parts.items():
        factors = matrices[name][0]
        if name == EMBEDDING and tied and output is not None:
            gain = tied_gains(factors.sigma, part, output)
        else:
            gain = gains(factors.sigma, part)
        scaled[name] = gain.to(factors.weight.device, torch.float32)
    return Scaling(matrices, scaled, layout.first_layer)


def stacked(each: Sequence[Scaling]) -> Scaling:
    """Candidates of one backbone and layout in one `Scaling`, in order."""
    first = each[0]
    if len(each) == 1:
        return first
    together = {name: torch.cat([one.gains[name] for one in each]) for name in first.gains}
    return replace(first, gains=together, folded=None)
