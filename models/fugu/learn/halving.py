"""Successive halving: few rollouts for every candidate of a generation, the rest for the promising ones.

Source: Jamieson & Talwalkar 2016. No candidate ranks above one that reached a higher rung. This has a bias: a candidate
that was unlucky on the first rollouts never gets the others (data/EXPERIMENTS.md, section 8, has its size).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from models.errors import BadInput
from models.fugu.learn.fitness import Tally


async def race(
    candidates: int,
    slots: int,
    rungs: int,
    score: Callable[[Sequence[int], slice], Awaitable[Sequence[Tally]]],
    fitness: Callable[[Tally], float],
) -> tuple[list[float], list[Tally]]:
    """Each candidate's fitness to report, and the tally of its rollouts.

    `score`: rolls out candidates on a slice of the slots. A candidate that cannot be rolled out (its tally is empty) is
    not promoted, and is reported as the worst.
    """
    totals: dict[int, Tally] = {}
    reached, active, first = [-1] * candidates, list(range(candidates)), 0
    for rung, last in enumerate(ladder(slots, rungs)):
        for i, part in zip(active, await score(active, slice(first, last)), strict=True):
            totals[i] = totals[i] + part if i in totals else part
            reached[i] = rung if part.rollouts else reached[i]
        fitnesses = [fitness(totals[i]) for i in range(candidates)]
        active, first = promoted(fitnesses, [i for i in active if totals[i].rollouts]), last
    return reported_fitnesses(fitnesses, reached), [totals[i] for i in range(candidates)]


def ladder(slots: int, count: int) -> list[int]:
    """Slots of a candidate, in total, after each of `count` rungs: doubled each time, all of them after the last.

    Raises BadInput if there is no slot for the first rung.
    """
    if count < 1 or slots < 2 ** (count - 1):
        raise BadInput(f"{slots} rollouts cannot be halved into {count} rungs", "rungs")
    return [slots >> left for left in range(count - 1, -1, -1)]


def promoted(fitnesses: Sequence[float], going: Sequence[int]) -> list[int]:
    """The better half (rounded up) of the candidates `going`, in their order; ties go to the earlier one."""
    kept = sorted(going, key=lambda i: -fitnesses[i])[: (len(going) + 1) // 2]
    return sorted(kept)


def reported_fitnesses(fitnesses: Sequence[float], reached: Sequence[int]) -> list[float]:
    """The fitnesses to report: lowered where one would rank above a candidate that reached a higher rung.

    The search uses ranks only, so only the order has to be right.
    """
    lowered = np.array(fitnesses, np.float64)
    for rung in sorted(set(reached), reverse=True)[1:]:
        above = lowered[np.array(reached) > rung].min()
        here = np.flatnonzero(np.array(reached) == rung)
        excess = lowered[here].max() - above
        if excess >= 0:
            lowered[here] -= excess + 1e-9
    return lowered.tolist()
