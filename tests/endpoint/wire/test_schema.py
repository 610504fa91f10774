"""Wrong types anywhere in a request are refused by the name of their place, and the published schema says the same."""

from __future__ import annotations

import copy
import json
import typing

import jsonschema
import openai.types.chat as theirs
import pytest
from openai.types.chat.chat_completion_content_part_param import File
from openai.types.chat.chat_completion_custom_tool_param import Custom
from openai.types.shared_params import FunctionDefinition
from openai.types.shared_params.response_format_json_schema import JSONSchema

from deployments.endpoint.app import create_app
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire import messages as ours
from deployments.endpoint.wire import tools
from deployments.endpoint.wire.request import ChatRequest
from models.errors import BadInput
from models.workers.ask import Ask


def document():
    """What is published. Its module imports Anthropic's types, which takes seconds: not while tests are collected."""
    from deployments.endpoint.wire.openapi import document as published

    return published()


ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "sum", "parameters": {"a": [1.5]}, "strict": None},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:", "detail": "low"}}


def said(**message):
    return {"messages": [*HELLO, {"role": "user", "content": "x", **message}]}


def part(**part):
    return said(content=[{"type": "text", "text": "x"}, part])


def called(*calls):
    return {"messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": list(calls)}]}


def function(**function):
    return {"tools": [{"type": "function", "function": {"name": "add", **function}}]}


WRONG = [
    # what differs from a good request, param
    ({"messages": {}}, "messages"),
    ({"messages": ["hello"]}, "messages"),
    ({"messages": [[]]}, "messages"),
    (said(role={}), "messages[1].role"),
    (said(role=None), "messages[1].role"),
    (said(role=[]), "messages[1].role"),
    (said(role=True), "messages[1].role"),
    (said(name={}), "messages[1].name"),
    (said(name=5), "messages[1].name"),
    (said(content=5), "messages[1].content"),
    (said(content={"type": "text"}), "messages[1].content"),
    (said(content=["x"]), "messages[1].content[0]"),
    (said(content=[None]), "messages[1].content[0]"),
    (said(content=[[]]), "messages[1].content[0]"),
    (part(type=[]), "messages[1].content[1].type"),
    (part(type={}), "messages[1].content[1].type"),
    (part(type=None), "messages[1].content[1].type"),
    (part(text="x"), "messages[1].content[1].type"),
    (part(type="video"), "messages[1].content[1].type"),
    (part(type="input_audio"), "messages[1].content[1].input_audio"),
    (part(type="file", file="x"), "messages[1].content[1].file"),
    (part(type="text"), "messages[1].content[1].text"),
    (part(type="text", text=5), "messages[1].content[1].text"),
    (part(type="text", text=None), "messages[1].content[1].text"),
    (part(type="image_url", image_url="x"), "messages[1].content[1].image_url"),
    (part(type="image_url", image_url={}), "messages[1].content[1].image_url.url"),
    (part(type="image_url", image_url={"url": 5}), "messages[1].content[1].image_url.url"),
    (part(type="image_url", image_url={"url": "cat.png"}), "messages[1].content[1].image_url.url"),
    (part(type="image_url", image_url={"url": {}}), "messages[1].content[1].image_url.url"),
    (part(type="image_url", image_url={"url": "data:", "detail": 1}), "messages[1].content[1].image_url.detail"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 5}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": None}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "content": "x", "tool_calls": {}}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "content": "x", "function_call": {}}]}, "messages[0].function_call.name"),
    ({"messages": [{"role": "assistant", "content": "x", "refusal": []}]}, "messages[0].refusal"),
    (called(1, 2), "messages[1].tool_calls[0]"),
    (called(CALL, "x"), "messages[1].tool_calls[1]"),
    (called({**CALL, "id": 5}), "messages[1].tool_calls[0].id"),
    (called({**CALL, "type": "web"}), "messages[1].tool_calls[0].type"),
    (called({**CALL, "type": "custom"}), "messages[1].tool_calls[0].custom"),
    (called({**CALL, "function": "add"}), "messages[1].tool_calls[0].function"),
    (called({**CALL, "function": {"name": "add", "arguments": 5}}), "messages[1].tool_calls[0].function.arguments"),
    (called({**CALL, "function": {"name": None, "arguments": ""}}), "messages[1].tool_calls[0].function.name"),
    ({"tools": {}}, "tools"),
    ({"tools": [5]}, "tools"),
    ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    (function(name=5), "tools[0].function.name"),
    (function(name="a b"), "tools[0].function.name"),
    (function(name=""), "tools[0].function.name"),
    (function(description=[]), "tools[0].function.description"),
    (function(parameters="{}"), "tools[0].function.parameters"),
    (function(strict="yes"), "tools[0].function.strict"),
    ({"tools": [TOOL], "tool_choice": 5}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": 5}}}, "tool_choice.function.name"),
    ({"tools": [TOOL], "parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": {}}}}, "response_format.json_schema.name"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "response_format.json_schema.schema"),
    ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
    ({"logit_bias": [5]}, "logit_bias"),
    ({"stop": [5]}, "stop"),
    ({"stop": {}}, "stop"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"fugu": {"allowed_workers": [5]}}, "fugu.allowed_workers[0]"),
    ({"fugu": []}, "fugu"),
    ({"n": True}, "n"),
    ({"logprobs": 0}, "logprobs"),
    ({"temperature": True}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"user": 5}, "user"),
    ({"model": []}, "model"),
]


