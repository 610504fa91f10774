# /// script
# dependencies = ["openai"]
# ///
"""The openai package: responses."""

import json
import time

from openai import OpenAI
from pydantic import BaseModel
from telling import API_KEY, BASE_URL, tell

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


class Person(BaseModel):
    name: str
    age: int


def whole() -> None:
    """an answer"""
    for model in ("fugu", "trinity", "fugu-ultra"):
        assert client.responses.create(model=model, input="hello").output_text.startswith("You said: ")


def stream() -> None:
    """a stream by its helper"""
    with client.responses.stream(model="fugu", input="hello") as events:
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert events.get_final_response().output_text == "You said: hello"


def parse() -> None:
    """`parse` into a type"""
    assert client.responses.parse(model="fugu", input="who?", text_format=Person).output_parsed == Person(
        name="Ada", age=7
    )


def tools() -> None:
    """a tool round trip with `previous_response_id`, and one that the client keeps itself"""
    first = client.responses.create(model="fugu", input="the weather in Paris?", tools=[TOOL])
    [call] = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"location": "Paris"}
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "14 degrees"}
    again = client.responses.create(model="fugu", previous_response_id=first.id, input=[told], tools=[TOOL])
    assert again.output_text == "The tool said: 14 degrees", again
    asked = [{"role": "user", "content": "the weather in Paris?"}, *first.output, told]
    own = client.responses.create(
        model="fugu", input=asked, tools=[TOOL], store=False, include=["reasoning.encrypted_content"]
    )
    assert own.output_text == "The tool said: 14 degrees", own


def background() -> None:
    """one in the background, read again, its items, deleted"""
    response = client.responses.create(model="fugu-ultra", input="hello", background=True)
    while response.status in ("queued", "in_progress"):
        time.sleep(0.1)  # as the API is to be used
        response = client.responses.retrieve(response.id)
    assert response.output_text.startswith("You said: "), response
    assert [item.role for item in client.responses.input_items.list(response.id)] == ["user"]
    client.responses.delete(response.id)


if __name__ == "__main__":
    tell("openai (Python), responses", "openai", whole, stream, parse, tools, background)
