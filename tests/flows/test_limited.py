"""A worker's limit per minute fails no flow: what met it is asked again, and nothing twice."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from answering import Limited, answering

from flows.conduct import conduct
from flows.refresh_labels import refresh_labels
from models.ledger.accounts import spend
from models.ledger.labels import labels
from tasks.setup.settings import open_ledger

pytestmark = pytest.mark.usefixtures("prefect_server")

LIMITS = (
    Limited(
        "Rate limit reached for model `m` on requests per minute (RPM). Please try again in 60ms.", retry_after="0"
    ),
    Limited("You exceeded your current quota, please check your plan and billing details. Please retry in 0.05s."),
    Limited("Too many requests per minute"),
)


QUESTIONS = 4
"""More than the repeats that are always allowed, and fewer than the failures that open a breaker."""


@pytest.fixture
def limited(home):
    """A pool of one worker, which answers with the number that it is asked after its first calls met a limit; and what
    it was asked."""
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        if len(asked) <= QUESTIONS:
            raise LIMITS[len(asked) % len(LIMITS)]
        return "".join(filter(str.isdigit, text))

    with answering({"m": answer}) as (url, _):
        worker = {"name": "w", "model": "openai/m", "api_base": url, "price": {}}
        (home / "one.yaml").write_text(yaml.safe_dump({"workers": [worker]}))
        yield home / "one.yaml", asked


@pytest.fixture
def questions(home):
    """The path of a set of questions whose answers are their numbers."""
    rows = [
        {"id": f"q{n}", "task": "t", "question": f"{n}?", "grader": "number", "reference": n} for n in range(QUESTIONS)
    ]
    (home / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(home / "asked.jsonl")


def test_labelling_waits_for_a_limit_and_repeats_only_what_met_it(limited, questions):
    pool, asked = limited
    assert asyncio.run(refresh_labels(str(pool), questions)) == QUESTIONS
    ledger = open_ledger()
    frame = labels(ledger, pool="one")
    assert len(frame) == QUESTIONS and frame["score"].mean() == 1.0
    assert len(asked) == 2 * QUESTIONS and spend(ledger)["calls"] == QUESTIONS
    ledger.close()


@pytest.mark.programs
def test_a_batch_of_workflows_waits_for_it_too_although_no_other_worker_is_there(limited, questions, home):
    pool, asked = limited
    (home / "plan.txt").write_text('model_id = [0]\nsubtasks = ["answer"]\naccess_list = [[]]')
    answers = asyncio.run(conduct(questions, pool=str(pool), conductor=f"fixed:{home / 'plan.txt'}"))
    assert len(answers) == QUESTIONS and all(answers) and len(asked) == 2 * QUESTIONS
