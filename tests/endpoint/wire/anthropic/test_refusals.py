"""What is refused before or beside an answer has Anthropic's shape for its clients, with the id that its header has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.datastructures import Headers

from deployments.endpoint.access.ring import Keyring
from deployments.endpoint.connections import _Crowded
from models.errors import LedgerAway

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
VERSION = {"anthropic-version": "2023-06-01"}
PATHS = ("/v1/messages", "/v1/messages/count_tokens")


def ask(here, headers=None, path="/v1/messages", **fields):
    body = {"model": "fugu", "max_tokens": 5, "messages": HELLO, **fields}
    return here.raw.post(path, json=body, headers=headers or {})


def is_refused(answer, status, kind):
    body = answer.json()
    assert (answer.status_code, body["type"], body["error"]["type"]) == (status, "error", kind), answer.text
    assert body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    return True


@pytest.fixture
def key(ledger):
    from models.ledger.access.keys import make_key
    from models.ledger.access.policy import Policy

    def make(name, **policy):
        return {"x-api-key": make_key(ledger, name, Policy(**policy))[1]}

    return make


def test_a_wrong_host_or_origin(house, upstream):
    with house(fugu=ECHO) as here:
        for wrong in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            for path in PATHS:
                assert is_refused(ask(here, wrong, path), 403, "permission_error")
            assert is_refused(here.raw.get("/v1/models", headers=wrong | VERSION), 403, "permission_error")
            other = here.raw.post("/v1/chat/completions", json={}, headers=wrong | VERSION)
            assert other.status_code == 403 and other.json()["error"]["code"].startswith("wrong_")


def test_a_key_that_is_none_that_may_not_or_that_has_spent_all(house, key, upstream):
    with house(fugu=ECHO) as here:
        none, poor, brisk = key("none", scopes=("trace",)), key("poor", total_usd=0.0), key("r", requests_per_minute=1)
        for path in PATHS:
            assert is_refused(ask(here, None, path), 401, "authentication_error")
            assert is_refused(ask(here, none, path), 403, "permission_error")
        assert is_refused(here.raw.get("/v1/models", headers=VERSION), 401, "authentication_error")
        assert is_refused(here.raw.get("/v1/models/fugu", headers=VERSION | none), 403, "permission_error")
        assert is_refused(ask(here, poor), 402, "billing_error")
        answers = [ask(here, brisk) for _ in range(3)]  # the minute may end once meanwhile
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert is_refused(refused, 429, "rate_limit_error") and refused.headers["Retry-After"]
    assert all(body["model"] == "echo" for body in upstream.seen)


def test_keys_that_cannot_be_read(house, upstream, monkeypatch):
    with house(fugu=ECHO) as here:

        async def away(self, headers: Headers, *, reads: bool):
            raise LedgerAway("the keys cannot be read")

        monkeypatch.setattr(Keyring, "caller", away)
        for path in PATHS:
            refused = ask(here, None, path)
            assert is_refused(refused, 529, "overloaded_error") and refused.headers["Retry-After"]
        assert here.raw.post("/v1/chat/completions", json={}).status_code == 503


def test_a_body_that_is_too_large_and_a_request_too_many(house, upstream):
    stalling = {"kind": "worker", "worker": "silent"}
    with house(fugu=stalling, max_requests=1, max_body_bytes=1000) as here, ThreadPoolExecutor() as pool:
        assert is_refused(ask(here, system="x" * 2000), 413, "request_too_large")
        first = pool.submit(ask, here)
        assert upstream.arrived.wait(10)
        assert is_refused(ask(here), 529, "overloaded_error")
        upstream.released.set()
        assert first.result().status_code == 200


def test_more_connections_than_are_answered(serving):
    import httpx

    with serving(_Crowded(None)) as url, httpx.Client(base_url=url) as client:
        assert is_refused(client.post("/v1/messages", json={}), 529, "overloaded_error")
        assert client.post("/v1/chat/completions", json={}).json()["error"]["code"] == "not_ready"


def test_a_path_or_a_method_that_there_is_not(house):
    with house(fugu=ECHO) as here:
        assert is_refused(here.raw.get("/v1/messages"), 405, "invalid_request_error")
        assert is_refused(here.raw.post("/v1/messages/batches", json={}), 404, "not_found_error")
        assert is_refused(here.raw.get("/v1/models/gpt", headers=VERSION), 404, "not_found_error")
