"""A request of several calls is begun only where its key's budgets can pay all of them, whatever others spend then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.fugu.roles import Role
from models.ledger.budgets import remaining
from models.workers.pool import Limits, Price

ADA = {"kind": "worker", "worker": "ada"}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["nothing"]}}}


@pytest.fixture
def pool(pool):
    """A call costs 0.008 USD; one that sees nothing else at most about 0.3."""
    price, limits = Price(input_per_million=1000.0, output_per_million=1000.0), Limits(max_output_tokens=100)
    more = {"price": price, "limits": limits}
    names = ("ada", "bob", "cy", "echo", "silent")
    return pool.model_copy(
        update={"workers": tuple(worker.model_copy(update=more) for worker in pool.workers if worker.name in names)}
    )


def left(ledger, mine):
    found = remaining(ledger, f"key:{mine['Authorization'].split('-')[1]}")
    return found["spent"], found["reserved"]


def worst(here, mine, post, **fields):
    return post(here, mine, "/v1/estimate", **fields).json()["cost_usd"]["worst"]


def test_workflows_at_once_are_each_paid_to_their_end_or_not_begun(house, key, plan, post, upstream, ledger):
    steps = plan(("ada", "first", []), ("bob", "second", [0]), ("cy", "third", [0, 1]))
    with house(fugu=ADA, plan=steps) as here:
        mine = key(day_usd=3.0, total_usd=50.0)
        with ThreadPoolExecutor(8) as pool:
            ultra = [pool.submit(post, here, mine, model="fugu-ultra", seed=number) for number in range(12)]
            fugu = [pool.submit(post, here, mine, seed=number) for number in range(100, 160)]
            ultra, fugu = ([one.result() for one in some] for some in (ultra, fugu))
    paid = sum(answer.status_code == 200 for answer in ultra)
    assert {answer.status_code for answer in (*ultra, *fugu)} <= {200, 402}
    calls = len(
        [body for body in upstream.seen if "first" in str(body) or "second" in str(body) or "third" in str(body)]
    )
    assert calls == 3 * paid and paid > 0  # nobody's steps were paid for nothing
    spent, reserved = left(ledger, mine)
    assert reserved == 0.0 and spent == pytest.approx(0.008 * len(upstream.seen)) and spent <= 3.0


@pytest.mark.parametrize("limit", ["total_usd", "month_usd", "day_usd"])
@pytest.mark.parametrize("fields", [{"model": "trinity"}, {"response_format": FORM}], ids=["trinity", "repair"])
def test_turns_and_repairs_are_refused_before_anything_is_paid(
    house, router, key, post, upstream, ledger, limit, fields
):
    served, _ = router([("echo", Role.THINKER), ("echo", Role.SOLVER), ("echo", Role.VERIFIER)])
    with house(**served) as here:
        most = worst(here, key("any"), post, **fields)
        refused = post(here, key("tight", **{limit: 0.99 * most}), **fields)
        assert refused.status_code == 402 and "the key 'tight'" in refused.text, refused.text
        assert "a request all of whose calls may cost" in refused.text and upstream.seen == []
        enough = key("enough", **{limit: most, "total_usd": most})
        assert post(here, enough, **fields).status_code != 402 and len(upstream.seen) > 1
        assert left(ledger, enough) == (pytest.approx(0.008 * len(upstream.seen)), 0.0)


def test_a_request_that_sets_its_own_limit_holds_no_more(house, router, key, post, upstream, ledger):
    served, _ = router([("echo", Role.SOLVER), ("echo", Role.VERIFIER)])
    with house(**served) as here:
        most = worst(here, key("any"), post, model="trinity")
        mine = key(total_usd=0.5 * most)
        assert post(here, mine, model="trinity").status_code == 402 and upstream.seen == []
        assert post(here, mine, model="trinity", fugu={"max_usd": 0.5 * most}).status_code == 200
    assert left(ledger, mine) == (pytest.approx(0.008 * len(upstream.seen)), 0.0)


@pytest.mark.parametrize("model", ["trinity", "fugu-ultra"])
def test_what_a_request_holds_comes_back_when_it_fails(house, router, key, plan, post, upstream, ledger, until, model):
    upstream.failing |= {"fail"}
    served, _ = router([("echo", Role.SOLVER), ("echo", Role.VERIFIER)])
    mine = key(total_usd=50.0)
    with house(**served, plan=plan(("echo", "fail", []), ("echo", "then", [0]))) as here:
        failing = [{"role": "user", "content": "fail"}]
        answer = post(here, mine, model=model, messages=failing, fugu={"failover": False})
        assert answer.status_code >= 500
        until(lambda: left(ledger, mine) == (0.0, 0.0))


def test_what_a_request_holds_comes_back_when_its_client_goes(house, router, key, upstream, ledger, until):
    served, _ = router([("silent", Role.SOLVER)])
    mine = key(total_usd=50.0)
    with house(**served) as here:
        body = {"model": "trinity", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        with here.raw.stream("POST", "/v1/chat/completions", json=body, headers=mine):
            assert upstream.arrived.wait(20) and left(ledger, mine)[1] > 1.0
        until(lambda: 0 < left(ledger, mine)[0] < 0.5 and left(ledger, mine)[1] == 0.0)  # one call may have been paid