def test_wrong_types_anywhere_are_refused_before_anything_is_paid(house, upstream):
    with house(fugu=ECHO) as here:
        for change, param in WRONG:
            body = {"model": "fugu", "messages": HELLO, **change}
            answer = here.raw.post("/v1/chat/completions", json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (change, answer.text)
    assert upstream.seen == []


PART, PARAMETERS = "messages[0].content[0]", "tools[0].function.parameters"
RAW = [
    # a field of a good request as JSON, param
    ('"temperature": 1e999', "temperature"),
    ('"fugu": {"max_usd": 1e999}', "fugu.max_usd"),
    ('"max_tokens": 1e999', "max_tokens"),
    ('"top_p": 1' + "0" * 400, "top_p"),
    ('"tools": [{"type": "function", "function": {"name": "a", "parameters": {"b": [-1e999]}}}]', PARAMETERS),
    ('"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "odd": {"a": 1e999}}]}]', PART + ".odd"),
    ('"temperature": NaN', None),
    ('"temperature": 0x1', None),
    ('"seed": ' + "9" * 5000, None),
    ('"metadata": ' + '{"a":' * 5000 + "1" + "}" * 5000, None),
    ('"metadata": ' + "[" * 100_000, None),
]  # fmt: skip


@pytest.mark.parametrize(("field", "param"), RAW)
def test_texts_and_numbers_that_cannot_be_kept_are_refused_by_name(field, param):
    body = '{"model": "fugu", "messages": [{"role": "user", "content": "x"}], ' + field + "}"
    with pytest.raises(BadInput) as refusal:
        ChatRequest.parse(body.encode("utf-8", "surrogatepass"))
    assert refusal.value.field == param


HALVES = [
    # a message's content as JSON, what the worker gets
    (rb'"a\ud83d b"', "a\ufffd b"),
    (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    (rb'"\ud83d\ude00"', "\N{GRINNING FACE}"),
    (rb'"a\u0000b"', "a\ufffdb"),
    ('"a\ud83d b"'.encode("utf-8", "surrogatepass"), "a\ufffd b"),
]


@pytest.mark.parametrize(("text", "kept"), HALVES)
def test_characters_that_nobody_can_keep_are_replaced(text, kept):
    chat = ChatRequest.parse(b'{"model": "fugu", "messages": [{"role": "user", "content": ' + text + b"}]}")
    assert chat.messages[0]["content"] == kept


def test_what_is_no_utf8_is_no_json():
    for text in (b"\xff", "é".encode("latin-1"), b"\0"):
        with pytest.raises(BadInput, match="not JSON"):
            ChatRequest.parse(b'{"model": "fugu", "messages": [{"role": "user", "content": "' + text + b'"}]}')


def test_what_is_as_long_as_the_body_is_not_said_again(house):
    long = "x" * 10**6
    with house(fugu=ECHO) as here:
        for change in ({long: 1}, {"model": long}, {"fugu": {"allowed_workers": [long]}}, {"logit_bias": {long: "x"}}):
            answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO, **change})
            assert answer.status_code in (400, 404) and len(answer.content) < 2000


