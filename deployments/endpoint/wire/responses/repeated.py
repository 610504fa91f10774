"""The fields of a response that repeat its request, in the shape of the API, without what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployments.endpoint.wire.responses.tools import Tools

if TYPE_CHECKING:
    from deployments.endpoint.wire.responses.request import ResponseRequest

_SUMMARIES = ("auto", "concise", "detailed")
_VERBOSITIES = ("low", "medium", "high")


def repeated(asked: ResponseRequest, tools: Tools) -> dict[str, Any]:
    """Fields that this endpoint does not read are not repeated."""
    effort, text = asked.reasoning or {}, asked.text or {}
    summary, verbosity = effort.get("summary"), text.get("verbosity")
    conversation = asked.conversation_id
    return {
        "model": asked.model,
        "background": asked.background,
        "conversation": None if conversation is None else {"id": conversation},
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "reasoning": {"effort": effort.get("effort"), "summary": summary if summary in _SUMMARIES else None},
        "store": asked.store,
        "temperature": asked.temperature,
        "text": {
            "format": _known(text.get("format") or {"type": "text"}),
            **({"verbosity": verbosity} if verbosity in _VERBOSITIES else {}),
        },
        "tool_choice": _choice(asked.tool_choice) if tools.functions else "auto",
        "tools": [shown for tool in asked.tools for shown in _tool(tool)],
        **({"top_logprobs": asked.top_logprobs or 0} if asked.logprobs else {}),
        "top_p": asked.top_p,
        "truncation": "disabled",
        "user": asked.user,
    }


_FIELDS = ("type", "name", "description", "schema", "strict")


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _FIELDS if given.get(name) is not None}


def _choice(given: str | Mapping[str, Any] | None) -> Any:
    if isinstance(given, Mapping):
        kept = {name: given[name] for name in ("type", "name", "mode", "tools") if name in given}
        return kept if given["type"] in ("function", "custom", "allowed_tools") else "auto"
    return given or "auto"


def _tool(tool: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool as a list, which is empty for one of a provider."""
    match tool["type"]:
        case "function":
            given = {name: tool.get(name) for name in ("description", "parameters", "strict")}
            return [{"type": "function", "name": tool["name"], **given}]
        case "custom":
            given = {name: tool[name] for name in ("description", "format") if tool.get(name)}
            return [{"type": "custom", "name": tool["name"], **given}]
        case "namespace":
            held = [shown for inner in tool["tools"] for shown in _tool(inner)]
            description = tool.get("description")
            told = description if isinstance(description, str) else ""
            return [{"type": "namespace", "name": tool["name"], "description": told, "tools": held}]
    return []
