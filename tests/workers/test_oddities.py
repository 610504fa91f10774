"""Replies in forms that upstreams are known for, whole and streamed, through the dispatcher and the ledger."""

import json

import pytest
from sqlalchemy import select

from models.errors import (
    RateLimited,
    UpstreamBroken,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamUnavailable,
)
from models.ledger.accounts import maybe_paid, spend
from models.ledger.tables import calls
from models.workers.ask import Usage

COUNTED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
PLAIN = Usage(prompt_tokens=10, completion_tokens=5)
LONG = "word " * 500
DONE = "[DONE]"


def choice(message, finish="stop", usage=COUNTED, **more):
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}
    return body if usage is None else body | {"usage": usage}


def chunk(delta, finish=None, **more):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def tool(arguments="{}", **more):
    return {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": arguments}} | more


THOUGHT = {"content": "7", "reasoning_content": "let me think " * 500}
PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "The answer is 7."},
]
READ = {
    "parts": (choice({"content": PARTS}), "The answer is 7.", "stop"),
    "parts of text": (choice({"content": ["a", {"type": "output_text", "text": "b"}]}), "ab", "stop"),
    "no content": (choice({"content": None}), None, "stop"),
    "a refusal": (choice({"content": None, "refusal": "no"}), "no", "stop"),
    "no reason": (choice({"content": "ok"}, None), "ok", "stop"),
    "end_turn": (choice({"content": "ok"}, "end_turn"), "ok", "stop"),
    "STOP": (choice({"content": "ok"}, "STOP"), "ok", "stop"),
    "eos": (choice({"content": "ok"}, "eos"), "ok", "stop"),
    "max_tokens": (choice({"content": "ok"}, "max_tokens"), "ok", "length"),
    "content_filter": (choice({"content": "ok"}, "content_filter"), "ok", "content_filter"),
    "NUL": (choice({"content": "a\0b"}), "a\ufffdb", "stop"),
    "half a pair": (choice({"content": "x\ud83d y"}), "x\ufffd y", "stop"),
    "a null error": (choice({"content": "ok"}, error=None), "ok", "stop"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", READ)
async def test_a_readable_reply_is_read(meet, odd, ledger, name, streaming):
    answer, text, finish = READ[name]
    reply = await meet(answer, streaming)
    assert (reply.text, reply.finish_reason, reply.usage, reply.tool_calls) == (text, finish, PLAIN, ())
    assert odd.asked["odd"] == 1 and spend(ledger)["usd"] == pytest.approx(reply.cost_usd)


EMPTY = [tool(arguments) for arguments in ("", None, "{}", {})]
CALLS = {
    **{f"arguments {call['function']['arguments']!r}": ([call], [("call_1", "{}")]) for call in EMPTY},
    "arguments as an object": ([tool({"a": 1})], [("call_1", '{"a": 1}')]),
    "no id": ([tool(id=None)], [(None, "{}")]),
    "one id twice": ([tool('{"a": 1}'), tool('{"b": 2}')], [("call_1", '{"a": 1}'), (None, '{"b": 2}')]),
    "equal indices": ([tool("{}", index=0), tool("{}", index=0, id="call_2")], [("call_1", "{}"), ("call_2", "{}")]),
    "half a pair": ([tool('{"a": "\ud83d\0"}')], [("call_1", '{"a": "\ufffd\ufffd"}')]),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize("name", CALLS)
async def test_tool_calls_are_told_apart_and_have_ids_and_arguments_that_are_json(meet, name, finish, streaming):
    given, wanted = CALLS[name]
    reply = await meet(choice({"content": None, "tool_calls": given}, finish), streaming)
    assert (reply.text, reply.finish_reason) == (None, "tool_calls")
    assert [call["function"] for call in reply.tool_calls] == [{"name": "now", "arguments": a} for _, a in wanted]
    ids = [call["id"] for call in reply.tool_calls]
    assert all(ids) and len(set(ids)) == len(ids)
    assert all(got == id for got, (id, _) in zip(ids, wanted, strict=True) if id is not None)


A, B = '{"a": 1}', '{"b": 2}'
END = [chunk({}, "tool_calls"), {"choices": [], "usage": COUNTED}, DONE]
FRAGMENTS = {
    "one index for both": [[tool(A, index=0)], [tool(B, index=0, id="call_2")]],
    "no index": [[tool(A)], [tool(B, id="call_2")]],
    "in pieces": [
        [tool("", index=0)],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 0, "function": {"arguments": ": 1}"}}],
        [tool(B, index=1, id="call_2")],
    ],
    "pieces in turn, ids again": [
        [tool('{"a"', index=0), tool('{"b"', index=0, id="call_2")],
        [tool(": 1}", index=0), tool(": 2}", index=0, id="call_2")],
    ],
    "the id late": [
        [{"index": 0, "function": {"name": "now", "arguments": '{"a"'}}],
        [{"index": 0, "id": "call_1", "function": {"arguments": ": 1}"}}],
        [tool(B, index=1, id="call_2")],
    ],
    "neither id nor index": [[tool(A, id=None)], [tool(B, id=None)]],
}


@pytest.mark.parametrize("name", FRAGMENTS)
async def test_streamed_calls_have_indices_0_and_1_whatever_the_upstream_numbers_them(meet, name):
    reply = await meet([*(chunk({"tool_calls": calls}) for calls in FRAGMENTS[name]), *END], True)
    assert [call["function"]["arguments"] for call in reply.tool_calls] == [A, B]
    if name not in ("neither id nor index", "the id late"):
        assert [call["id"] for call in reply.tool_calls] == ["call_1", "call_2"]


HELLO = chunk({"role": "assistant", "content": "hello"})
LAST = [{"choices": [], "usage": COUNTED}, DONE]
STREAMS = {
    "half a pair in each of two chunks": (
        [chunk({"content": "hi \ud83d"}), chunk({"content": "\ude00 bye"}), chunk({}, "stop"), *LAST],
        "hi \U0001f600 bye",
    ),
    "half a pair at the end": ([chunk({"content": "hi \ud83d"}), chunk({}, "stop"), *LAST], "hi \ufffd"),
    "no choices first": ([{"choices": [], "prompt_filter_results": [{}]}, HELLO, chunk({}, "stop"), *LAST], "hello"),
    "a null delta": ([HELLO, chunk(None), chunk({}, "stop"), *LAST], "hello"),
    "two ends": ([HELLO, chunk({}, "stop"), chunk({}, "stop"), *LAST], "hello"),
    "text after the end": ([HELLO, chunk({}, "stop"), chunk({"content": " world"}), *LAST], "hello world"),
    "text with the end": ([HELLO, chunk({"content": " world"}, "stop"), *LAST], "hello world"),
    "usage with the end": ([HELLO, chunk({}, "stop", usage=COUNTED), DONE], "hello"),
    "usage in every chunk": (
        [HELLO | {"usage": {"prompt_tokens": 10}}, chunk({}, "stop", usage=COUNTED), DONE],
        "hello",
    ),
    "no [DONE]": ([HELLO, chunk({}, "stop", usage=COUNTED)], "hello"),
    "thoughts": ([chunk({"reasoning_content": "hm " * 9}), HELLO, chunk({}, "stop"), *LAST], "hello"),
    "no stream": (json.dumps(choice({"content": "hello"})).encode(), "hello"),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_in_an_odd_order_is_read(meet, odd, name):
    events, text = STREAMS[name]
    reply = await meet(events, True)
    assert (reply.text, reply.finish_reason, reply.usage) == (text, "stop", PLAIN) and odd.asked["odd"] == 1


def hi(**usage):
    return choice({"content": "hi"}, usage=usage)


def counted(**usage):
    return hi(**(COUNTED | usage))


DIGITS = b'{"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 10, "completion_tokens": %s}}'
CALL = {"tool_calls": [tool(json.dumps({"t": LONG}))]}
HIDDEN = {"completion_tokens_details": {"reasoning_tokens": 300}}
OUR_PROMPT, OUR_HI = (4, 20), (1, 3)
USAGE = {
    "none": (choice({"content": LONG}, usage=None), OUR_PROMPT, (400, 700), True),
    "none, thoughts": (choice(THOUGHT, usage=None), OUR_PROMPT, (1200, 2000), True),
    "none, a call": (choice(CALL, usage=None), OUR_PROMPT, (400, 800), True),
    "no object": (choice({"content": "hi"}, usage=[1, 2]), OUR_PROMPT, OUR_HI, True),
    "null": (counted(prompt_tokens=None, total_tokens=None), OUR_PROMPT, 5, True),
    "zero": (choice({"content": LONG}, usage=COUNTED | {"completion_tokens": 0}), 10, (400, 700), True),
    "negative": (hi(prompt_tokens=-10, completion_tokens=-5, total_tokens=-15), OUR_PROMPT, OUR_HI, True),
    "fractions": (hi(prompt_tokens=10.5, completion_tokens=5.5), OUR_PROMPT, OUR_HI, True),
    "text": (hi(prompt_tokens="10", completion_tokens="5"), OUR_PROMPT, OUR_HI, True),
    "true": (hi(prompt_tokens=10, completion_tokens=True), 10, OUR_HI, True),
    "whole floats": (hi(prompt_tokens=10.0, completion_tokens=5.0), 10, 5, False),
    "hidden thoughts": (counted(total_tokens=2015), 10, 2005, False),
    "thoughts apart": (counted(**HIDDEN), 10, 305, False),
    "too many": (counted(completion_tokens=10**30), 10, 4096, True),
    "too great a total": (counted(total_tokens=10**30), 10, 5, True),
    "a prompt too long": (counted(prompt_tokens=10**30), (1, 40_000), 5, True),
    "a number of 5,000 digits": (DIGITS % (b"9" * 5000), 10, 4096, True),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", USAGE)
async def test_usage_is_the_upstreams_where_it_can_be_and_else_estimated_and_marked(meet, odd, name, streaming):
    answer, prompt, completion, estimated = USAGE[name]
    usage = (await meet(answer, streaming)).usage
    for got, wanted in ((usage.prompt_tokens, prompt), (usage.completion_tokens, completion)):
        assert wanted[0] <= got <= wanted[1] if isinstance(wanted, tuple) else got == wanted
    assert usage.estimated is estimated and usage.reasoning_tokens <= usage.completion_tokens
    assert odd.asked["odd"] == 1


HALF = chunk({"role": "assistant", "content": "half "})
ONCE = {
    "HTML": ("<html><body>login please</body></html>", UpstreamMalformed),
    "nothing": ("", UpstreamMalformed),
    "no JSON object": ([1, 2], UpstreamMalformed),
    "null choices": (json.dumps({"choices": None, "usage": COUNTED}).encode(), UpstreamMalformed),
    "no choices": (json.dumps({"choices": [], "usage": COUNTED}).encode(), UpstreamMalformed),
    "a call without a name": (choice({"tool_calls": [{"id": "x", "function": {}}]}), UpstreamMalformed),
    "deep": (b'{"choices": ' + b"[" * 100_000, UpstreamMalformed),
    "error": (choice({"content": "half an ans"}, "error"), UpstreamBroken),
    "abort": (choice({"content": "half an ans"}, "abort"), UpstreamBroken),
    "a reason that is none": (choice({"content": "half an ans"}, {"why": 1}), UpstreamBroken),
    "an error amid": ([HALF, chunk({"content": ""}, "error", error={"code": 502, "message": "gone"})], UpstreamBroken),
    "an error alone amid": ([HALF, {"error": {"message": "overloaded", "type": "overloaded_error"}}], UpstreamBroken),
    "an error of a client amid": ([HALF, {"error": {"code": 429, "message": "busy"}}], UpstreamBroken),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ONCE)
async def test_a_reply_that_is_no_answer_fails_once_and_counts_as_maybe_paid(meet, odd, ledger, name, streaming):
    answer, error = ONCE[name]
    if isinstance(answer, list) and not streaming:
        answer, error = "data: not asked for", UpstreamMalformed
    with pytest.raises(error, match="worker 'w'"):
        await meet(answer, streaming)
    assert odd.asked["odd"] == 1 and len(maybe_paid(ledger)) == 1


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("body", [b"<html>login please</html>", b"", b"[1, 2]"])
async def test_what_is_no_stream_fails_once(meet, odd, kind, body):
    odd.kind = kind
    with pytest.raises(UpstreamMalformed):
        await meet(body, True)
    assert odd.asked["odd"] == 1


async def test_a_reply_that_is_not_encoded_as_it_says_fails_once(meet, odd):
    odd.headers = "content-encoding: gzip\r\n"
    with pytest.raises(UpstreamMalformed, match="encoded"):
        await meet(choice({"content": "hi"}))
    assert odd.asked["odd"] == 1


async def test_a_stream_that_breaks_off_within_an_event_was_cut(meet, odd):
    odd.kind = "text/event-stream"
    with pytest.raises(UpstreamUnavailable, match="cut"):
        await meet(f"data: {json.dumps(HALF)}\n\ndata: {json.dumps(HALF)[:20]}".encode(), True)
    reply = await meet(f"data: {json.dumps(chunk({}, 'stop'))}\r\n\r\ndata: [DONE]".encode(), True, scope="t")
    assert (reply.text, reply.finish_reason) == (None, "stop")


TOLD = {
    "429": ({"error": {"message": "free-models-per-day", "code": 429}, "user_id": "x"}, RateLimited, 3),
    "429 in words": ({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, RateLimited, 3),
    "503": ({"error": {"message": "overloaded", "type": "overloaded_error"}}, UpstreamUnavailable, 3),
    "400": ({"error": {"message": "too long", "code": "400"}}, UpstreamRefused, 1),
    "a text": ({"error": "a fault\0"}, UpstreamUnavailable, 3),
    "vLLM's": ({"object": "error", "message": "too long", "code": 400}, UpstreamRefused, 1),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", TOLD)
async def test_an_error_in_place_of_a_reply_is_one_whatever_the_status_line_says(meet, odd, ledger, name, streaming):
    answer, error, asked = TOLD[name]
    with pytest.raises(error) as caught:
        await meet(answer, streaming)
    assert odd.asked["odd"] == asked and maybe_paid(ledger) == [] and "\0" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("text", ["bad \ud83d value", "bad \0 value"])
async def test_an_errors_text_can_be_stored(meet, odd, ledger, status, text):
    odd.status = status
    with pytest.raises((UpstreamRefused, UpstreamUnavailable), match="bad \ufffd value"):
        await meet({"error": {"message": text}})
    with ledger.transaction() as connection:
        assert "bad \ufffd value" in connection.execute(select(calls.c.error)).scalar_one()
