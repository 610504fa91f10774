# /// script
# dependencies = ["openai"]
# ///
"""The openai package: chat completions."""

import json

from openai import OpenAI
from pydantic import BaseModel
from telling import API_KEY, BASE_URL, tell

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


def whole() -> None:
    """an answer"""
    for model in ("fugu", "trinity", "fugu-ultra"):
        reply = client.chat.completions.create(model=model, messages=HELLO)
        assert reply.choices[0].message.content.startswith("You said: "), reply


def stream() -> None:
    """a stream"""
    with client.chat.completions.stream(model="fugu", messages=HELLO) as events:
        assert "".join(event.delta for event in events if event.type == "content.delta") == "You said: hello"


def parse() -> None:
    """`parse` into a type"""
    reply = client.chat.completions.parse(model="fugu", messages=HELLO, response_format=Person)
    assert reply.choices[0].message.parsed == Person(name="Ada", age=7), reply


def tools() -> None:
    """a tool round trip"""
    asked = [{"role": "user", "content": "the weather in Paris?"}]
    [choice] = client.chat.completions.create(model="fugu", messages=asked, tools=[TOOL]).choices
    [call] = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"location": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "14 degrees"}
    again = client.chat.completions.create(model="fugu", messages=[*asked, choice.message, result], tools=[TOOL])
    assert again.choices[0].message.content == "The tool said: 14 degrees", again


def several() -> None:
    """three answers with log probabilities"""
    asked = {"model": "fugu", "messages": HELLO, "n": 3, "logprobs": True, "top_logprobs": 2}
    reply = client.chat.completions.create(**asked)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert all(len(choice.logprobs.content[0].top_logprobs) == 2 for choice in reply.choices)
    chunks = [choice for chunk in client.chat.completions.create(**asked, stream=True) for choice in chunk.choices]
    assert {choice.index for choice in chunks} == {0, 1, 2} and any(choice.logprobs for choice in chunks)


def prompt() -> None:
    """a completion of old"""
    assert client.completions.create(model="fugu", prompt="hello").choices[0].text == "You said: hello"


def pinned() -> None:
    """a pinned version"""
    pin = client.models.retrieve("fugu").pin
    assert client.chat.completions.create(model=pin, messages=HELLO).model == pin


if __name__ == "__main__":
    tell("openai (Python), chat completions", "openai", whole, stream, parse, tools, several, prompt, pinned)
