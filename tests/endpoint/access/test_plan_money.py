"""A plan that its key's budgets cannot pay to its end is not begun: one step is asked in its stead."""

from __future__ import annotations

import pytest

from models.workers.pool import Limits, Price

ADA = {"kind": "worker", "worker": "ada"}


@pytest.fixture
def pool(pool):
    """A step that sees nothing costs 0.008 USD, and at most about 0.3."""
    price, limits = Price(input_per_million=1000.0, output_per_million=1000.0), Limits(max_output_tokens=100)
    more = {"price": price, "limits": limits}
    workers = [worker.model_copy(update=more) for worker in pool.workers if worker.name in ("ada", "bob", "cy")]
    return pool.model_copy(update={"workers": tuple(workers)})


def test_a_plan_that_does_not_fit_a_keys_budget_as_a_whole_is_not_begun(house, key, plan, post, upstream):
    steps = plan(("ada", "first", []), ("bob", "second", []), ("cy", "third", [0, 1]))
    with house(fugu=ADA, plan=steps) as here:
        poor, rich = ({"day_usd": usd, "scopes": ("chat", "trace")} for usd in (0.6, 6.0))
        keys = key("poor", **poor), key("rich", **rich), key("cheapest", on_exceeded="cheapest", **poor)
        for mine, count in zip(keys, (1, 3, 3), strict=True):
            upstream.forget()
            answer = post(here, mine | {"X-Fugu-Trace": "1"}, model="fugu-ultra")
            assert answer.status_code == 200 and len(upstream.seen) == count, answer.text
            assert len(answer.json()["fugu"]["rounds"][0]["steps"]) == count
