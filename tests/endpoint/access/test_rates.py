"""Rates of a key hold over all processes that share the ledger, and cost a transaction only now and then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import openai
import pytest

from models.ledger.store import Ledger

ADA = {"kind": "worker", "worker": "ada"}
SILENT = {"kind": "worker", "worker": "silent"}


@pytest.fixture(autouse=True)
def minute(monkeypatch):
    """The ledger's clock stands still, ten seconds into a minute: no test crosses one."""
    now = datetime.now(UTC).replace(second=10, microsecond=0)
    monkeypatch.setattr(Ledger, "now", lambda self, connection: now)


def test_requests_in_a_minute_are_those_of_all_processes(house, key, post, upstream):
    with house(fugu=ADA) as one, house(fugu=ADA) as two:
        mine = key(requests_per_minute=10)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: post((one, two)[number % 2], mine), range(24)))
        assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 14
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded" and "10 requests" in refused.text
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        named = {name: refused.headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")}
        assert (named["limit"], named["remaining"], named["reset"][-1]) == ("10", "0", "s")
        left = min(int(a.headers["x-ratelimit-remaining-requests"]) for a in answers if a.status_code == 200)
        assert left == 0
        client = openai.OpenAI(**{**one.base, "api_key": mine["Authorization"].removeprefix("Bearer ")})
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="fugu", messages=[{"role": "user", "content": "x"}])
        assert one.raw.get("/v1/models", headers=mine).status_code == 200  # reading is no request of a model


def test_tokens_are_those_that_were_used(house, key, post, upstream, until):
    with house(fugu=ADA) as here:
        mine = key(tokens_per_minute=60)  # an answer uses 8; its body, some 80 bytes, is taken for 20 before
        statuses = [post(here, mine).status_code for _ in range(8)]
        assert statuses == [200] * 6 + [429] * 2
        refused = post(here, mine)
        assert refused.headers["x-ratelimit-limit-tokens"] == "60" and "60 tokens" in refused.text


def test_requests_at_once_are_given_back(house, key, post, upstream, until):
    with house(fugu=SILENT) as one, house(fugu=SILENT) as two, ThreadPoolExecutor(8) as pool:
        mine = key(in_flight=3)
        first = [pool.submit(post, here, mine) for here in (one, two, one)]
        until(lambda: len(upstream.seen) == 3)
        refused = [post(here, mine) for here in (one, two)]
        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].headers["Retry-After"] == "1" and "at once (3)" in refused[0].text
        upstream.released.set()
        assert {answer.result().status_code for answer in first} == {200}
        assert post(one, mine).status_code == 200
