"""What a worker may not know is left out for it (marks for a cache, `top_k`, an effort) and kept for who knows it."""

from __future__ import annotations

import pytest

from models.errors import UpstreamRefused
from models.workers.ask import Ask, Sampling
from models.workers.client import Client
from models.workers.fitting.fit import fitted
from models.workers.fitting.taking import most_stops
from models.workers.pool import Abilities, Pool, Worker
from models.workers.usage import usage_of

MARK = {"type": "ephemeral"}
SYSTEM = [{"type": "text", "text": "a", "cache_control": MARK}, {"type": "text", "text": "b"}]
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}, "cache_control": MARK}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}, "cache_control": MARK}
MARKED = (
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": SYSTEM},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "seen", "cache_control": MARK}]},
)


def ask(messages=MARKED, **sampling):
    return Ask(scope="s", worker="w", revision="1", messages=messages, sampling=Sampling(**sampling))


async def sent(model, upstream, **sampling):
    client = Client(Pool(name="p", workers=(Worker(name="w", model=model, api_base=upstream.url, price={}),)))
    upstream.script = ["400"]  # the request is all that matters
    with pytest.raises(UpstreamRefused):
        await client.complete(ask(tools=(TOOL,), **sampling))
    await client.close()
    return upstream.seen[-1]


@pytest.mark.parametrize("model", ["openai/m", "deepseek/m"])  # directly, and through litellm
async def test_marks_are_not_sent_to_others(upstream, model):
    body = await sent(model, upstream)
    assert "cache_control" not in str(body)
    system, user, assistant, tool = body["messages"]
    assert (system["content"], tool["content"]) == ("a\nb", "seen") and "a" in str(user["content"])
    assert assistant["tool_calls"][0]["function"] == CALL["function"]


async def test_marks_reach_anthropics_workers(upstream):
    body = await sent("anthropic/claude-sonnet-4-5", upstream, top_k=5)
    system, (user, assistant, result), (tool,) = body["system"], body["messages"], body["tools"]
    assert [part.get("cache_control") for part in system] == [MARK, None]
    assert [part.get("cache_control") for part in user["content"]] == [MARK, None]
    assert assistant["content"][-1]["cache_control"] == MARK and tool["cache_control"] == MARK
    assert "cache_control" in str(result) and body["top_k"] == 5


@pytest.mark.parametrize(
    ("model", "reasoning", "effort", "found"),
    [
        ("hosted_vllm/m", None, "xhigh", {"top_k": 5, "reasoning_effort": "xhigh"}),
        ("openai/m", False, "high", {}),
        ("openai/gpt-5", None, "xhigh", {"reasoning_effort": "high"}),
        ("openai/gpt-4o", None, "high", {}),
    ],
)
async def test_wishes_go_to_those_who_take_them(model, reasoning, effort, found):
    worker = Worker(name="w", model=model, abilities=Abilities(reasoning=reasoning))
    fields = (await fitted(worker, ask(top_k=5, reasoning_effort=effort))).sampling.fields()
    assert fields == found


def test_openai_itself_takes_four_stops():
    assert most_stops(Worker(name="w", model="openai/gpt-5")) == 4
    assert most_stops(Worker(name="w", model="openai/m", api_base="http://127.0.0.1:1/v1")) > 100


def test_what_a_provider_wrote_into_its_cache_is_counted():
    details = {"cached_tokens": 3, "cache_creation_tokens": 4}
    counted = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": details}
    usage = usage_of(counted, Worker(name="w", model="openai/m"), ask(({"role": "user", "content": "x" * 20},)), "y")
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_creation_tokens) == (10, 3, 4)
