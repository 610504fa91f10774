"""Tools of a Responses request as functions, which every worker with tools takes, and calls of them mapped back.

A freeform tool (`custom`) is a function with one text. The functions of a `namespace` get longer names. A provider's
own tools (`web_search`, `mcp`, ...) are passed to the workers that take them, or left out with a note.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadInput

INPUT = "input"
"""The one argument of the function that stands for a freeform tool."""

MAX_NAME = 64
_OTHER = re.compile(r"[^a-zA-Z0-9_-]")
_OF_FUNCTIONS = ("name", "description", "parameters", "strict")


FREE_AGAIN = "tool_choice is auto, since its tools were left out"


def left_out(kinds: Iterable[str]) -> str:
    """The note on tools of these kinds."""
    return f"no worker here takes these tools, which were left out: {', '.join(kinds)}"


def leaves_free(where: str) -> str:
    """The note on a choice of a tool that is the provider's own, or was left out."""
    return f"{where} names no function, and leaves the worker free"


@dataclass(frozen=True)
class Origin:
    """The tool that a function stands for."""

    name: str
    namespace: str | None = None
    custom: bool = False


class Tools:
    """`functions`: in the shape of chat completions, with the tools of providers that are passed on. `origins`: the
    function's name -> its tool. `notes`: what was mapped or left out."""

    def __init__(self, given: Iterable[Mapping[str, Any]] = (), taken: Collection[str] = ()) -> None:
        """`taken`: kinds of providers' tools that some worker takes. Raises BadInput for two tools of one name."""
        self.functions: list[dict[str, Any]] = []
        self.origins: dict[str, Origin] = {}
        self.notes: list[str] = []
        self._left_out: list[str] = []
        for index, tool in enumerate(given):
            self._add(tool, taken, f"tools[{index}]")
        if self._left_out:
            self.notes.append(left_out(self._left_out))

    def _add(self, tool: Mapping[str, Any], taken: Collection[str], where: str, namespace: str | None = None) -> None:
        kind = tool["type"]
        if kind == "namespace":
            for index, inner in enumerate(tool["tools"]):
                self._add(inner, taken, f"{where}.tools[{index}]", tool["name"])
            return
        if kind not in ("function", "custom"):
            if kind in taken:
                self.functions.append(dict(tool))
            elif kind not in self._left_out:
                self._left_out.append(kind)
            return
        custom = kind == "custom"
        name = flat(tool["name"], namespace)
        if name in self.origins:
            raise BadInput(f"{where}.name: there are two tools {tool['name']!r}", f"{where}.name")
        self.origins[name] = Origin(tool["name"], namespace, custom)
        function = self._freeform(tool) if custom else _plain(tool)
        self.functions.append({"type": "function", "function": {**function, "name": name}})

    def _freeform(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        """A function with one text. A grammar is told, since it cannot be enforced."""
        told = [tool.get("description") or ""]
        form = tool.get("format") or {}
        if form.get("type") == "grammar":
            told.append(f"The {INPUT} has to match this {form.get('syntax')} grammar:\n{form.get('definition')}")
            self.notes.append(f"the grammar of the tool {tool['name']} is told to the worker, and not enforced")
        schema = {
            "type": "object",
            "properties": {INPUT: {"type": "string"}},
            "required": [INPUT],
            "additionalProperties": False,
        }
        return {"description": "\n\n".join(filter(None, told)), "parameters": schema}

    def choice(self, given: str | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
        """The choice of tools in the shape of chat completions; `None` where it changes nothing.

        A choice of tools that were left out leaves the worker free, with a note. Raises BadInput for unknown tools.
        """
        if isinstance(given, Mapping) and given["type"] == "allowed_tools":
            return self._allowed(given)
        if isinstance(given, Mapping):
            name = self._chosen(given, "tool_choice")
            return None if name is None else {"type": "function", "function": {"name": name}}
        if given == "required" and not self.functions:
            if not self._left_out:
                raise BadInput("tool_choice: there are no tools", "tool_choice")
            self.notes.append(FREE_AGAIN)
            return None
        return given if self.functions else None

    def _allowed(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        names = [self._chosen(tool, f"tool_choice.tools[{index}]") for index, tool in enumerate(given["tools"])]
        tools = [{"type": "function", "function": {"name": name}} for name in names if name is not None]
        if not tools:
            return None
        return {"type": "allowed_tools", "allowed_tools": {"mode": given["mode"], "tools": tools}}

    def _chosen(self, tool: Mapping[str, Any], where: str) -> str | None:
        """The function that a choice names; `None` for a tool that was left out or is the provider's."""
        if tool.get("type") not in ("function", "custom"):
            self.notes.append(leaves_free(where))
            return None
        name = flat(str(tool.get("name")), tool.get("namespace"))
        found = [flat_ for flat_, origin in self.origins.items() if name in (flat_, origin.name)]
        if not found:
            raise BadInput(f"{where}: there is no tool {str(tool.get('name'))[:MAX_NAME]!r}", where)
        return found[0]

    def origin(self, name: str) -> Origin:
        """The tool that a called function stands for; a name that a worker made up stands for itself."""
        return self.origins.get(name) or Origin(name)


def flat(name: str, namespace: str | None) -> str:
    """The function's name of a tool in a namespace: at most 64 characters, and the same each time."""
    if not namespace:
        return name
    joined = _OTHER.sub("_", f"{namespace.rstrip('_')}__{name}")
    if len(joined) <= MAX_NAME:
        return joined
    digest = hashlib.sha256(f"{namespace}\n{name}".encode()).hexdigest()[:8]
    return f"{joined[: MAX_NAME - 9]}_{digest}"


def freeform_arguments(text: str) -> str:
    return json.dumps({INPUT: text}, ensure_ascii=False)


def freeform_input(arguments: str) -> str:
    """The text in the arguments of a function that stands for a freeform tool; all of them where a worker wrote no
    such object."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return arguments
    text = found.get(INPUT) if isinstance(found, dict) else found
    return text if isinstance(text, str) else arguments


def _plain(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tool[name] for name in _OF_FUNCTIONS if tool.get(name) is not None}


def call_body(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call among the input items, as a chat message has it."""
    custom = call["type"] == "custom_tool_call"
    arguments = freeform_arguments(call["input"]) if custom else call["arguments"]
    function = {"name": flat(call["name"], call.get("namespace")), "arguments": arguments}
    return {"id": call["call_id"], "type": "function", "function": function}


def as_given(call: Mapping[str, Any], freeform: Collection[str]) -> dict[str, Any]:
    """A worker's call of a function as a call of the tool that the client gave."""
    function = call["function"]
    if function["name"] not in freeform:
        return dict(call)
    custom = {"name": function["name"], "input": freeform_input(function["arguments"])}
    return {**{name: value for name, value in call.items() if name != "function"}, "type": "custom", "custom": custom}
