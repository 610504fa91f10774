"""pydantic-ai with its Anthropic model: an answer, a stream, a tool, a typed result."""

# /// script
# dependencies = ["pydantic-ai-slim[anthropic]"]
# ///

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from telling import API_KEY, ROOT_URL, tell

MODEL = AnthropicModel("fugu", provider=AnthropicProvider(base_url=ROOT_URL, api_key=API_KEY))


class Person(BaseModel):
    name: str
    age: int


def whole() -> None:
    """an answer"""
    assert Agent(MODEL).run_sync("hello").output == "You said: hello"


def stream() -> None:
    """a stream"""

    async def said() -> str:
        async with Agent(MODEL).run_stream("hello") as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    assert asyncio.run(said()) == "You said: hello"


def tool() -> None:
    """a tool round trip"""
    agent = Agent(MODEL)

    @agent.tool_plain
    def get_weather(location: str) -> str:
        return f"14 degrees in {location}"

    assert "14 degrees in Paris" in agent.run_sync("the weather?").output


def typed() -> None:
    """a typed result"""
    found = Agent(MODEL, output_type=Person).run_sync("somebody").output
    assert isinstance(found, Person) and found.name == "Ada", found


if __name__ == "__main__":
    tell("pydantic-ai (Anthropic)", "pydantic-ai-slim", whole, stream, tool, typed)
