"""Metrics of a comparison: means with paired bootstrap intervals, oracle gap closed, and cost.

An `Entry` holds the results of one policy on the questions of a comparison. Entries of one comparison are paired: row q
is the same question in all of them, and a bootstrap resample draws the same questions for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Entry:
    """One policy's results: expected `scores` [Q] in [0, 1] and `costs` [Q] in USD per question; `shares` [Q, W]: the
    fraction of the question's asks that went to each worker, rows summing to 1. `tokens` [Q]: of prompts and replies;
    None where they are not known."""

    name: str
    scores: Floats
    costs: Floats
    shares: Floats
    tokens: Floats | None = None

    def rows(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Entry:
        """The entry restricted to these questions."""
        tokens = None if self.tokens is None else self.tokens[index]
        return Entry(self.name, self.scores[index], self.costs[index], self.shares[index], tokens)


class Interval(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def entry(
    name: str,
    policy: NDArray[np.number],
    scores: Floats,
    costs: Floats | None = None,
    tokens: Floats | None = None,
) -> Entry:
    """The entry of a policy that asks one worker a question.

    policy: worker indices [Q], or the probability of each worker [Q, W]. scores [Q, W], costs [Q, W] in USD
    (none: free), tokens [Q, W] (none: not known). Raises BadInput for shapes that do not fit or an index outside the
    pool.
    """
    shares = np.asarray(policy)
    if shares.ndim == 1:
        if len(shares) and not 0 <= shares.min() <= shares.max() < scores.shape[1]:
            raise BadInput(f"{name}: a choice outside the pool of {scores.shape[1]} workers", "policy")
        shares = np.eye(scores.shape[1])[shares.astype(np.intp)]
    shares = shares.astype(float)
    costs = np.zeros(scores.shape) if costs is None else costs
    if not shares.shape == scores.shape == costs.shape:
        raise BadInput(f"{name}: policy, scores and costs name different questions or workers", "policy")
    used = None if tokens is None else (shares * tokens).sum(axis=1)
    return Entry(name, (shares * scores).sum(axis=1), (shares * costs).sum(axis=1), shares, used)


def concatenate(parts: Sequence[Sequence[Entry]]) -> list[Entry]:
    """Entries of several folds, pooled by name: each fold holds the same names in the same order."""
    if any([e.name for e in part] != [e.name for e in parts[0]] for part in parts):
        raise BadInput("the folds hold different entries", "parts")
    return [
        Entry(
            same[0].name,
            np.concatenate([e.scores for e in same]),
            np.concatenate([e.costs for e in same]),
            np.concatenate([e.shares for e in same]),
            None if any(e.tokens is None for e in same) else np.concatenate([e.tokens for e in same]),
        )
        for same in zip(*parts, strict=True)
    ]


def bootstrap(values: Floats, resamples: int = 4000, seed: int = 0) -> Floats:
    """Means of resampled questions: values [Q, N] → [resamples, N], the columns resampled together."""
    n, draws = len(values), np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for at in range(0, resamples, 100):  # 100 × Q counts at a time keep the memory small
        rows = min(100, resamples - at)
        picks = draws.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n)
        means[at : at + rows] = counts @ values / n
    return means


def interval(value: float, resampled: Floats) -> Interval:
    """The 95 % percentile interval of a value; its ends are NaN where resamples leave the value undefined."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def difference(a: Entry, b: Entry, resamples: int = 4000, seed: int = 0) -> Interval:
    """Mean score of `a` minus `b` with its paired interval."""
    return paired(a.scores - b.scores, resamples, seed)


def paired(gaps: Floats, resamples: int = 4000, seed: int = 0) -> Interval:
    """The mean of gaps [Q] with its interval over questions."""
    return interval(float(gaps.mean()), bootstrap(gaps[:, None], resamples, seed)[:, 0])


def gap_closed(score: Floats | float, best_single: Floats | float, oracle: Floats | float) -> Floats:
    """(score − best single) / (oracle − best single); NaN where there is no gap to close."""
    gap = np.asarray(oracle, float) - best_single
    return (np.asarray(score) - best_single) / np.where(gap > 1e-12, gap, np.nan)


def cost_per_1000(policy: Entry) -> float:
    """USD for a thousand questions."""
    return float(1000 * policy.costs.mean())


def tokens_per_1000(policy: Entry) -> float | None:
    """Tokens for a thousand questions; None where they are not known."""
    return None if policy.tokens is None else float(1000 * policy.tokens.mean())


def entropy(policy: Entry) -> float:
    """Of the worker shares, in bits: 0 for a policy that always asks the same worker, log2 W for an even one."""
    shares = policy.shares.mean(axis=0)
    some = shares[shares > 0]
    return float(max(0.0, -(some * np.log2(some)).sum()))


def rarely_solved(scores: Floats) -> NDArray[np.bool_]:
    """[Q], the questions that one or two workers solve, and not all: there a choice decides most. scores [Q, W]; a
    score of at least one half solves."""
    solvers = (scores >= 0.5).sum(axis=1)
    return (solvers >= 1) & (solvers <= 2) & (solvers < scores.shape[1])
