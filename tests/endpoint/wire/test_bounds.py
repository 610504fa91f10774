"""No part of a request is larger than it may be, and the refusal names the field."""

from __future__ import annotations

import json

import pytest

from deployments.endpoint.bounds import DEPTH, Bounds
from deployments.endpoint.wire.request import ChatRequest
from models.errors import BadInput

SMALL = Bounds(messages=3, fields=20)
ASKED = [{"role": "user", "content": "hello"}]


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def tool(**schema):
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object", **schema}}}


def body(**fields):
    return json.dumps({"model": "fugu", "messages": ASKED, **fields}).encode()


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("messages", {"messages": ASKED * 4}),
        ("messages[1]", {"messages": [*ASKED, {"role": "user", "content": [{"type": "text", "text": "x"}] * 7}]}),
        ("messages[0]", {"messages": [{"role": "assistant", "tool_calls": [{"id": str(n)} for n in range(11)]}]}),
        ("logit_bias", {"logit_bias": {str(token): 1 for token in range(21)}}),
        ("tools", {"tools": [tool(properties={f"p{n}": {"type": "string"} for n in range(9)})]}),
        ("tools", {"tools": [tool(items=nested(DEPTH))]}),
        ("response_format", {"response_format": {"type": "json_schema", "json_schema": list(range(20))}}),
        ("fugu", {"fugu": {"allowed_workers": ["x"] * 21}}),
        ("nonsense", {"nonsense": list(range(21))}),
        ("metadata", {"metadata": {str(n): "x" for n in range(21)}}),
        ("stop", {"stop": ["x"] * 5}),
        ("stop", {"stop": "x" * 4097}),
        ("user", {"user": "x" * 513}),
        ("prompt_cache_key", {"prompt_cache_key": "x" * 513}),
        ("model", {"model": "x" * 513}),
        (None, {"x" * 257: 1}),
    ],
)
def test_what_is_too_large_is_refused_by_its_name(field, fields):
    with pytest.raises(BadInput) as refused:
        ChatRequest.parse(body(**fields), SMALL)
    assert refused.value.field == field and len(str(refused.value)) < 500


def test_what_is_as_large_as_it_may_be_is_taken_and_the_bounds_can_be_raised():
    chat = ChatRequest.parse(body(logit_bias={str(token): 1 for token in range(20)}, messages=ASKED * 3), SMALL)
    assert len(chat.messages) == 3 and len(chat.logit_bias or ()) == 20
    with pytest.raises(BadInput):
        ChatRequest.parse(body(logit_bias={str(token): 1 for token in range(100_000)}))
    assert ChatRequest.parse(body(logit_bias={str(n): 1 for n in range(100_000)}), Bounds(fields=100_000)).logit_bias
    ChatRequest.parse(body(tools=[tool(items=nested(DEPTH - 10))], messages=ASKED * 4096))
