"""`POST /v1/estimate` says who would answer and what that would cost, asks nobody, and is right."""

from __future__ import annotations

from models.fugu.roles import Role
from models.ledger.accounts import spend


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
