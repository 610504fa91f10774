"""Where a worker fails before its first token, the next best one that can do it answers, and the trace names both."""

from __future__ import annotations

import time

import openai
import pytest

from models.fugu.roles import Role
from models.ledger.providers.breakers import open_breaker, open_breakers
from models.workers import breakers

HELLO = [{"role": "user", "content": "hello"}]
TRACE = {"X-Fugu-Trace": "1"}


def only(worker):
    return {"kind": "worker", "worker": worker}


def post(here, failing, then="ada", **fields):
    body = {"model": "fugu", "messages": HELLO, "fugu": {"allowed_workers": [failing, then]}, **fields}
    return here.raw.post("/v1/chat/completions", json=body, headers=TRACE)


@pytest.mark.parametrize("failing", ["e500", "e401", "e429", "late"])
def test_the_next_worker_answers_a_whole_request(house, upstream, failing):
    with house(fugu=only(failing)) as here:
        found = post(here, failing).json()
    assert found["choices"][0]["message"]["content"] == "ada: hello"
    assert [step["worker"] for step in found["fugu"]["steps"]] == [failing, "ada"]
    assert found["fugu"]["steps"][0]["error"] and found["fugu"]["steps"][1]["error"] is None
    assert found["fugu"]["worker"] == "ada" and found["fugu"]["turns"] == 1


@pytest.mark.parametrize("model", ["fugu", "trinity"])
def test_the_routers_next_best_answers_a_stream(house, router, upstream, model):
    served, _ = router([("e429", None)], roles=False)
    with house(**served) as here:
        chunks = here.client.chat.completions.create(model=model, messages=HELLO, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "one two three" and [body["model"] for body in upstream.seen] == ["e429", "echo"]


def test_after_the_first_token_no_other_worker_is_asked(house, upstream):
    with house(fugu=only("cut")) as here, pytest.raises(openai.APIError):
        list(here.client.chat.completions.create(model="fugu", messages=HELLO, stream=True))
    assert [body["model"] for body in upstream.seen] == ["cut"]


def test_a_refused_request_is_told_once_and_a_caller_may_forbid_others(house, upstream):
    with house(fugu=only("e400")) as here:
        refused = post(here, "e400")
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "upstream_refused"
        forbidden = post(here, "e500", fugu={"allowed_workers": ["e500", "ada"], "failover": False})
        assert forbidden.status_code == 502
    assert [body["model"] for body in upstream.seen] == ["e400", "e500"]


def test_a_worker_whose_breaker_is_open_is_left_out_and_with_none_left_the_client_is_told_when(house, upstream, ledger):
    with house(fugu=only("e401")) as here:
        assert post(here, "e401").status_code == 200
        found = post(here, "e401").json()
        assert [step["worker"] for step in found["fugu"]["steps"]] == ["ada"]
        assert found["fugu"]["not_asked"] == ["e401"]
        alone = post(here, "e401", fugu={"allowed_workers": ["e401"]})
    assert alone.status_code == 503 and alone.headers["retry-after"] == "60"
    assert alone.json()["error"]["code"] == "no_worker"
    assert [body["model"] for body in upstream.seen] == ["e401", "ada", "ada"]
    assert [(row.worker, row.until) for row in open_breakers(ledger)] == [("e401", None)]


@pytest.fixture
def seen_at_once(monkeypatch):
    """What another process opens is read by the next request."""
    monkeypatch.setattr(breakers, "REFRESH_S", 0.0)


def test_with_all_workers_open_for_a_short_time_the_first_that_closes_is_waited_for(
    house, upstream, ledger, seen_at_once
):
    with house(fugu=only("ada")) as here:
        for worker, seconds in (("ada", 0.6), ("bob", 60.0)):
            open_breaker(ledger, worker, "", "it failed", seconds)
        began = time.monotonic()
        found = post(here, "ada", then="bob").json()
    assert found["fugu"]["worker"] == "ada" and time.monotonic() - began >= 0.4
    assert [body["model"] for body in upstream.seen] == ["ada"] and [row.worker for row in open_breakers(ledger)] == [
        "bob"
    ]


def test_nobody_waits_for_them_beyond_the_deadline_nor_for_long_ones(house, upstream, ledger, seen_at_once):
    with house(fugu=only("ada")) as here:
        for worker, seconds in (("ada", 5.0), ("bob", 60.0)):
            open_breaker(ledger, worker, "", "it failed", seconds)
        late = post(here, "ada", then="bob", fugu={"allowed_workers": ["ada", "bob"], "max_seconds": 0.3})
        assert late.status_code == 504 and late.json()["error"]["code"] == "max_seconds_reached"
        told = post(here, "bob", fugu={"allowed_workers": ["bob"]})
    assert told.status_code == 503 and 40 < int(told.headers["retry-after"]) <= 60
    assert upstream.seen == []


def test_in_trinity_another_worker_verifies_where_the_verifiers_worker_fails(house, router, upstream):
    upstream.scripts["You are the VERIFIER"] = "ACCEPT"
    served, _ = router([("echo", Role.SOLVER), ("e429", Role.VERIFIER)])
    with house(**served) as here:
        body = {"model": "trinity", "messages": HELLO, "fugu": {"allowed_workers": ["echo", "e429", "count"]}}
        found = here.raw.post("/v1/chat/completions", json=body, headers=TRACE).json()
    steps = [(step["role"], step["worker"], step["error"] is None) for step in found["fugu"]["steps"]]
    assert steps == [("SOLVER", "echo", True), ("VERIFIER", "e429", False), ("VERIFIER", "echo", True)]
    assert found["choices"][0]["message"]["content"] == "one two three" and found["fugu"]["accepted"]


@pytest.mark.parametrize("stream", [False, True])
def test_one_deadline_ends_a_request_whatever_it_waits_for(house, upstream, stream):
    with house(fugu=only("silent")) as here:
        fields = {"fugu": {"allowed_workers": ["silent", "ada"], "max_seconds": 0.5}, "stream": stream}
        late = post(here, "silent", **fields)
    assert late.status_code == 504 and late.json()["error"]["code"] == "max_seconds_reached"
    assert upstream.gone.wait(10) and [body["model"] for body in upstream.seen] == ["silent"]
