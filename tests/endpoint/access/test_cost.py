"""Every key may ask what its own answers cost and how long they took; who answered stays for the scope `trace`."""

from __future__ import annotations

import json
import re

import pytest

from models.ledger.requests import get_request

ADA = {"kind": "worker", "worker": "ada"}
PRICED = {"X-Fugu-Cost": "1"}
FORMS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"prompt": "hello"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9},
    "/v1/responses": {"input": "hello"},
}


@pytest.mark.parametrize("path", FORMS)
def test_cost_and_time_are_in_the_headers_and_in_the_body_for_whoever_asks(house, key, upstream, plan, path):
    with house(fugu=ADA, plan=plan(("ada", "answer", []))) as here:
        mine = key()
        for model in ("fugu", "trinity", "fugu-ultra"):
            answer = here.raw.post(path, json={"model": model, **FORMS[path]}, headers=mine | PRICED)
            assert answer.status_code == 200, answer.text
            cost = float(answer.headers["x-fugu-cost"])
            assert cost == pytest.approx(11e-6) and re.fullmatch(r"total;dur=\d+\.\d", answer.headers["server-timing"])
            told = answer.json()["fugu"]
            assert set(told) == {"cost_usd", "seconds"} and told["cost_usd"] == pytest.approx(cost)
            assert "x-fugu-worker" not in answer.headers
            plain = here.raw.post(path, json={"model": model, **FORMS[path]}, headers=mine)
            assert "fugu" not in plain.json() and {"x-fugu-cost", "server-timing"}.isdisjoint(plain.headers)


@pytest.mark.parametrize("path", FORMS)
def test_a_stream_tells_its_cost_at_its_end_and_the_time_to_its_first_byte(house, key, upstream, path):
    with house(fugu=ADA) as here:
        body = {"model": "fugu", "stream": True, **FORMS[path]}
        answer = here.raw.post(path, json=body, headers=key() | PRICED)
    assert answer.headers["server-timing"].startswith("first;dur=")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    told = [found for event in events for found in (event.get("fugu"), event.get("response", {}).get("fugu")) if found]
    assert len(told) == 1 and told[0]["cost_usd"] == pytest.approx(11e-6) and set(told[0]) == {"cost_usd", "seconds"}


def test_a_trace_has_the_headers_too_and_an_error_says_what_was_paid(house, key, post, upstream, ledger, plan):
    with house(fugu=ADA, plan=plan(("ada", "say it", []))) as here:
        traced = post(here, key(scopes=("chat", "trace")) | {"X-Fugu-Trace": "1"})
        assert traced.headers["x-fugu-worker"] == "ada" and traced.headers["server-timing"].startswith("total;dur=")
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["nothing"]}}}
        other = key("other") | PRICED
        for model in ("fugu", "fugu-ultra"):
            unfit = post(here, other, model=model, response_format=form)
            assert unfit.status_code == 422 and float(unfit.headers["x-fugu-cost"]) == pytest.approx(22e-6), model
    row = get_request(ledger, unfit.headers["x-request-id"])
    assert (row["status"], row["calls"], row["cost_usd"]) == ("failed", 2, pytest.approx(22e-6))
