"""Written workflows for exercises of the house: a cold start for any conductor, whoever is offered under what number.

Plans of one and two steps by the workers that are offered are carried out; the best become examples. So what they
teach of the workers, the workers' replies have shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from random import Random

from models.conductor.learn.practice import Exercise
from models.conductor.learn.sft import Example
from models.conductor.plan.workflow import Workflow
from models.conductor.plan.writers import PROMPTS
from models.grading.question import Question
from models.house.plans import one_step, tasks_of, two_steps, written
from models.house.rehearsal import WORKERS, chance, score

DRAWS = 3
"""How often a plan is carried out, each time with another chance of the workers: luck alone teaches nothing."""

_GOOD = 0.6
"""The least mean score of a plan that is taught."""

_PAIRS = 16
"""Random two-step plans an exercise, where no single step does."""


def lessons(
    exercises: Sequence[Exercise], questions: Mapping[str, Question], prompt: str, seed: int
) -> Iterator[Example]:
    """An example for each exercise for which a good plan was found; `prompt`: one of `PROMPTS`."""
    for number, exercise in enumerate(exercises):
        rng = Random(f"lessons/{seed}/{number}")
        question = questions[exercise.question]
        asked = PROMPTS[prompt](exercise.request)
        if prompt == "carded":
            plan = _by_skill(rng, exercise, question)
        else:
            plans = _best(rng, exercise, question, exercise.ordinals)
            plan = written(rng.choice(plans)) if plans else None
        if plan is not None:
            yield Example(asked if isinstance(asked, str) else tuple(asked), plan)


def _by_skill(rng: Random, exercise: Exercise, question: Question) -> str | None:
    """A good plan that names skills: those that the steps are, where whoever is best at them does well."""
    skills, offered, kind = exercise.request.skills, exercise.request.offered_skills, kind_of(question)
    for steps in (1, 2):
        needed = tasks_of(kind, question.task, steps)
        if set(needed) <= set(offered):
            first, last = skills[needed[0]], skills[needed[-1]]
            plan = one_step(kind, first, rng) if steps == 1 else two_steps(kind, first, last, rng)
            if mean_score(plan, question, exercise.workers) >= _GOOD:
                return written(plan, needed)
    plans = _best(rng, exercise, question, sorted({skills[task] for task in offered}))
    if not plans:
        return None
    plan = rng.choice(plans)
    return written(plan, [rng.choice([task for task in offered if skills[task] == step.model]) for step in plan.steps])


def _best(rng: Random, exercise: Exercise, question: Question, offered: Sequence[int]) -> list[Workflow]:
    """The plans with the highest mean score; of two steps only where no single one is any good."""
    kind = kind_of(question)
    single = [one_step(kind, ordinal, rng) for ordinal in offered]
    if found := _highest(single, lambda plan: mean_score(plan, question, exercise.workers)):
        return found
    pairs = list(product(offered, offered))
    double = [two_steps(kind, *pair, rng) for pair in rng.sample(pairs, min(_PAIRS, len(pairs)))]
    return _highest(double, lambda plan: mean_score(plan, question, exercise.workers))


def _highest(plans: Sequence[Workflow], worth: Callable[[Workflow], float]) -> list[Workflow]:
    scores = [worth(plan) for plan in plans]
    best = max(scores, default=0.0)
    return [plan for plan, score in zip(plans, scores, strict=True) if score == best >= _GOOD]


def mean_score(plan: Workflow, question: Question, workers: Sequence[str] = WORKERS, draws: int = DRAWS) -> float:
    """What the plan scores over so many draws of the workers' chance."""
    return sum(score(plan, question, chance(question, draw), workers) for draw in range(draws)) / draws


def kind_of(question: Question) -> str:
    """What names its wordings; a question from elsewhere has none, and gets the general ones."""
    return question.tags[0] if question.tags else ""
