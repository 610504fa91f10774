"""Responses by the openai package, against a real endpoint and a real upstream: whole, streamed, kept, continued."""

from __future__ import annotations

import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from deployments.endpoint.answer.owner import OWNER

EVENT = TypeAdapter(ResponseStreamEvent)

TOOL = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"by": {"type": "string"}}},
    "strict": None,
}


@pytest.fixture
def here(house, upstream):
    with house(fugu={"kind": "worker", "worker": "echo"}) as here:
        yield here


@pytest.fixture
def ada(house, upstream):
    with house(fugu={"kind": "worker", "worker": "ada"}) as here:
        yield here


@pytest.fixture
def bob(house, upstream):
    with house(fugu={"kind": "worker", "worker": "bob"}) as here:
        yield here


def events_of(client, **asked):
    """All events of a stream, each as strict as the package's own types are."""
    with client.responses.create(stream=True, model="fugu", **asked) as stream:
        found = list(stream)
    assert [event.sequence_number for event in found] == list(range(len(found)))
    for event in found:
        EVENT.validate_json(event.to_json(), strict=True)
    return found


def test_a_whole_response_has_text_and_exact_usage(here):
    response = here.client.responses.create(model="fugu", input="hi", instructions="be brief", metadata={"a": "b"})
    assert response.output_text == "one two three" and response.status == "completed"
    assert response.usage.input_tokens == 5 and response.usage.output_tokens == 3 and response.usage.total_tokens == 8
    assert response.metadata == {"a": "b"} and response.instructions == "be brief" and response.error is None
    type(response).model_validate_json(response.to_json(), strict=True)


def test_a_stream_has_the_whole_sequence_of_events(here):
    events = events_of(here.client, input="hi")
    assert [event.type.removeprefix("response.") for event in events] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * 3,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[-1].response.output_text == "one two three" and events[-1].response.usage.total_tokens == 8
    assert events[-1].response.output[0].id == events[2].item.id
