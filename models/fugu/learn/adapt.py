"""Second part of stage 1: train the SVF offsets, and the head with them, by gradients of forward KL.

Source: Fugu technical report, stage 1 (it trains head and scales; learning rate and length are not published).
The differentiable function is an argument, so that this module does not depend on a backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.fugu.learn.targets import Floats, cross_entropy

if TYPE_CHECKING:
    import torch

Hidden = Callable[[Sequence[str], "torch.Tensor"], "torch.Tensor"]
"""(texts, offsets [n]) → hidden states [B, d], differentiable in the offsets."""


@dataclass(frozen=True)
class Examples:
    """Questions as the router reads them: `texts` [Q], `targets` and `labels` [Q, L]."""

    texts: Sequence[str]
    targets: Floats
    labels: Floats


@dataclass(frozen=True)
class AdaptOptions:
    """Adam's settings. The learning rate is relative: offsets already scale singular values by 1 + δ, and the
    head moves in units of its root mean square. `patience`: epochs without validation gain before it stops."""

    learning_rate: float = 2e-3
    epochs: int = 8
    batch: int = 32
    patience: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """The resulting head [L, d] and offsets [n]: those given unless `kept`. `before` and `after`: mean score
    of the argmax choice on the validation part, at the start and at the best epoch."""

    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    kept: bool
    before: float
    after: float


def adapt(
    hidden: Hidden,
    weights: Floats,
    offsets: Floats,
    train: Examples,
    valid: Examples,
    options: AdaptOptions | None = None,
) -> Adapted:
    """Train head and offsets together by forward KL; keep the result only if the validation part gains.

    An epoch gains if the mean score of its choices rises, or is equal while its KL falls. `valid` must hold no
    question that the head was fitted on, or no result is ever kept. Raises BadInput for an empty part.
    """
    import torch

    if not len(train.texts) or not len(valid.texts):
        raise BadInput("adaptation needs questions to train on and to validate with", "texts")
    options = options or AdaptOptions()
    draws = np.random.default_rng(options.seed)
    model = _Adapting(hidden, weights, offsets)
    adam = torch.optim.Adam([model.delta, model.head_step], lr=options.learning_rate)
    start = best = model.judge(valid, options.batch)
    result, waited = model.snapshot(), 0
    for _ in range(options.epochs):
        order = draws.permutation(len(train.texts))
        for at in range(0, len(order), options.batch):
            model.descend(adam, train, order[at : at + options.batch])
        now = model.judge(valid, options.batch)
        waited = 0 if now > best else waited + 1
        if now > best:
            best, result = now, model.snapshot()
        if waited >= options.patience:
            break
    return Adapted(*result, kept=best > start, before=start[0], after=best[0])


class _Adapting:
    """Offsets and head as the parameters that Adam updates."""

    def __init__(self, hidden: Hidden, weights: Floats, offsets: Floats) -> None:
        import torch

        self._hidden = hidden
        self._start = torch.tensor(np.asarray(weights), dtype=torch.float32)
        self._unit = self._start.square().mean().sqrt().clamp_min(1e-8)
        self.delta = torch.tensor(np.asarray(offsets), dtype=torch.float32, requires_grad=True)
        self.head_step = torch.zeros_like(self._start, requires_grad=True)

    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        states = self._hidden(texts, self.delta).float().cpu()
        return states @ (self._start + self._unit * self.head_step).T

    def descend(self, adam: torch.optim.Adam, train: Examples, rows: NDArray[np.integer]) -> None:
        import torch

        adam.zero_grad()
        targets = torch.tensor(train.targets[rows], dtype=torch.float32)
        torch.autograd.backward(cross_entropy(targets, self.logits([train.texts[i] for i in rows])))
        adam.step()

    def judge(self, part: Examples, batch: int) -> tuple[float, float]:
        """(mean score of the choices, −cross-entropy), to be compared in that order; NaN never wins."""
        import torch

        with torch.no_grad():
            chunks = [part.texts[i : i + batch] for i in range(0, len(part.texts), batch)]
            logits = torch.cat([self.logits(chunk) for chunk in chunks])
        loss = float(cross_entropy(torch.tensor(part.targets, dtype=torch.float32), logits))
        if not np.isfinite(loss):
            return -1.0, -np.inf
        choice = logits.argmax(dim=-1).numpy()
        return float(part.labels[np.arange(len(choice)), choice].mean()), -loss

    def snapshot(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weights = (self._start + self._unit * self.head_step).detach()
        return weights.numpy().copy(), self.delta.detach().numpy().copy()
