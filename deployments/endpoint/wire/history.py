"""A request's messages as workers get them, whatever form their client keeps its history in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deployments.endpoint.wire.messages import THOUGHTS
from deployments.endpoint.wire.responses.tools import freeform_arguments

PASSED_ON = frozenset({"role", "name", "refusal", "tool_call_id"})


def passed_on(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages as workers get them: without nulls, without fields about an answer, and calls as tool calls."""
    return [_passed_on(message) for message in _as_tools(messages)]


def _as_tools(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Function calls and their results become tool calls, whose ids are made of their places."""
    made = ""
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and (called := message.get("function_call")):
            made = f"call_{index}"
            yield {**message, "tool_calls": [{"id": made, "function": called}]}
        elif message["role"] == "function":
            yield {"role": "tool", "tool_call_id": made, "content": message["content"]}
        else:
            yield message


def _passed_on(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name in PASSED_ON and value is not None}
    if calls := message.get("tool_calls"):
        kept["tool_calls"] = [_call(call) for call in calls]
    content = message.get("content")
    if isinstance(content, list):
        content = [_part(part) for part in content if part["type"] not in THOUGHTS] or None
    if content is not None:
        kept["content"] = content
    elif calls and "content" in message:
        kept["content"] = None
    elif not calls and "refusal" not in kept:
        kept["content"] = ""  # providers require a text where there is nothing else
    return kept


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(url := part.get("image_url"), str):
        return {**part, "image_url": {"url": url}}
    return part


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """The call without its `index` and without the arguments that the client library parsed; one of a custom tool as
    one of the function that stands for it."""
    if custom := call.get("custom"):
        function = {"name": custom["name"], "arguments": freeform_arguments(custom["input"])}
        return {"id": call["id"], "type": "function", "function": function}
    function = {name: value for name, value in call["function"].items() if name != "parsed_arguments"}
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        function["arguments"] = json.dumps({} if arguments is None else arguments)
    kept = {name: value for name, value in call.items() if name != "index"}
    return {**kept, "type": "function", "function": function}
