"""The worst case of learning holds everything that a flow may ask; `fugu measure` asks for what was estimated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deployments import estimate
from deployments.commands.measure import measure
from models.grading.question import Question
from models.workers.pool import Limits, Pool, Price, Worker
from tasks.setup.preset import load_preset
from tasks.setup.questions import QuestionSet

LIMITS = Limits(max_output_tokens=1000)


def learning_usd(preset, price: Price, questions: QuestionSet) -> float:
    dear = Worker(name="dear", model="openai/dear", price=price, limits=LIMITS)
    return estimate._learning_usd(preset, questions, Pool(name="p", workers=(dear,)))


@pytest.fixture
def questions() -> QuestionSet:
    """Three questions to learn from, two held out."""
    splits = ("train", "train", "validation", "test", "unseen")
    message = ({"role": "user", "content": "?"},)
    made = (Question(id=str(i), task="t", messages=message, split=split) for i, split in enumerate(splits))
    return QuestionSet("q", tuple(made))


@pytest.mark.parametrize(("population", "candidates"), [(8, 8), (0, 45)])
def test_learning_counts_schedules_candidates_parents_and_every_router_compared(questions, population, candidates):
    preset = load_preset("first-light")
    evolution = preset.evolution.model_copy(
        update={"population": population, "generations": 3, "questions": 256, "validation": 100, "repeats": 2}
    )
    preset = preset.model_copy(update={"evolution": evolution, "repeats": 6})
    # No more slots than there are questions: two to learn from, one to validate with, two held out.
    answers = 2 * 2 + (3 * candidates + 1) * 2 * 2 + 4 * 1 + 4 * 6 * 2
    price = Price(output_per_million=1000.0)  # an ask costs a dollar
    assert learning_usd(preset, price, questions) == pytest.approx(5 * answers)


def test_no_real_routers_vector_makes_a_larger_population_than_is_counted():
    cma = pytest.importorskip("cma")
    assert (
        cma.CMAEvolutionStrategy(100_000 * [0], 1, {"CMA_diagonal": True, "verbose": -9}).popsize <= estimate.POPULATION
    )


def test_earlier_replies_in_a_prompt_are_counted_in_bytes(questions):
    preset = load_preset("first-light")
    asks = learning_usd(preset, Price(output_per_million=1000.0), questions)
    prompts = learning_usd(preset, Price(input_per_million=1000.0), questions)
    size = sum(len(q.model_dump_json()) for q in questions.questions) / 5
    assert prompts / asks == pytest.approx((4 * 4 * 1000 + round(size)) / 1000)


def test_measuring_leaves_alone_what_the_estimate_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FUGU_HOME", str(tmp_path / "home"))
    started = []
    server = SimpleNamespace(start_run=lambda *asked: started.append(asked))
    monkeypatch.setattr("deployments.home.find_note", lambda home: SimpleNamespace(prefect="http://none"))
    monkeypatch.setattr("deployments.server.Server", lambda url, secret: server)
    monkeypatch.setattr("deployments.progress.watch", lambda *words: None)
    measure()
    [(deployment, parameters)] = started
    assert deployment == "refresh-labels/measure-nightly" and parameters["max_age_days"] is None
