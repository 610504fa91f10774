"""What a key may spend: budgets and the limits of a request, held by all models before anything is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.ledger.accounts import spend
from models.ledger.budgets import remaining
from models.ledger.requests import get_request
from models.workers.pool import Limits, Price

ADA = {"kind": "worker", "worker": "ada"}


@pytest.fixture
def pool(pool):
    """`ada` and `bob`, whose calls cost 0.008 USD and at most about 0.2, and `cy`, a tenth of that."""
    prices = {"ada": 1000.0, "bob": 1000.0, "cy": 100.0}
    workers = tuple(
        worker.model_copy(
            update={
                "price": Price(input_per_million=prices[worker.name], output_per_million=prices[worker.name]),
                "limits": Limits(max_output_tokens=100, concurrency=64),
            }
        )
        for worker in pool.workers
        if worker.name in prices
    )
    return pool.model_copy(update={"workers": workers})


@pytest.fixture
def here(house, plan):
    with house(fugu=ADA, plan=plan(("ada", "first", []), ("bob", "second", [0]))) as here:
        yield here


def test_sixty_four_connections_never_pass_a_budget_by_a_cent(here, key, post, upstream, ledger):
    mine = key(day_usd=0.5, total_usd=10.0)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda number: post(here, mine, seed=number), range(128)))
    by_status = {code: [a for a in answers if a.status_code == code] for code in {a.status_code for a in answers}}
    assert set(by_status) == {200, 402}
    assert len(upstream.seen) == len(by_status[200])
    total = remaining(ledger, f"key:{mine['Authorization'].split('-')[1]}")
    assert total["reserved"] == 0.0 and total["spent"] == round(spend(ledger)["usd"], 9) <= 0.5
    assert total["spent"] == pytest.approx(0.008 * len(by_status[200])) and total["spent"] > 0.5 - 0.2
    error = by_status[402][0].json()["error"]
    assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
    assert "the budget of today (UTC) of the key 'ci' (0.5 USD)" in error["message"]


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_the_dear_worker_is_refused_or_replaced_by_the_cheapest(here, key, post, upstream, model):
    refuses, cheapest = key("refuses", month_usd=0.1), key("cheapest", month_usd=0.1, on_exceeded="cheapest")
    refused = post(here, refuses, model=model)
    assert refused.status_code == 402 and "the budget of this month of the key 'refuses'" in refused.text
    assert upstream.seen == []
    for stream in (False, True):
        assert post(here, cheapest, model=model, stream=stream).status_code == 200
    assert {body["model"] for body in upstream.seen} == {"cy"}
    spent = key("empty", total_usd=0.0, on_exceeded="cheapest")
    assert post(here, spent, model=model).status_code == 402


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_a_request_may_lower_its_keys_limits_and_not_raise_them(here, key, post, upstream, ledger, model):
    mine = key(max_usd=0.1, scopes=("chat",))
    for fields in ({}, {"fugu": {"max_usd": 5}}):
        refused = post(here, mine, model=model, **fields)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (402, "max_usd_reached"), error
        assert "the key 'ci' that sets it" in error["message"]
    own = post(here, key("wide", max_usd=5.0), model=model, fugu={"max_usd": 0.1})
    assert own.status_code == 402 and "the key" not in own.json()["error"]["message"]
    assert upstream.seen == []
    free = key("free", max_usd=5.0, max_calls=9)
    answer = post(here, free, model=model, fugu={"max_calls": 50})
    assert answer.status_code == 200
    if model == "fugu-ultra":
        limits = get_request(ledger, answer.json()["id"])["request"]["limits"]
        assert (limits["max_usd"], limits["max_calls"]) == (5.0, 9)


def test_a_whole_workflow_draws_on_the_keys_budgets(here, key, post, upstream, ledger):
    mine = key(total_usd=10.0, day_usd=5.0)
    answer = post(here, mine, model="fugu-ultra")
    assert answer.status_code == 200 and len(upstream.seen) == 2
    id = mine["Authorization"].split("-")[1]
    assert remaining(ledger, f"key:{id}") == {"limit": 10.0, "reserved": 0.0, "spent": 0.016, "left": 9.984}
    row = get_request(ledger, answer.json()["id"])
    assert row["owner"] == row["request"]["owner"] == row["request"]["purse"]["key"] == id


def test_without_a_key_a_request_is_held_to_its_own_limits(here, post, upstream):
    for model in ("fugu", "trinity"):
        answer = post(here, model=model, fugu={"max_usd": 0.1})
        assert answer.status_code == 402 and answer.json()["error"]["param"] == "fugu.max_usd"
    assert upstream.seen == [] and post(here, fugu={"max_usd": 0.3}).status_code == 200
