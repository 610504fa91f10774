"""Score one candidate of a generation by end-to-end rollouts."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from prefect import task

from models.fugu.fitness import Weights, fitness, worker_shares
from models.fugu.objective import Objective
from tasks.policies import PAID, key_of


@dataclass(frozen=True)
class Scoring:
    """What all candidates of a run share. `meaning` is the digest of all of it, for the cache key."""

    objective: Objective
    weights: Weights
    sample: bool
    meaning: str
    turn: asyncio.Semaphore


SCORING: ContextVar[Scoring] = ContextVar("scoring")


class CandidateScore(TypedDict):
    """`fitness` is J, `reward` its first term; `shares` of the workers, `mean_turns`, `cost_usd` per rollout."""

    fitness: float
    reward: float
    shares: list[float]
    mean_turns: float
    cost_usd: float


@task(task_run_name="candidate {index} of generation {generation}", cache_key_fn=key_of("vector", "meaning"), **PAID)
async def score_candidate(vector: NDArray[np.floating], meaning: str, generation: int, index: int) -> CandidateScore:
    """J of the vector. The calls are the ledger's: a rollout that was paid once is read, not paid again."""
    scoring = SCORING.get()
    return await score(vector, scoring)


async def score(vector: NDArray[np.floating], scoring: Scoring) -> CandidateScore:
    """The same without a task: for the parent on its validation part."""
    objective = scoring.objective
    async with scoring.turn:
        scores = await objective.scores(vector, sample=scoring.sample)
    workers, budget = len(objective.pool.workers), objective.options.turns
    return {
        "fitness": fitness(scores, workers, budget, scoring.weights),
        "reward": float(np.mean([s.reward for s in scores])),
        "shares": worker_shares(scores, workers).tolist(),
        "mean_turns": float(np.mean([len(s.workers) for s in scores])),
        "cost_usd": float(np.mean([s.cost_usd for s in scores])),
    }
