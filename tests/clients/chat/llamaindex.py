# /// script
# dependencies = ["llama-index-core", "llama-index-llms-openai-like"]
# ///
"""LlamaIndex: its model for servers that are like OpenAI's, and an agent with a tool."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from telling import API_KEY, BASE_URL, tell

model = OpenAILike(
    model="fugu", api_base=BASE_URL, api_key=API_KEY, is_chat_model=True, is_function_calling_model=True, max_retries=0
)


def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"14 degrees in {location}"


def whole() -> None:
    """an answer"""
    assert model.chat([ChatMessage("hello")]).message.content == "You said: hello"


def stream() -> None:
    """a stream"""
    *_, last = model.stream_chat([ChatMessage("hello")])
    assert last.message.content == "You said: hello", last


def agent() -> None:
    """an agent that calls a tool"""

    async def run() -> str:
        return str(await FunctionAgent(tools=[get_weather], llm=model).run("the weather?"))

    assert "14 degrees in Paris" in asyncio.run(run())


if __name__ == "__main__":
    tell("LlamaIndex", "llama-index-core", whole, stream, agent)
