# /// script
# dependencies = ["litellm"]
# ///
"""litellm's own client: chat and text completions."""

import litellm
from telling import API_KEY, BASE_URL, tell

OWN = {"api_base": BASE_URL, "api_key": API_KEY, "max_retries": 0}
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}


def whole() -> None:
    """an answer"""
    reply = litellm.completion(model="openai/fugu", messages=HELLO, **OWN)
    assert reply.choices[0].message.content == "You said: hello"


def stream() -> None:
    """a stream"""
    chunks = litellm.completion(model="openai/fugu", messages=HELLO, stream=True, **OWN)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: hello"


def tools() -> None:
    """a tool round trip"""
    said = litellm.completion(model="openai/fugu", messages=HELLO, tools=[TOOL], **OWN).choices[0].message
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "14 degrees"}
    history = [*HELLO, said.model_dump(), result]
    reply = litellm.completion(model="openai/fugu", messages=history, tools=[TOOL], **OWN)
    assert reply.choices[0].message.content == "The tool said: 14 degrees"


def text() -> None:
    """a text completion"""
    reply = litellm.text_completion(model="text-completion-openai/fugu", prompt="hello", **OWN)
    assert reply.choices[0].text == "You said: hello", reply


if __name__ == "__main__":
    tell("litellm", "litellm", whole, stream, tools, text)
