"""Responses by the openai package, against a real endpoint and a real upstream: whole, streamed, kept, continued."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

EVENT = TypeAdapter(ResponseStreamEvent)

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"by": {"type": "string"}}}}


@pytest.fixture
def worker(house, upstream):
    """`worker(name)`: an endpoint whose `fugu` is this worker."""
    return lambda name, **more: house(fugu={"kind": "worker", "worker": name}, **more)


def events_of(here, **asked):
    """All events of a stream, each checked against the package's own types."""
    with here.client.responses.create(**{"model": "fugu", "stream": True, **asked}) as stream:
        found = list(stream)
    assert [event.sequence_number for event in found] == list(range(len(found)))
    for event in found:
        EVENT.validate_json(event.to_json(), strict=True)
    return found


def kinds_of(events):
    return [event.type.removeprefix("response.") for event in events]


def test_a_whole_response_has_text_and_exact_usage(worker):
    with worker("echo") as here:
        response = here.client.responses.create(model="fugu", input="hi", instructions="be brief", metadata={"a": "b"})
    assert response.output_text == "one two three" and response.status == "completed"
    assert response.usage.input_tokens == 5 and response.usage.output_tokens == 3 and response.usage.total_tokens == 8
    assert response.metadata == {"a": "b"} and response.instructions == "be brief" and response.error is None
    type(response).model_validate_json(response.to_json(), strict=True)


def test_a_stream_has_the_whole_sequence_of_events(worker):
    with worker("echo") as here:
        events = events_of(here, input="hi")
    assert kinds_of(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * 3,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[-1].response.output_text == "one two three" and events[-1].response.usage.total_tokens == 8
    assert events[-1].response.output[0].id == events[2].item.id


def test_parallel_calls_are_streamed_and_their_results_continue_the_response(worker, upstream):
    with worker("bob") as here:
        events = events_of(here, input="find it", tools=[TOOL], parallel_tool_calls=True)
        calls = events[-1].response.output
        assert [json.loads(call.arguments)["n"] for call in calls] == [0, 1] and calls[0].call_id != calls[1].call_id
        assert kinds_of(events).count("function_call_arguments.done") == 2
        told = [
            {"type": "function_call_output", "call_id": calls[0].call_id, "output": "red"},
            {
                "type": "function_call_output",
                "call_id": calls[1].call_id,
                "output": [{"type": "input_text", "text": "blue"}],
            },
        ]
        id = events[-1].response.id
        again = here.client.responses.create(model="fugu", input=told, previous_response_id=id, tools=[TOOL])
        assert again.output_text == "bob: blue" and again.previous_response_id == id
        third = here.client.responses.create(model="fugu", input="and?", previous_response_id=again.id)
        assert third.output_text == "bob: and?"
        listed = here.client.responses.input_items.list(third.id, order="asc")
        kinds = [item.type for item in listed]
    assert [message["role"] for message in upstream.seen[-1]["messages"]] == [
        *("user", "assistant", "tool", "tool", "assistant", "user")
    ]
    assert len(upstream.seen[-1]["messages"][1]["tool_calls"]) == 2
    assert kinds == ["message", *["function_call"] * 2, *["function_call_output"] * 2, "message", "message"]


def test_a_client_that_keeps_its_responses_itself_sends_back_what_it_got(worker, upstream):
    with worker("ada") as here:
        mine = {"model": "fugu", "store": False, "include": ["reasoning.encrypted_content"], "tools": [TOOL]}
        first = here.client.responses.create(input="find it", **mine)
        told = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "red"}
        thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed", "content": None}
        asked = [{"role": "user", "content": "find it"}, thought, *(item.to_dict() for item in first.output), told]
        second = here.client.responses.create(input=asked, **mine)
        assert second.output_text == "ada: red"
        for wanted in (first.id, second.id):
            with pytest.raises(openai.NotFoundError, match="no response"):
                here.client.responses.retrieve(wanted)
        with pytest.raises(openai.BadRequestError) as refused:
            here.client.responses.create(model="fugu", input="x", previous_response_id=first.id)
    assert refused.value.code == "previous_response_not_found"
    assert [message["role"] for message in upstream.seen[-1]["messages"]] == ["user", "assistant", "tool"]


def test_a_kept_response_is_read_streamed_again_and_deleted(worker):
    with worker("echo") as here:
        first = here.client.responses.create(model="fugu", input="hi")
        assert here.client.responses.retrieve(first.id).to_dict() == first.to_dict()
        with here.client.responses.retrieve(first.id, stream=True) as stream:
            events = list(stream)
        assert kinds_of(events)[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
        assert events[-1].response.output_text == "one two three"
        with here.client.responses.retrieve(first.id, stream=True, starting_after=7) as stream:
            assert kinds_of(stream) == ["completed"]
        referred = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "more"}]
        assert here.client.responses.create(model="fugu", input=referred).status == "completed"
        with pytest.raises(openai.BadRequestError, match="background"):
            here.client.responses.cancel(first.id)
        here.client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            here.client.responses.retrieve(first.id)


