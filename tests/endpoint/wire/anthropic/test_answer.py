"""Answers as Anthropic's events: what the client library makes of them is what the worker said."""

from __future__ import annotations

import json
from functools import partial

import pytest
from pydantic import TypeAdapter

from deployments.endpoint.answer.result import Calls, Result, Text, Thought
from deployments.endpoint.wire.anthropic.answer import Message
from models.workers.ask import Usage

USAGE = Usage(prompt_tokens=10, completion_tokens=4, cached_tokens=3, cache_creation_tokens=2, reasoning_tokens=1)


@pytest.fixture(scope="module")
def streamed(anthropic):
    """`streamed(deltas, finish, trace)` -> the events, each checked by the package, and the content they add up to."""
    return partial(_streamed, TypeAdapter(anthropic.types.RawMessageStreamEvent))


def call(index, arguments, id=None, name=None):
    begun = {"id": id, "type": "function"} if id else {}
    return {"index": index, **begun, "function": {"arguments": arguments, **({"name": name} if name else {})}}


def _streamed(events_type, deltas, finish="stop", trace=None):
    message = Message("msg_1", "fugu")
    result = Result(None, (), finish, USAGE)
    sent = [message.opening(), *map(message.delta, deltas), *message.closing(result, trace)]
    events = [json.loads(part.partition(b"data: ")[2]) for part in b"".join(sent).split(b"\n\n") if part]
    for event in events:
        events_type.validate_python(event)
    blocks, open_ = [], None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert open_ is None and event["index"] == len(blocks), "one block after the other"
                open_ = event["index"]
                blocks.append({**event["content_block"], "pieces": ""})
            case "content_block_delta":
                assert event["index"] == open_
                kind = event["delta"].pop("type")
                if kind != "signature_delta":
                    (piece,) = event["delta"].values()
                    blocks[-1]["pieces"] += piece
            case "content_block_stop":
                assert event["index"] == open_
                open_ = None
    assert open_ is None
    return events, blocks


def test_thoughts_text_and_calls_are_blocks_in_their_order(streamed):
    deltas = [
        Thought("hm"),
        Thought("m"),
        Text("a"),
        Text("b"),
        Calls((call(0, '{"x":', "c0", "look"),)),
        Calls((call(0, "1}"),)),
    ]
    _, blocks = streamed(deltas, "tool_calls")
    assert [(block["type"], block["pieces"]) for block in blocks] == [
        ("thinking", "hmm"),
        ("text", "ab"),
        ("tool_use", '{"x":1}'),
    ]


def test_calls_that_come_in_turns_are_one_after_the_other(streamed):
    deltas = [
        Calls((call(0, '{"x"', "c0", "look"), call(1, "{", "c1", "see"))),
        Calls((call(1, '"y":2}'),)),
        Text("between"),
        Calls((call(0, ":1}"),)),
        Calls((call(2, "", "c2", "none"),)),
        Calls((call(3, "{}", "c3", "last"),)),
        Calls((call(2, "{}"),)),
    ]
    _, blocks = streamed(deltas, "tool_calls")
    assert [(block["type"], block.get("id"), block["pieces"]) for block in blocks] == [
        ("tool_use", "c0", '{"x":1}'),
        ("tool_use", "c1", '{"y":2}'),
        ("text", None, "between"),
        ("tool_use", "c2", "{}"),
        ("tool_use", "c3", "{}"),
    ]


def test_a_stream_without_a_word_has_no_block(streamed):
    events, blocks = streamed([Text("")])
    assert blocks == [] and [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_the_end_says_why_and_what_was_used(streamed, finish, reason):
    events, _ = streamed([Text("a")], finish, {"worker": "ada"})
    last = events[-2]
    assert last["delta"]["stop_reason"] == reason and last["fugu"] == {"worker": "ada"}
    whole = json.loads(Message("msg_1", "fugu").whole(Result("a", (), finish, USAGE), None))
    assert whole["stop_reason"] == reason and whole["usage"] == last["usage"]
    assert whole["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 3,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 1},
    }


def test_a_stop_is_named_where_the_worker_says_so():
    def ended(at):
        body = json.loads(Message("msg_1", "fugu", ("END",)).whole(Result("a", (), "stop", USAGE, stopped_at=at), None))
        return body["stop_reason"], body["stop_sequence"]

    assert ended("END") == ("stop_sequence", "END") and ended("other") == ended(None) == ("end_turn", None)


def test_a_whole_answer_has_thoughts_text_calls_and_the_tokens_of_the_orchestration(anthropic):
    calls = (call(0, '{"x": 1}', "c0", "look"), call(1, "no JSON", "c1", "see"))
    more = Usage(prompt_tokens=100, completion_tokens=50, cached_tokens=7)
    body = json.loads(Message("msg_1", "fugu").whole(Result("a", calls, "tool_calls", USAGE, more, "hm"), None))
    message = anthropic.types.Message.model_validate(body)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block["input"] for block in body["content"][2:]] == [{"x": 1}, {"INVALID_JSON": "no JSON"}]
    usage = message.usage.model_extra
    assert usage == {
        "orchestration_input_tokens": 100,
        "orchestration_input_cached_tokens": 7,
        "orchestration_output_tokens": 50,
    }
