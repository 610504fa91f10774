"""The start of the role rows: the best constant schedule of roles, measured by real rollouts of train questions.

There are no labels for roles. A constant schedule (SOLVER, then VERIFIER, say) needs none, and it is the baseline
that learned roles have to beat. Every turn leaves a note in the router's text, so that a linear head can tell the turns
apart: a schedule gives one role per turn and begins anew after its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from models.fugu.learn.objective import Objective
from models.fugu.learn.tree import Choices, Indices
from models.fugu.learn.warm_start import HeadOptions, fit_head
from models.fugu.roles import Role

Schedule = tuple[Role, ...]

SCHEDULES: tuple[Schedule, ...] = (
    (Role.SOLVER, Role.VERIFIER),
    (Role.SOLVER, Role.SOLVER, Role.VERIFIER),
)
"""In order of preference: a later one is used only if it is better. Without a VERIFIER the loop would always
spend its whole turn budget."""

_ROLE_HEAD = HeadOptions(temperatures=(0.3,), shrinkages=(0.0,), penalties=(0.01,))
"""With one-hot targets at τ = 0.3 a sampling policy explores other roles in about 7 % of its turns."""


@dataclass(frozen=True)
class Measured:
    """A schedule's mean reward and turns on the slots, and the texts that the router read, each with its role."""

    schedule: Schedule
    reward: float
    turns: float
    states: tuple[tuple[str, Role], ...]


async def measure(objective: Objective, vector: NDArray[np.floating], schedule: Schedule) -> Measured:
    """Roll the schedule out with the workers that `vector` picks (argmax)."""
    by_turn = list(islice(cycle(schedule), objective.options.turns))
    policy = objective.policy(vector, temperature=0.0)
    states: dict[str, Role] = {}

    def choose(at: Indices, slots: Indices, turn: int) -> Choices:
        role = by_turn[turn]
        states.update((text, role) for text in objective.texts(at))
        return Choices(policy(at, slots, turn).workers, np.full(len(at), int(role)))

    scores = await objective.scores_of(choose)
    reward = float(np.mean([score.reward for score in scores]))
    turns = float(np.mean([len(score.workers) for score in scores]))
    return Measured(schedule, reward, turns, tuple(states.items()))


async def best(
    objective: Objective, vector: NDArray[np.floating], schedules: Sequence[Schedule] = SCHEDULES
) -> list[Measured]:
    """All schedules, measured, best first."""
    measured = [await measure(objective, vector, schedule) for schedule in schedules]
    return sorted(measured, key=lambda m: -m.reward)


def fit_rows(features: NDArray[np.floating], roles: Sequence[Role]) -> NDArray[np.float32]:
    """Role rows [3, d] under which the argmax on states [S, d] is the schedule's role."""
    wanted = np.eye(len(Role))[[int(role) for role in roles]]
    return fit_head(features, wanted, [role.name for role in roles], _ROLE_HEAD).weights
