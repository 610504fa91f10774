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
    spent = key("empty", total_usd=0.0, on_exceeded="cheapest")
    refused = post(here, refuses, model=model)
    assert refused.status_code == 402 and "the budget of this month of the key 'refuses'" in refused.text
    assert upstream.seen == []
    for stream in (False, True):
        assert post(here, cheapest, model=model, stream=stream).status_code == 200
    assert {body["model"] for body in upstream.seen} == {"cy"}
    assert post(here, spent, model=model).status_code == 402


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_a_request_may_lower_its_keys_limits_and_not_raise_them(here, key, post, upstream, ledger, model):
    mine, wide = key(max_usd=0.1, scopes=("chat",)), key("wide", max_usd=5.0)
    free = key("free", max_usd=5.0, max_calls=9)
    for fields in ({}, {"fugu": {"max_usd": 5}}):
        refused = post(here, mine, model=model, **fields)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (402, "max_usd_reached"), error
        assert "the key 'ci' that sets it" in error["message"]
    own = post(here, wide, model=model, fugu={"max_usd": 0.1})
    assert own.status_code == 402 and "the key" not in own.json()["error"]["message"]
    assert upstream.seen == []
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


def spent_and_reserved(ledger, mine):
    left = remaining(ledger, f"key:{mine['Authorization'].split('-')[1]}")
    return left["spent"], left["reserved"]


WORST = 0.144
"""Of one call of `ada` for the question of `post`, USD."""


@pytest.mark.parametrize("stream", [False, True])
def test_answers_to_choose_from_are_reserved_together_and_none_is_paid_where_they_do_not_fit(
    here, key, post, upstream, ledger, stream
):
    four = 4 * WORST
    short, enough = key("short", total_usd=four - 1e-6), key("enough", total_usd=four)
    cheap = key("cheap", total_usd=four / 2, on_exceeded="cheapest")
    assert post(here, enough, "/v1/estimate", n=4).json()["cost_usd"]["worst"] == pytest.approx(four)
    refused = post(here, short, n=4, stream=stream)
    assert refused.status_code == 402 and refused.json()["error"]["code"] == "budget_exceeded"
    assert "no room for 4 calls that may cost together" in refused.json()["error"]["message"]
    for own, limit in (({"max_usd": four - 1e-6}, "max_usd"), ({"max_calls": 3}, "max_calls")):
        refused = post(here, enough, n=4, stream=stream, fugu=own)
        assert refused.status_code == 402 and refused.json()["error"]["param"] == f"fugu.{limit}"
    assert upstream.seen == [] and spent_and_reserved(ledger, enough) == (0.0, 0.0)
    answer = post(here, enough, n=4, stream=stream, fugu={"max_usd": four, "max_calls": 4})
    assert answer.status_code == 200 and len(upstream.seen) == 4
    assert spent_and_reserved(ledger, enough) == (0.032, 0.0)
    answer = post(here, cheap, n=4, stream=stream)
    assert answer.status_code == 200 and {body["model"] for body in upstream.seen[4:]} == {"cy"}


def test_of_many_requests_for_several_answers_each_is_paid_whole_or_not_at_all(here, key, post, upstream, ledger):
    mine = key(day_usd=4.2 * WORST, total_usd=10.0)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: post(here, mine, n=3, seed=number), range(32)))
    paid = sum(answer.status_code == 200 for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 402} and len(upstream.seen) == 3 * paid
    assert spent_and_reserved(ledger, mine) == (pytest.approx(0.024 * paid), 0.0)


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_a_reply_whose_repair_may_not_be_paid_is_refused_as_one_that_does_not_fit(here, key, post, upstream, model):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["nothing"]}}}
    ada = {"allowed_workers": ["ada"]}
    free, tight, poor = key("free"), key("tight", max_calls=1), key("poor", total_usd=0.3)
    for headers, own in ((free, {"max_calls": 1}), (free, {"max_usd": 0.3}), (tight, {}), (poor, {"max_usd": 0.3})):
        upstream.forget()
        refused = post(here, headers, model=model, response_format=form, fugu=ada | own)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (422, "invalid_response_format"), (own, error)
        assert len(upstream.seen) == 1


def test_a_plan_that_does_not_fit_the_requests_limit_as_a_whole_is_not_begun(here, key, post, upstream):
    """One step is asked in its stead: no step of a plan is paid that cannot be paid to its end."""
    two = post(here, None, "/v1/estimate", n=2, fugu={"allowed_workers": ["ada"]}).json()["cost_usd"]["worst"]
    traced = {"X-Fugu-Trace": "1"}
    for most, calls in ((0.9 * two, 1), (4 * two, 2)):
        upstream.forget()
        answer = post(here, traced, model="fugu-ultra", fugu={"max_usd": most})
        assert answer.status_code == 200 and len(upstream.seen) == calls, answer.text
        assert len(answer.json()["fugu"]["rounds"][0]["steps"]) == calls


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_a_misfit_whose_repair_was_too_dear_is_told_with_its_price(house, plan, key, post, upstream, model):
    """Also of a key that wants the cheapest worker instead: a repair is the same worker's."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["nothing"]}}}
    with house(fugu=ADA, plan=plan(("ada", "answer", []))) as here:
        first = post(here, key("any"), "/v1/estimate", model=model, response_format=form).json()["workers"][0]
        room = first["worst_usd"] + (0.15 if model == "fugu-ultra" else 0.0)  # a step says more than the question
        mine = key("cheap", total_usd=room, on_exceeded="cheapest") | {"X-Fugu-Cost": "1"}
        unfit = post(here, mine, model=model, response_format=form)
    assert (unfit.status_code, len(upstream.seen)) == (422, 1), unfit.text
    if model != "fugu-ultra":
        assert float(unfit.headers["x-fugu-cost"]) == pytest.approx(0.008)
