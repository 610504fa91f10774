# /// script
# dependencies = ["openai-agents"]
# ///
"""The OpenAI Agents SDK as it comes, which is the Responses API: a tool, a hand-off, a typed answer, a stream."""

import asyncio

from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel
from telling import API_KEY, BASE_URL, tell

LOOP = asyncio.Runner()
"""The client's connections belong to one loop."""

set_tracing_disabled(True)
set_default_openai_client(AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0), use_for_tracing=False)


class Person(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"14 degrees in {location}"


def tool() -> None:
    """a tool round trip by its runner"""
    for model in ("fugu", "fugu-ultra"):
        agent = Agent(name="ada", instructions="Answer briefly.", model=model, tools=[get_weather])
        result = LOOP.run(Runner.run(agent, "the weather in Paris?"))
        assert result.final_output == "The tool said: 14 degrees in Paris", result.final_output


def stream() -> None:
    """the same as a stream"""

    async def streamed() -> str:
        agent = Agent(name="ada", model="fugu", tools=[get_weather])
        result = Runner.run_streamed(agent, "the weather in Paris?")
        words = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                words += event.data.delta
        assert words == result.final_output
        return words

    assert LOOP.run(streamed()) == "The tool said: 14 degrees in Paris"


def typed() -> None:
    """an answer of a type"""
    result = LOOP.run(Runner.run(Agent(name="ada", model="fugu", output_type=Person), "who?"))
    assert result.final_output == Person(name="Ada", age=7), result.final_output


def previous() -> None:
    """a conversation by `previous_response_id`"""

    async def two() -> str:
        agent = Agent(name="ada", model="fugu")
        first = await Runner.run(agent, "hello")
        second = await Runner.run(agent, "again", previous_response_id=first.last_response_id)
        return str(second.final_output)

    assert LOOP.run(two()) == "You said: again"


if __name__ == "__main__":
    tell("OpenAI Agents SDK, as it comes", "openai-agents", tool, stream, typed, previous)
