"""A reply of `coder` under `tools`, `tool_choice` and `response_format`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from models.errors import BadInput
from models.house.workers.brief import Brief, final_answer, read_brief
from models.house.workers.coder.filling import NOTHING, Source, filled, matches
from models.house.workers.coder.tools import Chosen, chosen
from models.house.workers.replying import GUESS, answer
from models.workers.ask import text_of

WORKER = "coder"
FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "response_format"})
"""Fields that `coder` alone honours in the house."""

LONGEST = 8192
"""Characters of a text in which values are looked for, so that no text takes long."""

_TOO_LONG = f"values are looked for in texts of at most {LONGEST} characters"


@dataclass(frozen=True)
class Call:
    """A tool call; `arguments` is JSON."""

    name: str
    arguments: str


def shaped(messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], seed: int | None) -> str | Call:
    """The reply: a text, JSON, or a tool call. Raises BadInput that names the field which cannot be honoured."""
    brief = read_brief(messages)
    results = _results(messages)
    tools, choice = fields.get("tools") or (), fields.get("tool_choice") or "auto"
    if tools and choice != "none" and not results and not brief.thoughts:
        found = chosen(brief.question, tools, choice) if len(brief.question) <= LONGEST else Chosen(None, {}, _TOO_LONG)
        if found.tool is not None:
            return Call(found.tool, json.dumps(found.arguments, ensure_ascii=False))
        if choice != "auto":
            raise BadInput(found.why, "tool_choice")
    text = "\n".join(results) if results else answer(WORKER, messages, seed)
    wanted = fields.get("response_format") or {"type": "text"}
    if wanted["type"] == "text":
        return text
    return json.dumps(_as_json(brief, text, bool(results), wanted), ensure_ascii=False)


def _results(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tool results that the conversation ends with, in order."""
    last = takewhile(lambda message: message.get("role") == "tool", reversed(messages))
    return [text_of(message.get("content")) for message in last][::-1]


def _as_json(brief: Brief, text: str, is_result: bool, wanted: Mapping[str, Any]) -> Any:
    """The value that `response_format` asks for."""
    stated = None if is_result or text.startswith(GUESS) else final_answer(text)
    source = Source(text if is_result else brief.question, stated, text.partition("\n")[0])
    if wanted["type"] == "json_object":
        if stated is None:
            raise BadInput("this is no problem whose result could be given as JSON", "response_format")
        return {"answer": source.answer}
    if len(source.text) > LONGEST:
        raise BadInput(_TOO_LONG, "response_format")
    schema = wanted["json_schema"].get("schema") or {}
    value = filled(schema, source)
    if value is NOTHING or not matches(value, schema):
        raise BadInput("the text does not state what this schema asks for", "response_format")
    return value
