"""The anthropic package against a real endpoint with a real upstream: whole, streamed, tools, counting, errors."""

from __future__ import annotations

import anthropic
import pytest

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
ADD = {
    "name": "add",
    "description": "sum",
    "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
}


@pytest.fixture
def claude(house):
    """An endpoint, and the client on it."""
    with house(fugu=ECHO) as here, anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_is_a_message_with_exact_usage(claude, upstream):
    message = claude.messages.create(model="fugu", max_tokens=50, messages=HELLO, system="be short")
    assert [block.text for block in message.content] == ["one two three"]
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "fugu")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 3)
    assert message.id.startswith("msg_") and message._request_id == message.id
    (seen,) = upstream.seen
    assert seen["messages"] == [{"role": "system", "content": "be short"}, *HELLO] and seen["max_tokens"] == 50


def test_a_stream_is_the_same_message(claude):
    with claude.messages.stream(model="fugu[1m]", max_tokens=50, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert [block.text for block in message.content] == ["one two three"]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 5, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_comes_back(claude, upstream, stream):
    asked = {"model": "fugu", "max_tokens": 50, "tools": [ADD]}
    if stream:
        with claude.messages.stream(messages=HELLO, **asked) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(messages=HELLO, **asked)
    (call,) = message.content
    assert (call.type, call.name, call.input, message.stop_reason) == ("tool_use", "add", {"x": 1}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "2"}]}
    told = [*HELLO, message.to_param(), {"role": "user", "content": [result]}]
    claude.messages.create(messages=told, **asked)
    _, called, answered = upstream.seen[-1]["messages"]
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x": 1}'}
    assert answered == {"role": "tool", "tool_call_id": call.id, "content": "2"}
