"""Written workflows for the house's questions, in the wordings of `data/house/plans.yaml`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from models.conductor.plan.workflow import Access, Step, Workflow
from models.house.wordings import plan_wordings

ACCEPT = Workflow(steps=())
"""Recursion: the previous answer stays as it is."""


def one_step(kind: str, model: int, rng: Random | None = None) -> Workflow:
    """One worker answers; the wording is drawn, or the first where nothing is."""
    texts = _single(kind)
    return Workflow(steps=(Step(model=model, subtask=_pick(texts, rng), access=()),))


def two_steps(kind: str, first: int, second: int, rng: Random | None = None) -> Workflow:
    """The second worker sees the first one's reply and answers."""
    known = plan_wordings().two_hop.get(kind)
    texts = (known.first, known.second) if known else (_single(kind), plan_wordings().review)
    access: Access = "all" if rng is None else rng.choice(("all", (0,)))
    return Workflow(
        steps=(
            Step(model=first, subtask=_pick(texts[0], rng), access=()),
            Step(model=second, subtask=_pick(texts[1], rng), access=access),
        )
    )


def tasks_of(kind: str, task: str, steps: int) -> tuple[str, ...]:
    """The task that each step of a plan is, for a question of that kind and task."""
    known = plan_wordings().two_hop.get(kind)
    return known.tasks if steps == 2 and known else (task,) * steps


def _single(kind: str) -> Sequence[str]:
    tables = plan_wordings()
    return tables.single_hop.get(kind, tables.general)


def _pick(texts: Sequence[str], rng: Random | None) -> str:
    return texts[0] if rng is None else rng.choice(texts)


def written(plan: Workflow, skills: Sequence[str] | None = None) -> str:
    """The plan as a conductor writes it: three lists, one a line. `skills`: each step's, to be named by it."""
    access = [["all"] if step.access == "all" else list(step.access) for step in plan.steps]
    return (
        f"model_id = {json.dumps(skills or [step.model for step in plan.steps])}\n"
        f"subtasks = {json.dumps([step.subtask for step in plan.steps])}\n"
        f"access_list = {json.dumps(access)}"
    )
