"""What a pool says of a worker reaches its provider: parameters, headers, keys; a request's own values win."""

from __future__ import annotations

import pytest

from models.errors import UpstreamTimeout
from models.workers.ask import Ask, Sampling
from models.workers.client import Client
from models.workers.pool import Pool, Timeouts, Worker


def ask(**sampling):
    message = {"role": "user", "content": "hi"}
    return Ask(scope="s", worker="w", revision="1", messages=(message,), sampling=Sampling(**sampling))


@pytest.fixture
async def client(upstream):
    made = []

    def make(model="openai/m", **fields):
        worker = Worker(name="w", model=model, api_base=upstream.url, price={}, **fields)
        made.append(Client(Pool(name="p", workers=(worker,))))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "deepseek/m"])  # directly, and through litellm
async def test_params_are_sent_unless_the_request_has_its_own(client, upstream, model):
    one = client(model, params={"temperature": 0.2, "top_k": 5, "extra_body": {"mode": "calm"}})
    await one.complete(ask())
    await one.complete(ask(temperature=0.9))
    first, second = upstream.seen
    assert (first["temperature"], second["temperature"]) == (0.2, 0.9)
    assert first["top_k"] == second["top_k"] == 5 and first["mode"] == second["mode"] == "calm"


async def test_each_call_has_its_own_seed_and_a_workers_own_wins(client, upstream):
    one, fixed = client(), client(params={"extra_body": {"seed": 3}})
    for seed in (7, 8):
        await one.complete(ask(seed=seed))
        await fixed.complete(ask(seed=seed))
    await one.complete(ask())
    assert [body.get("seed") for body in upstream.seen] == [7, 3, 8, 3, None]


async def test_a_parameter_that_litellm_does_not_know_is_sent_as_it_is(client, upstream):
    thinking = {"type": "enabled", "budget_tokens": 9}
    await client(params={"thinking": thinking, "reasoning_effort": "low"}).complete(ask())
    [sent] = upstream.seen
    assert sent["thinking"] == thinking and sent["reasoning_effort"] == "low"


@pytest.mark.parametrize("model", ["openai/m", "deepseek/m"])
async def test_headers_are_sent_with_the_values_of_their_variables(client, upstream, monkeypatch, model):
    monkeypatch.setenv("TEAM", "night")
    await client(model, headers={"x-team": "${TEAM}"}).complete(ask())
    assert upstream.heads[0]["x-team"] == "night"


@pytest.mark.parametrize(
    ("fault", "times", "says"),
    [("hang", Timeouts(between_tokens_s=0.05), "no more came"), ("hang", Timeouts(total_s=0.05), "no reply within")],
)
async def test_each_wait_for_a_stream_has_its_limit(client, upstream, fault, times, says):
    upstream.script = [fault]
    with pytest.raises(UpstreamTimeout, match=says):
        async for _ in client(timeouts=times).stream(ask()):
            pass
