"""Who plans where FUGU_CONDUCTOR is unset, and what `fugu up` says of it."""

from __future__ import annotations

import pytest

from models.workers.pool import Limits, Pool, Price, Worker
from tasks.setup.choice import NOBODY, choose
from tasks.setup.settings import PROJECT

HOUSE = Pool.load(PROJECT / "data" / "pools" / "house.yaml")
PRICE = Price(input_per_million=1.0, output_per_million=10.0)


def worker(name, **more):
    return Worker(name=name, model=f"openai/{name}", price=PRICE, limits=Limits(max_output_tokens=1000), **more)


def pool(*workers, conductors=()):
    return Pool(name="mine", workers=workers, conductors=conductors)


@pytest.mark.parametrize("workers", [HOUSE.workers, HOUSE.workers[:2]])
def test_the_house_conductor_plans_for_its_own_pool_and_for_its_first_workers(workers):
    choice = choose("", pool(*workers), {}, {})
    assert (choice.setting, choice.worst_usd) == ("house", 0.0) and "free" in choice.line


@pytest.mark.parametrize("workers", [HOUSE.workers[1:], HOUSE.workers[::-1]])
def test_it_knows_workers_by_their_order_alone_and_programs_write_no_plans(workers):
    assert choose("", pool(*workers), {}, {}).setting == NOBODY


def test_with_a_worker_more_than_it_was_taught_that_worker_is_asked():
    assert choose("", pool(*HOUSE.workers, worker("new")), {}, {}).setting == "worker:new"


def test_on_a_foreign_pool_the_named_one_plans_then_the_best_measured_then_the_first(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    a, b, keyless = worker("a"), worker("b"), worker("c", key_env="NO_SUCH_KEY")
    recorded = Worker(name="past", model="recorded/past")
    scores = {"a": 0.2, "b": 0.7, "c": 0.9, "past": 1.0}
    named = pool(a, b, conductors=(worker("boss"),))
    assert choose("", named, {}, scores).setting == "worker:boss"
    measured = choose("", pool(recorded, keyless, a, b), {}, scores)
    assert measured.setting == "worker:b" and "0.70" in measured.why
    assert choose("", pool(recorded, keyless, a, b), {}, {}).setting == "worker:a"
    assert choose("", pool(recorded, keyless), {}, {}).setting == NOBODY


def test_the_line_says_who_why_what_it_costs_and_how_to_change_it():
    choice = choose("", pool(worker("a")), {}, {})
    # Two replies of 1,000 tokens are 0.02 USD; a token of a prompt is at most a byte.
    assert 0.02 < choice.worst_usd < 0.06
    assert f"worker:a (it is the first worker, and nothing is measured), at most ${choice.worst_usd:.4f}" in choice.line
    assert "FUGU_CONDUCTOR=worker:NAME" in choice.line
    assert "as FUGU_CONDUCTOR says" in choose("worker:a", pool(worker("a")), {}, {}).line
