"""What goes wrong upstream: the status before the first byte, an error object after it, and a row either way."""

from __future__ import annotations

import json

import openai
import pytest
from request_rows import recent_requests

from deployments.endpoint.logs import JsonLines
from models.ledger.accounts import spend
from models.ledger.requests import get_request

HELLO = [{"role": "user", "content": "hello"}]


def only(worker):
    return {"kind": "worker", "worker": worker}


CASES = [
    ("e429", 429, "rate_limit_exceeded"),
    ("e500", 502, "upstream_error"),
    ("e400", 400, "upstream_refused"),
    ("e401", 502, "upstream_error"),
    ("late", 504, "upstream_timeout"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_worker_that_fails_before_its_first_token_gives_the_request_its_status(house, upstream, stream, ledger):
    with house(fugu=only("echo")) as here:
        for name, status, code in CASES:
            body = {"model": "fugu", "messages": HELLO, "stream": stream, "fugu": {"allowed_workers": [name]}}
            answer = here.raw.post("/v1/chat/completions", json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (status, code)
            assert name not in answer.text and "secret" not in answer.text
            assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert sorted(row["status"] for row in recent_requests(ledger)) == sorted(status for _, status, _ in CASES)


def test_the_details_of_a_failure_are_told_on_demand(house, upstream):
    body = {"model": "fugu", "messages": HELLO, "fugu": {"allowed_workers": ["e400"]}}
    with house(fugu=only("echo")) as here:
        answer = here.raw.post("/v1/chat/completions", json=body, headers={"X-Fugu-Trace": "1"})
    assert "secret of e400" in answer.json()["error"]["message"]


def test_a_stream_that_breaks_says_so_in_the_stream_and_in_the_ledger(house, upstream, ledger):
    with house(fugu=only("cut")) as here:
        chunks = here.client.chat.completions.create(model="fugu", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as broken:
            heard = [chunk.choices[0].delta.content for chunk in chunks]
            raise AssertionError(heard)
    assert broken.value.code == "upstream_error"
    row = recent_requests(ledger)[0]
    assert row["status"] == 502 and row["steps"][0]["worker"] == "cut"
    assert spend(ledger)["maybe_paid"] == 1


def test_an_unforeseen_error_is_a_500_without_its_message(house, router):
    served, made = router([("echo", None)])
    with house(**served) as here:
        made.decide = None  # what a fault of ours looks like
        answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO})
    assert answer.status_code == 500 and answer.json()["error"]["message"] == "internal error"


def test_nothing_promoted_is_not_ready(house):
    with house() as here:
        ready = here.raw.get("/readyz")
        answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO})
        assert here.raw.get("/livez").status_code == 200
    assert ready.status_code == 503 and ready.json()["champions"] is False and ready.json()["ledger"] is True
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_a_ledger_that_is_gone_is_not_ready(house, ledger):
    with house(fugu=only("echo")) as here:
        with ledger.transaction() as connection:
            connection.exec_driver_sql("DROP TABLE promotions")
        assert here.raw.get("/readyz").status_code == 503


def test_logs_hold_one_line_per_request_and_no_prompt(house, upstream, caplog, ledger):
    caplog.set_level("INFO", logger="deployments.endpoint")
    with house(fugu=only("echo")) as here:
        answer = here.client.chat.completions.create(model="fugu", messages=[{"role": "user", "content": "canary"}])
    lines = [JsonLines().format(record) for record in caplog.records]
    assert sum(json.loads(line).get("id") == answer.id for line in lines) == 1
    assert "canary" not in str(lines) and "one two three" not in str(lines)
    assert "canary" not in str(get_request(ledger, answer.id))
