"""Written workflows for a cold start: what they teach, and what they quote of the prompt."""

from __future__ import annotations

import pytest

from models.conductor.offers import Offers, exercises
from models.conductor.workflow import parse
from models.house.lessons import lessons, mean_score
from models.house.plans import TWO_HOP, tasks_of
from models.house.questions import generate
from models.house.rehearsal import WORKERS

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


def test_a_carded_lesson_first_quotes_who_is_good_at_what_its_steps_need(asked):
    _, examples = taught(asked, "carded", shuffled=True, least=4)
    assert len(examples) > 20
    for example in examples:
        thought, plan = example.completion.split("model_id", 1)
        quoted = thought.splitlines()
        assert quoted and set(quoted) <= set(example.prompt.splitlines())
        assert len(quoted) <= len(parse(f"model_id{plan}").steps)
    alone = [example.completion for example in examples if "model_id = [0]\n" in example.completion]
    assert any(": 0" in completion.splitlines()[0] for completion in alone)


def test_a_lesson_without_cards_is_the_plan_alone(asked):
    _, examples = taught(asked, "compact")
    assert all(example.completion.startswith("model_id = [") for example in examples)


def test_what_is_taught_is_right_most_of_the_time(asked):
    _, examples = taught(asked, "compact", whole=1.0)
    by_text = {question.messages[-1]["content"]: question for question in asked.values()}
    assert len(examples) > 20
    for example in examples:
        question = by_text[example.prompt.splitlines()[0].removeprefix("question: ")]
        assert mean_score(parse(example.completion), question) >= 0.6


@pytest.mark.parametrize("kind", TWO_HOP)
def test_the_steps_of_a_two_hop_kind_are_two_tasks(kind):
    first, second = tasks_of(kind, "two_hop", 2)
    assert first != second and {first, second} <= TASKS
    assert tasks_of("sum", "arithmetic", 2) == ("arithmetic", "arithmetic")
