"""The fitness that evolution maximises: mean terminal reward, and the shaping terms of TRINITY's released log.

J = mean R + w_div H(workers) + w_turn T − w_cost C. H is the entropy of the share of
turns that each worker took, as a fraction of its maximum ln L; T the mean number of turns as a fraction of the
budget K (the released normalisation is not published); C the mean cost of a rollout in USD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.fugu.roles import Role


@dataclass(frozen=True)
class Weights:
    """Shaping weights; all 0 by default, so that evolution maximises the reward itself. Released: 0.15, 0.10, 0."""

    diversity: float = 0.0
    turns: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True)
class RolloutScore:
    """One graded rollout: `reward` in [0, 1], each turn's worker index and, with roles, role id; USD."""

    reward: float
    workers: tuple[int, ...]
    cost_usd: float = 0.0
    roles: tuple[int, ...] = ()


class Tally(BaseModel):
    """Sums over a candidate's rollouts; tallies of different slots can be added.

    `workers` [L] and `roles` [3]: turns that each took. A vector that cannot be rolled out has no rollouts, and all
    its means are 0.
    """

    model_config = ConfigDict(frozen=True)

    rollouts: int
    reward: float
    workers: tuple[int, ...]
    roles: tuple[int, ...]
    cost_usd: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            rollouts=self.rollouts + other.rollouts,
            reward=self.reward + other.reward,
            workers=tuple(a + b for a, b in zip(self.workers, other.workers, strict=True)),
            roles=tuple(a + b for a, b in zip(self.roles, other.roles, strict=True)),
            cost_usd=self.cost_usd + other.cost_usd,
        )

    @property
    def mean_reward(self) -> float:
        """R in the formula above."""
        return self._each(self.reward)

    @property
    def mean_turns(self) -> float:
        """Mean turns of a rollout."""
        return self._each(sum(self.workers))

    @property
    def mean_cost_usd(self) -> float:
        """C in the formula above."""
        return self._each(self.cost_usd)

    def _each(self, total: float) -> float:
        return total / max(self.rollouts, 1)


def tally(scores: Sequence[RolloutScore], worker_count: int) -> Tally:
    """Sum up rollouts."""
    return Tally(
        rollouts=len(scores),
        reward=float(np.sum([s.reward for s in scores])),
        workers=_counts([w for s in scores for w in s.workers], worker_count),
        roles=_counts([r for s in scores for r in s.roles], len(Role)),
        cost_usd=float(np.sum([s.cost_usd for s in scores])),
    )


def _counts(numbers: Sequence[int], length: int) -> tuple[int, ...]:
    """How often each index occurs; `numbers` may be empty (an agent that asked no worker)."""
    return tuple(np.bincount(np.asarray(numbers, np.intp), minlength=length).tolist())


def fitness(total: Tally, turn_budget: int, weights: Weights) -> float:
    """J of a candidate over its rollouts."""
    turns, entropy = total.mean_turns / turn_budget, _entropy(shares(total.workers))
    cost = weights.cost * total.mean_cost_usd
    return total.mean_reward + weights.diversity * entropy + weights.turns * turns - cost


def shares(counts: Sequence[float]) -> NDArray[np.float64]:
    """Counts as fractions of their sum."""
    counted = np.asarray(counts, np.float64)
    return counted / max(counted.sum(), 1.0)


def _entropy(parts: NDArray[np.float64]) -> float:
    if len(parts) < 2:
        return 0.0
    positive = parts[parts > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(len(parts)))
