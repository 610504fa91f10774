"""The anthropic package: messages whole and streamed, thinking, images, tools by its runner, a count, models."""

# /// script
# dependencies = ["anthropic"]
# ///

from __future__ import annotations

import base64

import anthropic
from telling import API_KEY, ROOT_URL, tell

client = anthropic.Anthropic(base_url=ROOT_URL, api_key=API_KEY, max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
ASKED = {"model": "fugu", "max_tokens": 500}
WEATHER = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
        "a5f645400000000049454e44ae426082"
    )
).decode()


def whole() -> None:
    """an answer"""
    message = client.messages.create(messages=HELLO, system="Be short.", stop_sequences=["END"], **ASKED)
    assert message.content[0].text == "You said: hello" and message.stop_reason == "end_turn", message
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def stream() -> None:
    """a stream"""
    with client.messages.stream(messages=HELLO, **ASKED) as events:
        assert "".join(events.text_stream) == "You said: hello"
        assert events.get_final_message().usage.output_tokens > 0


def thinking() -> None:
    """a stream of fugu-ultra with thinking and show_work"""
    more = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "extra_body": {"fugu": {"show_work": True}}}
    asked = {"model": "fugu-ultra", "max_tokens": 4000, "messages": HELLO}
    with client.messages.stream(**asked, **more) as events:
        message = events.get_final_message()
    text = [block.text for block in message.content if block.type == "text"]
    assert text and text[0].startswith("You said:"), message
    again = [*HELLO, message.to_param(), *HELLO]
    assert client.messages.create(**{**asked, "messages": again}).stop_reason == "end_turn"


def tools() -> None:
    """a tool round trip, streamed, with an image in the result and a web search beside it"""
    tools = [WEATHER, {"type": "web_search_20250305", "name": "web_search"}]
    with client.messages.stream(messages=HELLO, tools=tools, **ASKED) as events:
        message = events.get_final_message()
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert call.input == {"location": "Paris"} and message.stop_reason == "tool_use", message
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    seen = [{"type": "text", "text": "14 degrees"}, image]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": seen}
    told = [*HELLO, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(messages=told, tools=tools, tool_choice={"type": "none"}, **ASKED).content[0].text


def runner() -> None:
    """tools by its runner"""

    @anthropic.beta_tool
    def get_weather(location: str) -> str:
        """The weather.

        Args:
            location: a place
        """
        return f"14 degrees in {location}"

    runner = client.beta.messages.tool_runner(messages=HELLO, tools=[get_weather], **ASKED)
    assert "14 degrees in Paris" in runner.until_done().content[0].text


def formats() -> None:
    """an answer in a format"""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema |= {"additionalProperties": False}
    form = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(messages=HELLO, output_config=form, **ASKED)
    assert message.content[0].text == '{"name": "Ada"}', message


def count() -> None:
    """a count, models and an error"""
    assert 0 < client.messages.count_tokens(model="fugu", messages=HELLO).input_tokens < 50
    assert {"fugu", "trinity", "fugu-ultra"} <= {model.id for model in client.models.list()}
    try:
        client.messages.create(model="nobody", max_tokens=5, messages=HELLO)
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error" and error.request_id
    else:
        raise AssertionError("an unknown model was answered")


if __name__ == "__main__":
    tell("anthropic (Python)", "anthropic", whole, stream, thinking, tools, runner, formats, count)
