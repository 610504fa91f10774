"""Run workflows with house workers in this process, unpaid and unrecorded, for training and examination."""

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
"""House workers in the order of the pool."""


def replies(
    plan: Workflow,
    question: Question,
    seed: int | None,
    workers: Sequence[str] = WORKERS,
    previous: str | None = None,
) -> list[str]:
    """Every step's reply, in order; each step sees what its access list allows. `seed` applies to every ask.

    `previous`: in a second round, the first one's answer, for steps that see "all".
    """
    done: dict[int, Done] = {}
    for index, step in enumerate(plan.steps):
        messages = messages_for(question.messages, plan, index, done, previous=previous)
        done[index] = Done(index=index, subtask=step.subtask, reply=answer(workers[step.model], messages, seed))
    return [done[index].reply for index in sorted(done)]


def chance(question: Question, replicate: int = 0, *, second: bool = False) -> int:
    """The seed of a round; as in serving, a second round has another seed than the first."""
    seed = seed_for(question.id, replicate)
    return step_seed(seed, "/1") if second else seed


def score(
    plan: Workflow,
    question: Question,
    seed: int | None,
    workers: Sequence[str] = WORKERS,
    previous: str | None = None,
) -> float:
    """Score of the last step's reply (0 to 1)."""
    return grade(question, replies(plan, question, seed, workers, previous)[-1]).score if plan.steps else 0.0
