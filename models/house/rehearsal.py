"""Workflows carried out by the house's workers in this process: unpaid, unrecorded, for training and examination."""

from __future__ import annotations

from collections.abc import Sequence

from models.conductor.plan.context import Done, messages_for, step_seed
from models.conductor.plan.workflow import Workflow
from models.grading.grade import grade
from models.grading.question import Question
from models.house.workers import answer
from models.house.workers.profiles import PROFILES
from models.workers.ask import seed_for

WORKERS = tuple(PROFILES)
"""By ordinal, as in the house's pool."""


def replies(
    plan: Workflow,
    question: Question,
    seed: int | None,
    workers: Sequence[str] = WORKERS,
    previous: str | None = None,
) -> list[str]:
    """Every step's reply, in order; each step sees what its access list allows. `seed` is that of every ask.

    `previous`: in a second round, the first one's answer, for steps that see "all".
    """
    done: dict[int, Done] = {}
    for index, step in enumerate(plan.steps):
        messages = messages_for(question.messages, plan, index, done, previous=previous)
        done[index] = Done(index=index, subtask=step.subtask, reply=answer(workers[step.model], messages, seed))
    return [done[index].reply for index in sorted(done)]


def chance(question: Question, replicate: int = 0, *, second: bool = False) -> int:
    """The seed of a round: as in use, a second one does not meet the first one's luck again."""
    seed = seed_for(question.id, replicate)
    return step_seed(seed, "/1") if second else seed


def score(
    plan: Workflow,
    question: Question,
    seed: int | None,
    workers: Sequence[str] = WORKERS,
    previous: str | None = None,
) -> float:
    """What the last step's reply is worth (0 to 1)."""
    return grade(question, replies(plan, question, seed, workers, previous)[-1]).score if plan.steps else 0.0
