# /// script
# dependencies = ["langchain-openai"]
# ///
"""LangChain's ChatOpenAI on chat completions."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from telling import API_KEY, BASE_URL, tell

model = ChatOpenAI(model="fugu", base_url=BASE_URL, api_key=API_KEY, max_retries=0, use_responses_api=False)


class Person(BaseModel):
    name: str
    age: int


@tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"14 degrees in {location}"


def whole() -> None:
    """an answer"""
    assert model.invoke("hello").content == "You said: hello"


def stream() -> None:
    """a stream with usage"""
    chunks = list(model.stream("hello", stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == "You said: hello"
    assert any(chunk.usage_metadata for chunk in chunks)


def tools() -> None:
    """a tool round trip"""
    asked = [HumanMessage("the weather?")]
    bound = model.bind_tools([get_weather])
    said = bound.invoke(asked)
    result = get_weather.invoke(said.tool_calls[0])
    assert isinstance(result, ToolMessage)
    assert bound.invoke([*asked, said, result]).content == "The tool said: 14 degrees in Paris"


def structured() -> None:
    """structured output"""
    assert model.with_structured_output(Person).invoke("who?") == Person(name="Ada", age=7)


def logprobs() -> None:
    """log probabilities"""
    assert model.bind(logprobs=True).invoke("hello").response_metadata["logprobs"]["content"]


if __name__ == "__main__":
    tell("LangChain, chat", "langchain-openai", whole, stream, tools, structured, logprobs)
