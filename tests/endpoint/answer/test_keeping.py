"""A conversation stays with its worker, unless the router clearly prefers another one; the trace says so."""

from __future__ import annotations

import pytest

TRACE = {"X-Fugu-Trace": "1"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def say(here, *texts, **fields):
    """Who answers a conversation of these turns, and whether it was kept."""
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    body = {"model": "fugu", "messages": messages, **fields}
    found = here.raw.post("/v1/chat/completions", json=body, headers=TRACE).json()["fugu"]
    return found["worker"], found["steps"][0]["kept"]


@pytest.fixture
def moody(router):
    """A router that prefers `echo` first and `count` from then on, by 1.0."""
    served, _ = router([("echo", None), ("count", None)], roles=False)
    return served


def test_the_worker_of_the_last_turn_goes_on_where_the_margin_is_not_clear(house, upstream, moody):
    with house(**moody, keep_margin=1.0) as here:
        assert say(here, "hi") == ("echo", False)
        assert say(here, "hi", "one two three", "and then?") == ("echo", True)
        assert say(here, "something else", "said by others", "and then?") == ("count", False)


def test_a_clear_margin_changes_the_worker(house, upstream, moody):
    with house(**moody, keep_margin=0.5) as here:
        assert say(here, "hi") == ("echo", False)
        assert say(here, "hi", "one two three", "and then?") == ("count", False)


@pytest.mark.parametrize("name", ["fugu", "prompt_cache_key", "X-Session-Id"])
def test_whoever_names_the_conversation_is_known_by_that_name(house, upstream, moody, name):
    named = {"fugu": {"conversation": "mine"}} if name == "fugu" else {"prompt_cache_key": "mine"}
    with house(**moody) as here:
        if name == "X-Session-Id":
            here.raw.headers[name], named = "mine", {}
        assert say(here, "hi", **named) == ("echo", False)
        assert say(here, "shortened", "by the client", "and then?", **named) == ("echo", True)


def test_a_kept_worker_that_may_not_be_asked_is_not_kept(house, upstream, moody):
    with house(**moody) as here:
        assert say(here, "hi") == ("echo", False)
        only = {"fugu": {"allowed_workers": ["count", "stall"]}}
        assert say(here, "hi", "one two three", "and then?", **only) == ("count", False)


def test_where_one_worker_serves_a_conversation_stays_with_whoever_took_it_over(house, upstream):
    with house(fugu={"kind": "worker", "worker": "e500"}) as here:
        only = {"fugu": {"allowed_workers": ["e500", "bob", "cy"]}}
        assert say(here, "hi", **only) == ("bob", False)
        first = len(upstream.seen)
        assert say(here, "hi", "bob: hi", "and then?", **only) == ("bob", True)
        assert [body["model"] for body in upstream.seen[first:]] == ["bob"]


def test_in_the_middle_of_tool_calls_the_same_worker_goes_on(house, upstream, moody):
    with house(**moody) as here:
        hi = [{"role": "user", "content": "hi"}]
        first = here.client.chat.completions.create(model="fugu", messages=hi, tools=[TOOL], extra_headers=TRACE)
        [call] = first.choices[0].message.tool_calls
        history = [*hi, first.choices[0].message.model_dump(exclude_none=True)]
        result = {"role": "tool", "tool_call_id": call.id, "content": "found"}
        again = here.client.chat.completions.create(
            model="fugu", messages=[*history, result], tools=[TOOL], extra_headers=TRACE
        )
    assert first.fugu["worker"] == again.fugu["worker"] == "echo" and again.fugu["steps"][0]["kept"]
