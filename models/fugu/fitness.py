"""What evolution maximises: the mean terminal reward, and the released log's shaping terms.

J = mean R + w_div H(workers) + w_turn T − w_cost C (seed 000, section 3.2). H is the entropy of the share of
turns that each worker took, as a fraction of its maximum ln L; T the mean number of turns as a fraction of the
budget K (the released normalisation is not published); C the mean cost of a rollout in USD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weights:
    """Shaping weights; all 0 by default: what is evolved is then what is compared. Released: 0.15, 0.10, 0."""

    diversity: float = 0.0
    turns: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True)
class RolloutScore:
    """One graded rollout: `reward` in [0, 1], the worker index of each turn, USD."""

    reward: float
    workers: tuple[int, ...]
    cost_usd: float = 0.0


def fitness(scores: Sequence[RolloutScore], worker_count: int, turn_budget: int, weights: Weights) -> float:
    """J of a candidate over its rollouts (at least one)."""
    reward = float(np.mean([s.reward for s in scores]))
    turns = float(np.mean([len(s.workers) for s in scores])) / turn_budget
    cost = float(np.mean([s.cost_usd for s in scores]))
    entropy = _entropy(worker_shares(scores, worker_count))
    return reward + weights.diversity * entropy + weights.turns * turns - weights.cost * cost


def worker_shares(scores: Sequence[RolloutScore], worker_count: int) -> np.ndarray:
    """The share of all turns that each worker took, [L]."""
    counts = np.bincount([w for s in scores for w in s.workers], minlength=worker_count).astype(float)
    return counts / max(counts.sum(), 1.0)


def _entropy(shares: np.ndarray) -> float:
    if len(shares) < 2:
        return 0.0
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(len(shares)))
