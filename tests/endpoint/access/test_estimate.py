"""`POST /v1/estimate` says who would answer and what that would cost, asks nobody, and is right."""

from __future__ import annotations

import pytest

from models.fugu.roles import Role
from models.ledger import registry
from models.ledger.accounts import spend

ADA = {"kind": "worker", "worker": "ada"}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def estimate(post, here, headers=None, **fields):
    answer = post(here, headers, "/v1/estimate", **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_estimate_of_a_routers_choice(house, router, post, upstream, ledger):
    serve, _ = router([("count", Role.SOLVER)])
    with house(**serve) as here:
        found = estimate(post, here)
        assert (found["object"], found["worker"], found["margin"], found["role"]) == ("estimate", "count", 0.5, None)
        assert {one["worker"] for one in found["workers"]} >= {"count", "echo"}
        assert estimate(post, here, model="trinity")["role"] == "SOLVER"
        only = estimate(post, here, fugu={"allowed_workers": ["echo"]})
        assert [one["worker"] for one in only["workers"]] == [only["worker"]] == ["echo"]
        assert upstream.seen == [] and spend(ledger)["calls"] == 0
        assert post(here).status_code == 200
        paid = spend(ledger)["usd"]
        assert 0 < found["cost_usd"]["min"] <= paid + 1e-4 and paid <= found["cost_usd"]["worst"]
        assert post(here, None, "/v1/estimate", model="x").status_code == 404
        assert post(here, None, "/v1/estimate", fugu={"depth": 1}).status_code == 400


def test_the_estimate_knows_the_key(house, key, plan, post, upstream):
    with house(fugu={"kind": "worker", "worker": "ada"}, plan=plan(("ada", "first", []))) as here:
        mine = key(workers=("bob", "cy"), max_usd=0.25, day_usd=2.0, total_usd=3.0)
        worst = []
        for model in ("fugu", "trinity", "fugu-ultra"):
            found = estimate(post, here, mine, model=model)
            assert found["worker"] in ("bob", "cy") and found["limits"]["max_usd"] == 0.25
            assert {one["worker"] for one in found["workers"]} == {"bob", "cy"}
            left = [{"budget": "total", "limit_usd": 3.0, "left_usd": 3.0}]
            assert found["budgets"] == [*left, {"budget": "day", "limit_usd": 2.0, "left_usd": 2.0}]
            worst.append(found["cost_usd"]["worst"])
        assert 0 < worst[0] < worst[1] < worst[2] == 0.25
        assert post(here, None, "/v1/estimate").status_code == 401 and upstream.seen == []


def test_every_name_that_may_be_asked_may_be_estimated(house, plan, post, upstream, ledger):
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "bob"}, "before")
    old = registry.champion(ledger, "fugu").digest[:12]
    aliases = (("claude-*", "fugu"), ("old", f"fugu@{old}"), ("deep", "fugu-ultra"))
    with house(fugu=ADA, plan=plan(("ada", "first", [])), aliases=aliases) as here:
        named = {"claude-3": "fugu", "old": f"fugu@{old}", "deep": "fugu-ultra", f"fugu@{old}": f"fugu@{old}"}
        for name, model in named.items():
            found = estimate(post, here, model=name)
            assert found["model"] == model and found["worker"] == ("bob" if old in model else "ada")
        for model in ("fugu@000000000000", "fugu-ultra@000000000000", "gpt"):
            assert post(here, None, "/v1/estimate", model=model).json() == post(here, model=model).json()
        assert post(here, None, "/v1/estimate", model="gpt").status_code == 404


def test_what_the_request_is_refused_for_it_is_refused_for_here(house, key, plan, post, upstream):
    with house(fugu=ADA, plan=plan(("ada", "first", []))) as here:
        mine = key()
        for model in ("fugu", "trinity", "fugu-ultra"):
            for more in (
                {"n": 2},
                {"logprobs": True},
                {"tools": [LOOK]},
                {"fugu": {"depth": 1}},
                {"fugu": {"shuffle": 1}},
                {"fugu": {"recursive": True, "depth": 0}},
                {"fugu": {"show_work": True}},
                {"fugu": {"allowed_workers": ["nobody"]}},
                {"messages": [{"role": "tool", "tool_call_id": "x", "content": [{"type": "image_url"}]}]},
            ):
                told = post(here, mine, "/v1/estimate", model=model, **more)
                asked = post(here, mine, model=model, **more)
                assert told.status_code == asked.status_code, (model, more, told.text, asked.text)
                if told.status_code != 200:
                    assert told.json() == asked.json()


def test_choices_and_repairs_are_in_the_worst_case(house, plan, post, upstream):
    with house(fugu=ADA, plan=plan(("ada", "first", []))) as here:
        only = {"allowed_workers": ["ada"]}

        def cost(model="fugu", **more):
            return estimate(post, here, model=model, fugu=only, **more)["cost_usd"]

        one, four = cost(), cost(n=4)
        assert four["worst"] == pytest.approx(4 * one["worst"], rel=0.01) and four["min"] == 4 * one["min"]
        for model in ("fugu", "trinity", "fugu-ultra"):
            plain, formed = cost(model), cost(model, response_format={"type": "json_object"})
            assert formed["worst"] > plain["worst"] + one["worst"]
            assert plain["with_failures"] >= plain["worst"] > 0


def test_with_failures_counts_who_takes_over_and_no_more_calls_than_the_request_may_make(house, post, upstream):
    with house(fugu=ADA) as here:
        both = {"allowed_workers": ["ada", "bob"]}
        cost = estimate(post, here, fugu=both)["cost_usd"]
        assert cost["with_failures"] == pytest.approx(2 * cost["worst"])
        for own in ({"failover": False}, {"max_calls": 1}):
            cost = estimate(post, here, fugu=both | own)["cost_usd"]
            assert cost["with_failures"] == cost["worst"]
