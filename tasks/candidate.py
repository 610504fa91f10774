"""Score one candidate of a generation by end-to-end rollouts."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.fugu import schedule
from models.fugu.fitness import RolloutScore, Weights, fitness, worker_shares
from models.fugu.objective import Objective
from tasks.policies import PAID, RETRIED, key_of


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


@task(task_run_name="roll out {label}", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def roll_out(label: str, objective: Objective, vector: NDArray[np.floating]) -> list[RolloutScore]:
    """Every slot once as in serving (argmax): what a parent, or a contender, is judged by."""
    return await objective.scores(vector, sample=False)


@task(task_run_name="measure constant schedules", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def measure_schedules(objective: Objective, vector: NDArray[np.floating]) -> list[schedule.Measured]:
    """The constant schedules of roles on the slots, the best first."""
    return await schedule.best(objective, vector)
