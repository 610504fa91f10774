"""What turns a hidden state into logits: functions of one forward's state by matrices, stored as flat numbers.

Source: TRINITY (arXiv 2512.04695) for the bias-free rows. The head of tasks is ours: on recorded scores of models that
nobody here chose, the mean of a question's task says more than a regression on one noisy score each
(data/EXPERIMENTS.md, section 15), and away from what was taught nothing learned says anything at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 10
"""How many of the nearest taught questions say how novel one is."""

SCORE_PER_LOGIT = 0.1
"""A logit of a head of tasks is this much of expected score, so that margins mean about what those of rows mean that
were fitted to softmax(score / τ), and the settings that are given in logits hold for both."""


@dataclass(frozen=True)
class HeadForm:
    """The shape of a head. `rows`: bias-free, a logit each. `tasks`: P(task) × the task's mean scores, over `tasks`
    tasks, with a fallback beyond the reach of `anchors` taught questions (0: none), and with `slopes`, where scores
    depend on the state within a task, too. `damped`: directions that count less for how familiar a state is; None in
    the first heads of tasks, whose bound is on the cosine itself."""

    kind: Literal["rows", "tasks"] = "rows"
    tasks: int = 0
    anchors: int = 0
    slopes: bool = False
    damped: int | None = None

    @classmethod
    def of(cls, meta: Mapping[str, Any] | None) -> HeadForm:
        """From a checkpoint's `meta`, where rows are not named."""
        return cls(**(meta or {}))

    @property
    def meta(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def shapes(self, workers: int, roles: int, width: int) -> dict[str, tuple[int, ...]]:
        """The shape of each part, in the order in which they are stored."""
        if self.kind == "rows":
            return {"rows": (workers + roles, width)}
        usual = {"usual": (self.tasks,), "spread": (self.tasks,), "damped": (self.damped or 0, width)}
        return {
            "centre": (width,),
            "scale": (width,),
            "weights": (self.tasks, width),
            "bias": (self.tasks,),
            "means": (self.tasks, workers),
            "slopes": (workers if self.slopes else 0, width),
            "overall": (workers,),
            "anchors": (self.anchors, width),
            **({} if self.damped is None else usual),
            "least": (1,),
            "roles": (roles, width),
        }

    def size(self, workers: int, roles: int, width: int) -> int:
        """How many numbers a head has."""
        return sum(int(np.prod(shape)) for shape in self.shapes(workers, roles, width).values())

    def install(self, flat: NDArray[np.float32], workers: int, roles: int, width: int, device: torch.device) -> Head:
        """The head of these numbers [size], on a device."""
        parts, at = {}, 0
        for name, shape in self.shapes(workers, roles, width).items():
            end = at + int(np.prod(shape))
            parts[name] = torch.from_numpy(flat[at:end].reshape(shape).copy()).to(device)
            at = end
        if self.kind == "rows":
            return Rows(**parts)
        bias = parts["bias"]
        first = {"usual": torch.zeros_like(bias), "spread": torch.ones_like(bias), "damped": parts["anchors"][:0]}
        return Tasks(**first | parts)


class Head(Protocol):
    """States [B, d] to logits [B, L (+ 3)]."""

    def __call__(self, states: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Rows:
    """`rows` [L (+ 3), d]: bias-free, as released."""

    rows: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        return states @ self.rows.T


@dataclass(frozen=True)
class Tasks:
    """P(task) × means, and the best single worker beyond what was taught.

    centre, scale [d]: of the taught states. weights [T, d], bias [T]: of P(task). means [T, L]: the workers' mean
    scores on a task, as far as they differ from `overall` [L] by more than chance (`learn.tasks`). slopes [L or 0, d]:
    of the scores within any task; `means` are then those of a standardised state of zero.

    anchors [K, d]: taught states, as `familiarity` reads them, and damped [D, d]. usual, spread [T]: mean and standard
    deviation of the familiarity of a task's own questions. A state that is less familiar than P(task) lets expect, by
    `least` [1] standard deviations, gets `overall`, whose order under any mask begins with the best single allowed
    worker. roles [3, d].
    """

    centre: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor
    means: Tensor
    slopes: Tensor
    overall: Tensor
    anchors: Tensor
    usual: Tensor
    spread: Tensor
    damped: Tensor
    least: Tensor
    roles: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        standard = (states - self.centre) / self.scale
        share = torch.softmax(standard @ self.weights.T + self.bias, dim=-1)
        scores = share @ self.means
        if len(self.slopes):
            scores = scores + standard @ self.slopes.T
        if len(self.anchors):
            found = familiarity(standard, self.anchors, self.damped)
            novel = found < share @ self.usual + self.least * (share @ self.spread)
            scores = torch.where(novel[:, None], self.overall, scores)
        logits = scores / SCORE_PER_LOGIT
        return torch.cat([logits, states @ self.roles.T], dim=-1) if len(self.roles) else logits

    def numbers(self) -> NDArray[np.float32]:
        """The parts in the order of `HeadForm.shapes`, flat."""
        parts = (getattr(self, name) for name in HeadForm("tasks", damped=0).shapes(1, 0, 1))
        return np.concatenate([part.cpu().numpy().ravel() for part in parts]).astype(np.float32)


def unit(states: Tensor) -> Tensor:
    """Rows of unit length; a row of zeros stays."""
    return torch.nn.functional.normalize(states, dim=-1, eps=1e-12)


def anchors_of(standard: Tensor, damped: Tensor) -> Tensor:
    """What `familiarity` takes for standardised states [K, d] and directions [D, d]."""
    return (standard - standard @ damped.T @ damped) / _length(standard, damped)[:, None]


def familiarity(standard: Tensor, anchors: Tensor, damped: Tensor, without: Tensor | None = None) -> Tensor:
    """Mean cosine [B] of standardised states [B, d] to their nearest anchors [K, d], at least one.

    `damped` [D, d]: orthogonal directions, each of length √(1 − s²), that are scaled by s before: within tasks, states
    differ so much along them that nothing else would be seen. `without` [B, K]: marks those that do not count, as if
    their cosine were −1.
    """
    cosines = standard @ anchors.T / _length(standard, damped)[:, None]
    if without is not None:
        cosines = cosines.masked_fill(without, -1.0)
    return cosines.topk(min(NEIGHBOURS, len(anchors)), dim=-1).values.mean(dim=-1)


def _length(standard: Tensor, damped: Tensor) -> Tensor:
    """The length [B] of standardised states with the damped directions scaled; above zero."""
    square = (standard**2).sum(dim=-1) - ((standard @ damped.T) ** 2).sum(dim=-1)
    return square.clamp_min(1e-12).sqrt()
