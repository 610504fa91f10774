"""A client that goes away takes its upstream call with it, whole or streamed, before and after the first byte."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from request_rows import recent_requests

from models.fugu.roles import Role
from models.ledger.accounts import spend

HELLO = [{"role": "user", "content": "hello"}]


def only(worker):
    return {"kind": "worker", "worker": worker}


def leaves(here, upstream, body):
    """Send a request, and hang up once it has reached the upstream."""
    content = json.dumps({"messages": HELLO, **body})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(here.url).port)) as line:
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n{content}".encode())
        assert upstream.arrived.wait(10)


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_before_the_first_byte_cancels_the_call(house, upstream, ledger, stream):
    with house(fugu=only("silent")) as here:
        leaves(here, upstream, {"model": "fugu", "stream": stream})
        assert upstream.gone.wait(10)
    assert upstream.left == {"silent": 1}
    assert recent_requests(ledger)[0]["status"] == 499 and spend(ledger)["maybe_paid"] == 1


def test_leaving_in_the_middle_of_a_stream_cancels_the_call(house, upstream, ledger):
    body = {"model": "fugu", "messages": HELLO, "stream": True}
    with house(fugu=only("stall")) as here:
        with here.raw.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert any("one" in line for line in answer.iter_lines() if line)
        assert upstream.gone.wait(10)
    row = recent_requests(ledger)[0]
    assert upstream.left == {"stall": 1} and row["status"] == 499 and row["steps"][0]["worker"] == "stall"


def test_leaving_among_heartbeats_cancels_the_loop(house, upstream, ledger, router):
    served, _ = router([("echo", Role.SOLVER), ("silent", Role.VERIFIER)])
    body = {"model": "trinity", "messages": HELLO, "stream": True}
    with house(**served, heartbeat_s=0.02) as here:
        with here.raw.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": working"
            while len(upstream.seen) < 2:  # until the VERIFIER, who stays silent, was asked
                assert next(lines) in (": working", "")
        assert upstream.gone.wait(10)
    row = recent_requests(ledger)[0]
    assert row["status"] == 499 and [step["role"] for step in row["steps"]] == ["SOLVER", "VERIFIER"]
    assert row["completion_tokens"] == 3  # the turn that was paid is accounted for


def test_those_who_stay_are_not_disturbed(house, upstream):
    with house(fugu=only("echo")) as here:
        leaves(here, upstream, {"model": "fugu", "fugu": {"allowed_workers": ["silent"]}})
        answer = here.client.chat.completions.create(model="fugu", messages=HELLO)
    assert answer.choices[0].message.content == "one two three"


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_a_workflow_cancels_what_its_steps_have_under_way(house, upstream, ledger, plan, stream):
    text = plan(("silent", "first", []), ("cy", "second", "all"))
    with house(fugu=only("ada"), plan=text, heartbeat_s=0.02) as here:
        leaves(here, upstream, {"model": "fugu-ultra", "stream": stream})
        assert upstream.gone.wait(10)
    row = recent_requests(ledger)[0]
    assert (row["status"], row["http"]) == ("failed", 499) and spend(ledger)["maybe_paid"] == 1
    assert [body["model"] for body in upstream.seen] == ["silent"]