RICH = {
    "model": "fugu",
    "messages": [
        {"role": "system", "content": "be brief", "name": None},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, IMAGE]},
        {"role": "assistant", "content": "x", "refusal": None, "annotations": [{"a": 1}], "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "add"}},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"b": 1}, "strict": True}},
    "logit_bias": {"5": 1},
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "fugu": {"allowed_workers": ["echo"], "max_usd": 1, "max_calls": 2, "depth": 1, "recursive": False, "shuffle": 3},
    "temperature": 1,
    "max_tokens": 5,
    "seed": 1.0,
    "n": 1,
    "store": False,
    "logprobs": False,
    "modalities": ["text"],
    "metadata": {"a": "b"},
}
VALUES = [None, True, 0, 1.0, 10**30, "", "x", [], [None], ["x"], {}, {"type": "text"}]


def places(value, steps=()):
    """Every place in a JSON value, as the steps that lead there."""
    yield from [steps] if steps else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in inner:
        yield from places(below, (*steps, step))


def changed(value, steps, new):
    made = copy.deepcopy(value)
    at = made
    for step in steps[:-1]:
        at = at[step]
    at[steps[-1]] = new
    return made


def test_schema_and_validation_agree_on_whatever_stands_in_any_place():
    schemas = document()["components"]["schemas"]
    published = {"$ref": "#/components/schemas/ChatRequest", "components": {"schemas": schemas}}
    schema = jsonschema.Draft202012Validator(published)
    assert schema.is_valid(RICH) and ChatRequest.parse(json.dumps(RICH).encode())
    tried = {True: 0, False: 0}
    for steps in places(RICH):
        for value in VALUES:
            body = changed(RICH, steps, value)
            valid = schema.is_valid(body)
            tried[valid] += 1
            try:
                chat = ChatRequest.parse(json.dumps(body).encode())
            except BadInput as error:
                # What the schema does not say is what fields ask of each other.
                assert not valid or steps[0] in ("tools", "stream", "max_tokens"), (steps, value, error)
                assert valid or str(error.field).startswith(str(steps[0])), (steps, value, error)
            else:
                assert valid, (steps, value)
                ask = Ask(scope="x", worker="x", revision="", messages=tuple(chat.messages), sampling=chat.sampling())
                assert ask.identity and json.dumps(ask.payload(), allow_nan=False)
    assert tried[True] > 100 and tried[False] > 500


OPENAI = [
    # ours, the client library's, what only we take
    (ours.Said, theirs.ChatCompletionUserMessageParam, set()),
    (ours.Said, theirs.ChatCompletionSystemMessageParam, set()),
    (ours.Answered, theirs.ChatCompletionAssistantMessageParam, set()),
    (ours.Returned, theirs.ChatCompletionFunctionMessageParam, set()),
    (ours.Result, theirs.ChatCompletionToolMessageParam, {"name"}),
    (ours.TextPart, theirs.ChatCompletionContentPartTextParam, set()),
    (ours.ImagePart, theirs.ChatCompletionContentPartImageParam, set()),
    (ours.AudioPart, theirs.ChatCompletionContentPartInputAudioParam, set()),
    (ours.FilePart, File, set()),
    (ours.FunctionCall, theirs.ChatCompletionMessageFunctionToolCallParam, set()),
    (ours.CustomCall, theirs.ChatCompletionMessageCustomToolCallParam, set()),
    (tools.FunctionTool, theirs.ChatCompletionFunctionToolParam, set()),
    (tools.CustomTool, theirs.ChatCompletionCustomToolParam, set()),
    (tools.DefinedFunction, FunctionDefinition, set()),
    (tools.DefinedCustom, Custom, set()),
    (ours.JsonSchema, JSONSchema, set()),
    (tools.AllowedTools, theirs.ChatCompletionAllowedToolChoiceParam, set()),
    (tools.ChosenFunction, theirs.ChatCompletionNamedToolChoiceParam, set()),
    (tools.ChosenCustom, theirs.ChatCompletionNamedToolChoiceCustomParam, set()),
]


