# /// script
# dependencies = ["pydantic-ai-slim[openai,anthropic]"]
# ///
"""pydantic-ai: an agent with a tool and a typed answer, in each of the three forms."""

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from telling import API_KEY, BASE_URL, ROOT_URL, tell

openai = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY)
anthropic = AnthropicProvider(base_url=ROOT_URL, api_key=API_KEY)


class Person(BaseModel):
    name: str
    age: int


def tried(model: object) -> None:
    agent = Agent(model, retries=0)

    @agent.tool_plain
    def get_weather(location: str) -> str:
        """The weather at a place."""
        return f"14 degrees in {location}"

    found = agent.run_sync("the weather?")
    assert "14 degrees in Paris" in found.output, found
    assert found.usage().output_tokens > 0
    typed = Agent(model, output_type=Person, retries=0).run_sync("who?")
    assert typed.output == Person(name="Ada", age=7), typed
    plain = Agent(model, retries=0).run_sync("hello")
    again = Agent(model, retries=0).run_sync("and again", message_history=plain.all_messages())
    assert again.output == "You said: and again", again


def chat() -> None:
    """chat completions: a tool, a typed answer, a second turn"""
    tried(OpenAIChatModel("fugu", provider=openai))


def responses() -> None:
    """Responses: the same"""
    tried(OpenAIResponsesModel("fugu", provider=openai))


def messages() -> None:
    """Messages: the same"""
    tried(AnthropicModel("fugu", provider=anthropic))


if __name__ == "__main__":
    tell("pydantic-ai", "pydantic-ai-slim", chat, responses, messages)