def test_a_conversation_by_name_continues_its_last_response(worker, upstream):
    with worker("count") as here:
        named = {"model": "fugu", "conversation": {"id": "conv_1"}}
        assert here.client.responses.create(input="hi", **named).output_text == "1 messages"
        again = here.client.responses.create(input="hi", **named)
    assert again.output_text == "3 messages" and again.conversation.id == "conv_1"


def test_failures_before_and_after_the_first_byte(worker, upstream):
    with worker("e400") as here, pytest.raises(openai.BadRequestError) as refused:
        here.client.responses.create(model="fugu", input="hi", stream=True)
    assert refused.value.body["type"] == "invalid_request_error"
    with worker("cut") as here:
        events = events_of(here, input="hi")
        kept = here.client.responses.retrieve(events[-1].response.id)
    assert kinds_of(events)[-1] == "failed" and events[-1].response.error.code == "server_error"
    assert kept.status == "failed" and kept.output_text == "one "


def test_every_model_answers_and_its_orchestration_is_counted_apart(worker, plan, upstream):
    steps = plan(("echo", "think", []), ("echo", "say it", ["all"]))
    with worker("echo", plan=steps) as here:
        for model in ("trinity", "fugu-ultra"):
            response = here.client.responses.create(model=model, input="hi")
            assert response.output_text == "one two three", model
    spent = response.usage.input_tokens_details.orchestration_input_tokens
    assert response.usage.total_tokens == 8 + spent + response.usage.output_tokens_details.orchestration_output_tokens


def test_what_cannot_be_honoured_is_refused_by_name(worker):
    image = {"type": "input_image", "file_id": "file_1", "detail": "auto"}
    wrong = {
        "input[0].content[0].image_url": {"input": [{"role": "user", "content": [image]}]},
        "input[0].type": {"input": [{"type": "mesage", "content": "hi"}]},
        "background": {"input": "hi", "background": True, "store": False},
        "previous_response_id": {"input": "hi", "previous_response_id": "resp_1", "conversation": "c"},
        "tool_choice": {"input": "hi", "tool_choice": "required"},
        "top_logprobs": {"input": "hi", "top_logprobs": 21},
    }
    with worker("echo") as here:
        for field, asked in wrong.items():
            with pytest.raises(openai.BadRequestError) as refused:
                here.client.responses.create(model="fugu", **asked)
            assert refused.value.param == field
        odd = {"truncation": "auto", "service_tier": "fast", "verbosity": "low", "client_metadata": {"a": [1]}}
        asked = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "text": {"verbosity": "low"}}
        response = here.client.responses.create(
            model="fugu", input="hi", extra_body=odd, extra_headers={"X-Fugu-Trace": "1"}, **asked
        )
    assert response.status == "completed"
    left = [f"{name} is not known here and was left out." for name in ("truncation", "verbosity")]
    assert response.fugu["notes"] == left


def test_a_workflow_waits_for_its_tools_and_goes_on_by_the_response_that_asked(worker, plan, upstream):
    with worker("echo", plan=plan(("ada", "find it", []))) as here:
        asked = {"model": "fugu-ultra", "tools": [TOOL]}
        events = events_of(here, input="find it", **asked)
        [call] = events[-1].response.output
        told = {"type": "function_call_output", "call_id": call.call_id, "output": "red"}
        again = here.client.responses.create(input=[told], previous_response_id=events[-1].response.id, **asked)
    assert again.output_text == "ada: red"


def test_a_stream_that_fails_after_heartbeats_says_so_in_its_own_events(worker):
    with worker("late", heartbeat_s=0.05) as here:
        events = events_of(here, input="hi", extra_body={"fugu": {"failover": False}})
    assert kinds_of(events) == ["created", "in_progress", "failed"]


def test_a_client_that_goes_away_ends_its_answer_and_nothing_is_kept(worker, upstream):
    with worker("stall") as here:
        with here.client.responses.create(model="fugu", input="hi", stream=True) as stream:
            id = next(iter(stream)).response.id
            next(event for event in stream if event.type == "response.output_text.delta")
        assert upstream.gone.wait(10)
        with pytest.raises(openai.NotFoundError):
            here.client.responses.retrieve(id)


def test_one_key_is_one_response_byte_for_byte(worker, plan, upstream):
    with worker("echo", plan=plan(("echo", "say it", []))) as here:
        asked = {"model": "fugu-ultra", "input": "hi", "extra_headers": {"Idempotency-Key": "order-17"}}
        first, second = (here.client.responses.with_raw_response.create(**asked) for _ in range(2))
        streamed = events_of(here, **asked)[-1].response
        assert first.content == second.content and len(upstream.seen) == 1
        kept = here.client.responses.retrieve(streamed.id)
    assert streamed.to_dict() == kept.to_dict() == json.loads(first.content)
