"""Tasks that score router vectors by end-to-end rollouts."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE

from models.coding.mixture import Rewarding
from models.errors import BadInput
from models.fugu.learn import schedule
from models.fugu.learn.fitness import RolloutScore, Tally, Weights, fitness, tally
from models.fugu.learn.objective import ALL, Objective
from tasks.caching import PAID, RETRIED, key_of
from tasks.quiet import task
from tasks.setup.texts import what


@dataclass(frozen=True)
class Scoring:
    """Settings that all candidates of a run share. `meaning`: their digest, for the cache key.

    `temperature`: of the policy's sampling in rollouts; 0 is the argmax. `rungs`: of successive halving.
    """

    objective: Rewarding
    weights: Weights
    temperature: float
    rungs: int
    meaning: str
    turn: asyncio.Semaphore

    def fitness(self, total: Tally) -> float:
        """J for a candidate's rollouts."""
        return fitness(total, self.objective.options.turns, self.weights)


SCORING: ContextVar[Scoring] = ContextVar("scoring")


@task(
    task_run_name="candidate {index} of generation {generation}, slots {first} to {last}",
    cache_key_fn=key_of("vector", "meaning", "first", "last"),
    **PAID,
)
async def score_candidate(
    vector: NDArray[np.floating], meaning: str, first: int, last: int, generation: int, index: int
) -> Tally:
    """Roll the vector out on these slots and sum up. Calls that were paid before are read from the ledger.

    A vector that cannot be rolled out gets zero rollouts, not an error: the population is computed from the log, so the
    error would recur whenever the run is resumed.
    """
    scoring = SCORING.get()
    async with scoring.turn:
        scores = await _scores(scoring.objective, vector, scoring.temperature, slice(first, last))
    return tally(scores, len(scoring.objective.pool.workers))


@task(task_run_name="roll out {label}", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def roll_out(label: str, objective: Rewarding, vector: NDArray[np.floating]) -> list[RolloutScore]:
    """Roll out every slot once as in serving (argmax), to judge a parent or contender.

    Empty for a vector that cannot be rolled out.
    """
    return await _scores(objective, vector, 0.0)


async def _scores(
    objective: Rewarding, vector: NDArray[np.floating], temperature: float, part: slice = ALL
) -> list[RolloutScore]:
    try:
        return await objective.scores(vector, temperature=temperature, part=part)
    except BadInput as error:
        if error.field != "vector":
            raise
        get_run_logger().warning("this vector cannot be rolled out and ranks last: %s", what(error))
        return []


@task(task_run_name="meet {label}", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def meet(label: str, scoring: Scoring, vector: NDArray[np.floating]) -> list[str]:
    """The texts that the router reads in a vector's rollouts; their states define the search's coordinates."""
    return await scoring.objective.met(vector, temperature=scoring.temperature)


@task(task_run_name="measure constant schedules", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def measure_schedules(objective: Objective, vector: NDArray[np.floating]) -> list[schedule.Measured]:
    """Roll out the constant schedules of roles on the slots; the best first."""
    return await schedule.best(objective, vector)
