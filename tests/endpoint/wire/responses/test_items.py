"""Items and messages: what a client sends is read as a chat, and what an answer says is written as items."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from deployments.endpoint.answer.result import Calls, Result, Text, Thought
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.chat import ChatCompletions, taken_by
from deployments.endpoint.wire.responses.draft import Draft
from deployments.endpoint.wire.responses.items import Reading
from deployments.endpoint.wire.responses.output import response_of
from deployments.endpoint.wire.responses.question import Reader
from deployments.endpoint.wire.responses.tools import Tools
from models.errors import BadInput
from models.workers.ask import Usage

EVENT = TypeAdapter(ResponseStreamEvent)
ASKED = {"model": "fugu", "metadata": {}, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}


def read(*items):
    reading = Reading()
    reading.read(items)
    return reading.messages


def call(id, kind="function_call", **more):
    return {"type": kind, "call_id": id, "name": "f", "arguments": "{}", **more}


def told(id, output="x"):
    return {"type": "function_call_output", "call_id": id, "output": output}


def events_in(stream: bytes):
    lines = [line for line in stream.decode().splitlines() if line.startswith("data: ")]
    found = [EVENT.validate_json(line.removeprefix("data: "), strict=True) for line in lines]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


def test_shown_work_is_a_reasoning_item_with_summary_deltas():
    draft = Draft(ASKED, Tools(), sealed=True)
    pieces = [draft.begin("resp_ab", 1)]
    first = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    deltas = (Thought("plan: "), Thought("ask"), Text("a"), Text("b"), Thought("more"), Text("c"))
    pieces += map(draft.add, deltas)
    pieces += [draft.add(Calls(({"index": 0, **first},))), draft.add(Calls(({"index": 1, **first, "id": "c2"},)))]
    pieces += [draft.add(Calls(({"index": n, "function": {"arguments": ": 1}"}},))) for n in (0, 1)]
    usage = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=3)
    orchestration = Usage(prompt_tokens=100, completion_tokens=10, cached_tokens=5)
    pieces += [draft.finish(Result("abc", (), "tool_calls", usage, orchestration), True, 2), draft.last()]
    events = events_in(b"".join(pieces))
    output = events[-1].response.output
    assert [item.type for item in output] == ["reasoning", "message", "reasoning", "message", *["function_call"] * 2]
    assert output[0].summary[0].text == "plan: ask" and output[0].encrypted_content
    assert [item.arguments for item in output[4:]] == ['{"a": 1}', '{"a": 1}']
    assert [response_of(item.id) for item in output] == [("resp_ab", place) for place in range(6)]
    counted = events[-1].response.usage
    assert (counted.input_tokens, counted.output_tokens, counted.total_tokens) == (9, 4, 123)
    assert counted.input_tokens_details.to_dict() == {
        "cache_write_tokens": 0,
        "cached_tokens": 2,
        "orchestration_input_tokens": 100,
        "orchestration_input_cached_tokens": 5,
    }
    assert counted.output_tokens_details.to_dict() == {"reasoning_tokens": 3, "orchestration_output_tokens": 10}
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert sorted(done, key=lambda item: response_of(item.id)) == output
    assert response_of("msg_of_another") is None and response_of("resp_ab_0") is None


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [("stop", "completed", None), ("length", "incomplete", "max_output_tokens")],
)
def test_an_answer_that_is_whole_or_empty_has_the_same_items(finish, status, reason):
    whole = Draft(ASKED, Tools(), sealed=False)
    whole.begin("resp_ab", 1)
    calls = ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},)
    whole.finish(Result("hi", calls, finish, Usage(), thoughts="so"), False, 2)
    body = whole.body()
    assert [item["type"] for item in body["output"]] == ["reasoning", "message", "function_call"]
    assert body["status"] == status and (body["incomplete_details"] or {}).get("reason") == reason
    empty = Draft(ASKED, Tools(), sealed=False)
    empty.begin("resp_ab", 1)
    empty.finish(Result(None, (), finish, Usage()), True, 2)
    assert empty.body()["output"][0]["content"][0]["text"] == ""


def test_results_stand_next_to_their_calls_however_a_client_orders_its_items():
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]}
    user = {"role": "user", "content": [{"type": "input_text", "text": "wait"}]}
    messages = read(said, call("1"), call("2"), user, told("2"), told("1", [{"type": "input_text", "text": "y"}]))
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[0]["content"] == "I look" and [c["id"] for c in messages[0]["tool_calls"]] == ["1", "2"]
    assert [message["tool_call_id"] for message in messages[1:3]] == ["2", "1"] and messages[2]["content"] == "y"
    after = read(call("1"), said, told("1"))
    assert [message["role"] for message in after] == ["assistant", "tool"] and after[0]["content"] == "I look"
    assert [message["role"] for message in read(told("9"), user)] == ["tool", "user"]


def test_parts_are_those_of_a_chat():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "high"}
    file = {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}
    text = {"type": "input_text", "text": "what is it?"}
    [message] = read({"role": "user", "content": [text, image, file]})
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "file"]
    assert message["content"][1]["image_url"] == {"url": image["image_url"], "detail": "high"}
    assert message["content"][2]["file"] == {"file_data": file["file_data"], "filename": "a.pdf"}
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert read(refusal) == [{"role": "assistant", "content": "", "refusal": "no"}]
    for wrong, field in (
        ({"type": "input_file", "file_id": "f"}, "file_id"),
        ({**image, "image_url": "x"}, "image_url"),
    ):
        with pytest.raises(BadInput) as refused:
            read({"role": "user", "content": [wrong]})
        assert refused.value.field == f"input[0].content[0].{field}"
    reading = Reading()
    reading.read([{"type": "web_search_call", "id": "ws_1"}, {"type": "reasoning", "summary": []}])
    assert reading.messages == [] and "web_search_call" in reading.notes[0]


def test_a_conversation_is_the_same_in_this_form_and_in_chat_completions(ledger, pool):
    chat = {
        "model": "fugu",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "reasoning_effort": "max",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_tokens": 9,
    }
    responses = {
        "model": "fugu",
        "instructions": "be brief",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "reasoning": {"effort": "max"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": None}},
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": None}],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 9,
    }
    reader = Reader(ledger, taken_by(pool.hosted_tools))
    given = None, {}, json.dumps(responses).encode(), Bounds()
    mine, theirs = (
        reader.question("a", *given),
        ChatCompletions().question("b", None, {}, json.dumps(chat).encode(), Bounds()),
    )
    assert mine.conversation_key == theirs.conversation_key and mine.messages == theirs.messages
    assert mine.sampling == theirs.sampling
