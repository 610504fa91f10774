# /// script
# dependencies = ["langchain-openai"]
# ///
"""LangChain's ChatOpenAI by Responses."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from telling import API_KEY, BASE_URL, tell

model = ChatOpenAI(model="fugu", base_url=BASE_URL, api_key=API_KEY, use_responses_api=True, max_retries=0)


@tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"14 degrees in {location}"


def whole() -> None:
    """an answer"""
    assert model.invoke("hello").text == "You said: hello"


def stream() -> None:
    """a stream"""
    assert "".join(piece.text for piece in model.stream("hello")) == "You said: hello"


def tools() -> None:
    """a tool round trip"""
    asked = HumanMessage("the weather?")
    bound = model.bind_tools([get_weather])
    called = bound.invoke([asked])
    [call] = called.tool_calls
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert bound.invoke([asked, called, result]).text == "The tool said: 14 degrees in Paris"


if __name__ == "__main__":
    tell("LangChain, Responses", "langchain-openai", whole, stream, tools)
