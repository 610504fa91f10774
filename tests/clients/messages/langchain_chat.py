"""LangChain's ChatAnthropic: an answer, a stream, a tool."""

# /// script
# dependencies = ["langchain-anthropic"]
# ///

from __future__ import annotations

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from telling import API_KEY, ROOT_URL, tell

chat = ChatAnthropic(model="fugu", base_url=ROOT_URL, api_key=API_KEY, max_retries=0, max_tokens=500)


@tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"14 degrees in {location}"


def whole() -> None:
    """an answer"""
    reply = chat.invoke("hello")
    assert reply.content == "You said: hello" and reply.usage_metadata["output_tokens"] > 0, reply


def stream() -> None:
    """a stream"""
    assert "".join(chunk.text for chunk in chat.stream("hello")) == "You said: hello"


def round_trip() -> None:
    """a tool round trip"""
    asked, bound = [HumanMessage("the weather?")], chat.bind_tools([get_weather])
    reply = bound.invoke(asked)
    (call,) = reply.tool_calls
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert bound.invoke([*asked, reply, result]).content == "The tool said: 14 degrees in Paris"


if __name__ == "__main__":
    tell("LangChain (Anthropic)", "langchain-anthropic", whole, stream, round_trip)
