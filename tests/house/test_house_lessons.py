"""Written workflows for a cold start: what they teach, and what they quote of the prompt."""

from __future__ import annotations

import pytest

from models.conductor.learn.offers import Offers, exercises
from models.conductor.plan.workflow import parse
from models.conductor.plan.writers import carded_prompt
from models.house.lessons import lessons, mean_score
from models.house.plans import tasks_of
from models.house.questions import generate
from models.house.rehearsal import WORKERS
from models.house.wordings import plan_wordings

TASKS = {"algebra", "arithmetic", "facts", "lists", "text", "units"}
CARDS = {
    "calc": "arithmetic 0.91, algebra 0.87, lists 0.31",
    "units": "units 0.90",
    "lingua": "text 0.87",
    "coder": "lists 0.91, text 0.73, arithmetic 0.64, algebra 0.45",
    "atlas": "facts 0.77",
    "sage": "text 0.59, units 0.59, facts 0.56, arithmetic 0.54, lists 0.51, algebra 0.50",
}


@pytest.fixture(scope="module")
def asked():
    return {question.id: question for question in generate(5, {"train": 40}, 0.5)}


def taught(asked, prompt, **offers):
    given = exercises(list(asked.values()), WORKERS, CARDS, Offers(**offers), count=len(asked), seed=0)
    return given, list(lessons(given, asked, prompt, 0))


def test_a_carded_lesson_names_skills_that_are_offered_and_is_right_most_of_the_time(asked):
    given, examples = taught(asked, "carded", shuffled=True, least=4)
    by_prompt = {carded_prompt(exercise.request): exercise for exercise in given}
    assert len(examples) > 20
    for example in examples:
        exercise = by_prompt[example.prompt]
        plan = parse(example.completion, skills=exercise.request.skills)
        assert mean_score(plan, asked[exercise.question], exercise.workers) >= 0.6
    named = [example.completion.splitlines()[0] for example in examples]
    assert any('["facts", "' in line for line in named) and not any(
        digit in line for line in named for digit in "012345"
    )


def test_a_lesson_without_cards_names_ordinals(asked):
    _, examples = taught(asked, "compact")
    assert all(example.completion[: len("model_id = [0")][-1].isdigit() for example in examples)


def test_what_is_taught_is_right_most_of_the_time(asked):
    _, examples = taught(asked, "compact", whole=1.0)
    by_text = {question.messages[-1]["content"]: question for question in asked.values()}
    assert len(examples) > 20
    for example in examples:
        question = by_text[example.prompt.splitlines()[0].removeprefix("question: ")]
        assert mean_score(parse(example.completion), question) >= 0.6


@pytest.mark.parametrize("kind", plan_wordings().two_hop)
def test_the_steps_of_a_two_hop_kind_are_two_tasks(kind):
    first, second = tasks_of(kind, "two_hop", 2)
    assert first != second and {first, second} <= TASKS
    assert tasks_of("sum", "arithmetic", 2) == ("arithmetic", "arithmetic")
