"""Tasks that score router vectors by end-to-end rollouts."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE

from models.errors import BadInput
from models.fugu.learn import schedule
from models.fugu.learn.fitness import RolloutScore, Tally, tally
from models.fugu.learn.objective import ALL, Objective
from tasks.caching import PAID, RETRIED, key_of
from tasks.quiet import task
from tasks.setup.process import on_loop
from tasks.setup.scoring import Recipe, Scoring, scoring_of
from tasks.setup.texts import what


@task(
    task_run_name="candidate {index} of generation {generation}, slots {first} to {last}",
    cache_key_fn=key_of("vector", "meaning", "first", "last"),
    **PAID,
)
async def score_candidate(
    recipe: Recipe,
    vector: NDArray[np.floating],
    meaning: str,
    first: int,
    last: int,
    generation: int,
    index: int,
) -> Tally:
    """Roll the vector out on these slots and sum up. Calls that were paid before are read from the ledger.

    A vector that cannot be rolled out gets zero rollouts, not an error: the population is computed from the log, so the
    error would recur whenever the run is resumed. Raises BadInput where this process's `recipe` has another `meaning`.
    """
    scoring = await asyncio.to_thread(scoring_of, recipe)
    if scoring.meaning != meaning:
        raise BadInput("the backbone, the questions or the agent differ between the flow's process and the task's")
    scores = await _scores(scoring, vector, slice(first, last))
    return tally(scores, len(scoring.objective.pool.workers))


@task(task_run_name="roll out {label}", cache_policy=NO_CACHE, **RETRIED)
async def roll_out(label: str, recipe: Recipe, vector: NDArray[np.floating]) -> list[RolloutScore]:
    """Roll out every slot once, to judge a parent or contender. Empty for a vector that cannot be rolled out."""
    return await _scores(await asyncio.to_thread(scoring_of, recipe), vector)


async def _scores(scoring: Scoring, vector: NDArray[np.floating], part: slice = ALL) -> list[RolloutScore]:
    try:
        return await on_loop(_in_turn(scoring, vector, part))
    except BadInput as error:
        if error.field != "vector":
            raise
        get_run_logger().warning("this vector cannot be rolled out and ranks last: %s", what(error))
        return []


async def _in_turn(scoring: Scoring, vector: NDArray[np.floating], part: slice) -> list[RolloutScore]:
    async with scoring.turn:
        return await scoring.objective.scores(vector, temperature=scoring.temperature, part=part)


@task(task_run_name="meet {label}", cache_policy=NO_CACHE, **RETRIED)
async def meet(label: str, recipe: Recipe, vector: NDArray[np.floating]) -> tuple[list[str], int]:
    """The texts that the router reads in a vector's rollouts, whose states define the search's coordinates; and the
    turns of these rollouts. For a moment at which nothing else is rolled out."""
    scoring = await asyncio.to_thread(scoring_of, recipe)
    before = scoring.objective.spent.turns
    texts = await on_loop(scoring.objective.met(vector, temperature=scoring.temperature))
    return texts, scoring.objective.spent.turns - before


@task(task_run_name="measure constant schedules", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def measure_schedules(objective: Objective, vector: NDArray[np.floating]) -> list[schedule.Measured]:
    """Roll out the constant schedules of roles on the slots; the best first. Not submitted: its router is not saved."""
    return await schedule.best(objective, vector)
