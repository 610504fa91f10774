"""Anthropic's tools and their choice as functions.

Tools of Anthropic's servers (web search, code execution, …) are left out with a note. Those that the client itself
executes and the model knows by heart, `bash` and the text editor, become functions with the parameters that Anthropic
documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import BadInput

CUSTOM = (None, "custom")

_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}

BASH = {
    "description": "Run a command in a bash shell whose state stays between calls.",
    "parameters": {
        "type": "object",
        "properties": {
            "command": {**_TEXT, "description": "The command. Required unless the shell is restarted"},
            "restart": {"type": "boolean", "description": "true: restart the shell instead"},
        },
    },
}
EDITOR = {
    "description": "View, create and edit files. view: a file with line numbers, or a folder; create: write a new file;"
    " str_replace: replace the one place where old_str occurs by new_str; insert: put text behind a line.",
    "parameters": {
        "type": "object",
        "properties": {
            "command": {**_TEXT, "enum": ["view", "create", "str_replace", "insert"]},
            "path": {**_TEXT, "description": "Full path of the file or folder"},
            "view_range": {
                "type": "array",
                "items": _WHOLE,
                "description": "view: first and last line, -1 for the end",
            },
            "file_text": {**_TEXT, "description": "create: the content"},
            "old_str": {**_TEXT, "description": "str_replace: the text to replace"},
            "new_str": {**_TEXT, "description": "str_replace: what replaces it"},
            "insert_line": {**_WHOLE, "description": "insert: the line behind which; 0 for the beginning"},
            "insert_text": {**_TEXT, "description": "insert: the text"},
        },
        "required": ["command", "path"],
    },
}
KNOWN = {
    "bash_20241022": BASH,
    "bash_20250124": BASH,
    "text_editor_20250429": EDITOR,
    "text_editor_20250728": EDITOR,
}
"""Tools whose parameters the model is expected to know. Older editors also undo, and insert with another field."""


def tools_of(tools: Sequence[Mapping[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """The tools as OpenAI's. `notes` gets a sentence for each that is left out or mapped."""
    found = []
    for tool in tools:
        kind = tool.get("type")
        if kind in CUSTOM:
            found.append(_function(tool))
        elif kind in KNOWN and tool.get("name"):
            found.append({"type": "function", "function": {"name": tool["name"], **KNOWN[kind]}})
            notes.append(f"the tool {kind} was passed on as a function")
        else:
            notes.append(f"the tool {str(kind)[:100]} was left out: it belongs to Anthropic's servers")
    return found


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    mark = {"cache_control": tool["cache_control"]} if tool.get("cache_control") else {}
    return {"type": "function", "function": function, **mark}


def choice_of(
    choice: Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]], asked: bool, notes: list[str]
) -> dict[str, Any]:
    """The fields `tool_choice` and `parallel_tool_calls`. `tools`: those that are left; `asked`: there were some.

    Raises BadInput where a tool has to be called and there is none.
    """
    if choice is None:
        return {}
    names = [tool["function"]["name"] for tool in tools]
    must = choice["type"] in ("any", "tool")
    if not asked and must:
        raise BadInput("tool_choice needs tools", "tool_choice")
    lacks = choice["type"] == "tool" and choice["name"] not in names
    if must and (lacks or not tools):
        notes.append("tool_choice was left out, as is the tool that it asks for")
    if not tools or lacks:
        return {}
    one = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if choice["type"] == "tool":
        return {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}, **one}
    return {"tool_choice": {"auto": "auto", "any": "required", "none": "none"}[choice["type"]], **one}
