"""`fugu.cost_weight`: one knob per request between the router's own choice and the cheapest worker."""

from __future__ import annotations

import pytest

from models.fugu.roles import Role

TRACED = {"X-Fugu-Trace": "1"}
KNOB = {"usd": [2.0, 0.5] + [0.9] * 6, "per_usd": [0.0, 0.5, 1.0], "points": {"quality": 0, "thrifty": 0.9}}
SOLVES = [("echo", Role.SOLVER), ("echo", Role.VERIFIER)]


def body(weight, model="fugu", **own):
    own |= {} if weight is None else {"cost_weight": weight}
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "fugu": own}


@pytest.mark.parametrize("model", ["fugu", "trinity"])
@pytest.mark.parametrize(
    ("weight", "worker"),
    [
        (None, "echo"),
        (0, "echo"),
        (0.6, "echo"),
        (0.8, "count"),
        (1, "count"),
        ("quality", "echo"),
        ("thrifty", "count"),
    ],
)
def test_a_setting_moves_the_choice_towards_the_cheapest(house, router, model, weight, worker):
    served, _ = router(SOLVES, cost=KNOB)
    with house(**served) as here:
        answer = here.raw.post("/v1/chat/completions", json=body(weight, model), headers=TRACED)
        assert (answer.status_code, answer.headers["x-fugu-worker"]) == (200, worker), answer.text
        told = here.raw.post("/v1/estimate", json=body(weight, model)).json()
        assert told["worker"] == worker and told["workers"][0]["worker"] == worker


def test_only_those_that_may_be_asked_are_weighed(house, router):
    served, _ = router(SOLVES, cost=KNOB)
    with house(**served) as here:
        asked = body(1.0, allowed_workers=["echo", "calc"])
        assert here.raw.post("/v1/chat/completions", json=asked, headers=TRACED).headers["x-fugu-worker"] == "calc"


def test_a_conversation_stays_where_it_was_unless_another_is_clearly_cheaper(house, router):
    served, _ = router(SOLVES, cost=KNOB)
    talk = {"messages": [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]}
    with house(**served, keep_margin=0.3) as here:
        for weight, worker in ((None, "echo"), (0.75, "echo"), (1.0, "count"), (0.75, "count")):
            asked = body(weight) | (talk if weight else {})
            answer = here.raw.post("/v1/chat/completions", json=asked, headers=TRACED)
            assert answer.headers["x-fugu-worker"] == worker, weight


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ("cheap", "there is no operating point 'cheap'; there are: quality, thrifty"),
        (1.5, "at most 1"),
        (-0.1, "at least 0"),
        ([], "number"),
    ],
)
def test_what_is_no_setting_is_named(house, router, weight, said):
    served, _ = router(SOLVES, cost=KNOB)
    with house(**served) as here:
        for path in ("/v1/chat/completions", "/v1/estimate"):
            answer = here.raw.post(path, json=body(weight))
            assert answer.status_code == 400 and answer.json()["error"]["param"] == "fugu.cost_weight", answer.text
            assert said in answer.json()["error"]["message"]


def test_where_nothing_can_be_weighed_the_trace_says_so_and_a_plan_refuses(house, router, plan):
    worker = {"fugu": {"kind": "worker", "worker": "echo"}}
    for served, why in ((worker, "one worker answers everything"), (router(SOLVES)[0], "has learned no costs")):
        with house(**served, plan=plan(("echo", "say it", []))) as here:
            answer = here.raw.post("/v1/chat/completions", json=body(0.5), headers=TRACED)
            assert answer.status_code == 200 and why in " ".join(answer.json()["fugu"]["notes"])
            refused = here.raw.post("/v1/chat/completions", json=body(0.5, "fugu-ultra")).json()["error"]
            assert refused["param"] == "fugu.cost_weight" and "fugu.max_usd" in refused["message"]