@pytest.mark.parametrize(("mine", "its", "more"), OPENAI)
def test_shapes_have_the_fields_of_the_client_library(mine, its, more):
    def required(hints):
        return {name for name, hint in hints.items() if typing.get_origin(hint) is typing.Required}

    known, own = typing.get_type_hints(its, include_extras=True), typing.get_type_hints(mine, include_extras=True)
    assert set(own) - set(known) == more and required(known) <= set(own)


def test_every_route_is_documented_and_every_schema_is_one(ledger, pool):
    door = create_app(Parts(ledger, pool, None, None))
    served = {(route.path_format, min(route.methods).lower()) for route in door.app.app.app.routes}
    told = document()
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == served
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_answers_are_what_the_schema_says_also_in_events(house, plan, upstream):
    schemas = document()["components"]["schemas"]

    def check(name, body):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        jsonschema.validate(body, schema, jsonschema.Draft202012Validator)

    with house(fugu=ECHO, plan=plan(("echo", "say it", []))) as here:
        for model, more in (("fugu", {}), ("fugu", {"tools": [TOOL]}), ("fugu-ultra", {})):
            body = {"model": model, "messages": HELLO, **more}
            check("ChatCompletion", here.raw.post("/v1/chat/completions", json=body).json())
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            lines = here.raw.post("/v1/chat/completions", json=body).text.splitlines()
            *events, last = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            assert last == "[DONE]" and len(events) > 3
            for event in events:
                check("ChatCompletionChunk", json.loads(event))


def test_what_is_served_is_told_to_who_asks_for_something_else(house):
    with house() as here:
        assert here.raw.get("/openapi.json").json() == json.loads(json.dumps(document()))
        for path in ("/v1/embeddings", "/v1/chat/completions/", "/v2", "/docs", "/v1/%00", "/v1/models/"):
            answer = here.raw.post(path, json={})
            assert answer.status_code == 404 and "POST /v1/chat/completions" in answer.json()["error"]["message"], path
        for method, path, allowed in (("GET", "/v1/chat/completions", "POST"), ("DELETE", "/livez", "GET, HEAD")):
            answer = here.raw.request(method, path)
            assert answer.status_code == 405 and answer.json()["error"]["code"] == "method_not_allowed"
            assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allowed
        assert here.raw.head("/livez").status_code == 200 and here.raw.get("/livez?a[]=%00&b").status_code == 200


def test_headers_that_are_wrong_are_refused_by_name(house, upstream):
    with house(fugu=ECHO) as here:
        for headers, status, param in (
            ({"Idempotency-Key": "a" * 256}, 400, "Idempotency-Key"),
            ({"Idempotency-Key": ""}, 400, "Idempotency-Key"),
            ({"X-Fugu-Workers": ","}, 400, "X-Fugu-Workers"),
            ({"X-Fugu-Workers": "nobody"}, 400, "fugu.allowed_workers"),
            ({"Content-Type": "text/json"}, 415, None),
            ({"Content-Type": "application/json; charset=utf-8", "X-Fugu-Trace": "what"}, 200, None),
        ):
            answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO}, headers=headers)
            assert answer.status_code == status, (headers, answer.text)
            assert status == 200 or answer.json()["error"]["param"] == param
    assert len(upstream.seen) == 1
