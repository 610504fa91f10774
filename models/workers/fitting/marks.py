"""Anthropic's marks on what is to be cached: other providers refuse them, or pay for a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.workers.ask import Ask, text_of
from models.workers.worker import Worker

MARK = "cache_control"


def unmarked(worker: Worker, ask: Ask) -> Ask:
    """The ask as a worker gets it that is none of Anthropic's models, whoever serves them: without marks.

    Texts that need no list any more are one text: some workers take a list from users alone.
    """
    if "claude" in worker.model.lower() or not any(MARK in each for each in _places(ask)):
        return ask
    tools = ask.sampling.tools
    sampling = ask.sampling.model_copy(update={"tools": tools and tuple(map(_without, tools))})
    return ask.model_copy(update={"messages": tuple(map(_unmarked, ask.messages)), "sampling": sampling})


def _places(ask: Ask) -> Iterator[Mapping[str, Any]]:
    yield from ask.sampling.tools or ()
    for message in ask.messages:
        content = message.get("content")
        yield from content if isinstance(content, list) else ()
        yield from message.get("tool_calls") or ()


def _unmarked(message: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(message)
    content = found.get("content")
    if isinstance(content, list):
        parts = [_without(part) for part in content]
        plain = found["role"] != "user" and all(part.keys() == {"type", "text"} for part in parts)
        found["content"] = text_of(parts) if plain else parts
    if calls := found.get("tool_calls"):
        found["tool_calls"] = [_without(call) for call in calls]
    return found


def _without(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name != MARK}
