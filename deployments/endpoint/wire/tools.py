"""Tools of a chat completion: their types, and what of them workers get.

A `custom` tool becomes a function with one text, and calls of it come back as calls of that tool. A provider's own
tools (`web_search`, ...) are passed to the workers that take them, or left out with a note: a client's built-in tools
never end a request.
"""

# mypy: disable-error-code="call-arg"
# mypy does not know PEP 728's `extra_items` yet.

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field, Tag, WithJsonSchema
from typing_extensions import TypedDict

from deployments.endpoint.answer.question import TOOL_FIELDS
from deployments.endpoint.wire.messages import Anything, FunctionName, Object, by, kind_among, of
from deployments.endpoint.wire.responses.tools import FREE_AGAIN, Tools, leaves_free, left_out
from models.errors import BadInput


class DefinedFunction(TypedDict, extra_items=Anything):
    name: FunctionName
    description: NotRequired[str | None]
    parameters: NotRequired[Object | None]
    strict: NotRequired[bool | None]


class FunctionTool(TypedDict, extra_items=Anything):
    type: Literal["function"]
    function: DefinedFunction


class TextInput(TypedDict, extra_items=Anything):
    type: Literal["text"]


class Grammar(TypedDict, extra_items=Anything):
    definition: str
    syntax: Literal["lark", "regex"]


class GrammarInput(TypedDict, extra_items=Anything):
    type: Literal["grammar"]
    grammar: Grammar


Input: TypeAlias = Annotated[
    Annotated[TextInput, Tag(":text")] | Annotated[GrammarInput, Tag(":grammar")],
    by("type", {"text": ":text", "grammar": ":grammar"}),
]


class DefinedCustom(TypedDict, extra_items=Anything):
    name: FunctionName
    description: NotRequired[str | None]
    format: NotRequired[Input | None]


class CustomTool(TypedDict, extra_items=Anything):
    type: Literal["custom"]
    custom: DefinedCustom


OURS = ("function", "custom", "allowed_tools")
"""Kinds of tools, and of choices of them, that are read here."""


class OtherTool(TypedDict, extra_items=Anything):
    """A tool of a provider: `web_search`, `code_interpreter`, `mcp`, ..."""

    type: Annotated[
        str,
        Field(min_length=1, max_length=64),
        WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64, "not": {"enum": list(OURS)}}),
    ]


Tool: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag(":function")]
    | Annotated[CustomTool, Tag(":custom")]
    | Annotated[OtherTool, Tag(":other")],
    kind_among(OURS[:2], but=OURS[2:]),
]


class Chosen(TypedDict, extra_items=Anything):
    name: FunctionName


class ChosenFunction(TypedDict, extra_items=Anything):
    type: Literal["function"]
    function: Chosen


class ChosenCustom(TypedDict, extra_items=Anything):
    type: Literal["custom"]
    custom: Chosen


class Allowed(TypedDict, extra_items=Anything):
    mode: Literal["auto", "required"]
    tools: list[Object]


class AllowedTools(TypedDict, extra_items=Anything):
    type: Literal["allowed_tools"]
    allowed_tools: Allowed


ToolChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(":text")]
    | Annotated[
        Annotated[ChosenFunction, Tag(":function")]
        | Annotated[ChosenCustom, Tag(":custom")]
        | Annotated[AllowedTools, Tag(":allowed_tools")]
        | Annotated[OtherTool, Tag(":other")],
        kind_among(OURS),
        Tag(":object"),
    ],
    of("has to be none, auto, required or an object", {str: ":text", dict: ":object"}),
]


class ChatTools:
    """`functions`: in the shape of chat completions, with the tools of providers that are passed on. `freeform`: the
    names of those that stand for custom tools. `notes`: what was mapped or left out."""

    def __init__(self, given: Sequence[Mapping[str, Any]], taken: Collection[str]) -> None:
        """`taken`: kinds of providers' tools that some worker takes. Raises BadInput for two tools of one name."""
        self.functions: list[dict[str, Any]] = []
        self.freeform: set[str] = set()
        self.notes: list[str] = []
        names = {tool["function"]["name"] for tool in given if tool["type"] == "function"}
        others: dict[str, None] = {}
        for index, tool in enumerate(given):
            match tool["type"]:
                case "function":
                    self.functions.append(dict(tool))
                case "custom":
                    name = tool["custom"]["name"]
                    if name in names:
                        where = f"tools[{index}].custom.name"
                        raise BadInput(f"{where}: there are two tools {name!r}", where)
                    names.add(name)
                    self.freeform.add(name)
                    made = Tools([_flat(tool["custom"])])
                    self.functions += made.functions
                    self.notes += made.notes
                case kind if kind in taken:
                    self.functions.append(dict(tool))
                case kind:
                    others[kind] = None
        if others:
            self.notes.append(left_out(others))

    def fields(self, choice: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """The fields of `Sampling` about tools that are others than the request's."""
        chosen = self.choice(choice)
        if not self.functions:
            return dict.fromkeys(TOOL_FIELDS)
        return {"tools": tuple(self.functions), "tool_choice": chosen}

    def choice(self, given: str | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
        """The choice of tools as workers get it; `None` where it changes nothing. A choice of tools that are the
        provider's or were left out leaves the worker free, with a note. Raises BadInput for a custom tool that there is
        not."""
        if isinstance(given, Mapping):
            if given["type"] != "allowed_tools":
                return self._chosen(given, "tool_choice")
            each = enumerate(given["allowed_tools"]["tools"])
            tools = [self._chosen(tool, f"tool_choice.allowed_tools.tools[{index}]") for index, tool in each]
            left = [tool for tool in tools if tool is not None]
            return {**given, "allowed_tools": {**given["allowed_tools"], "tools": left}} if left else None
        if given == "required" and not self.functions:
            self.notes.append(FREE_AGAIN)
            return None
        return given if self.functions else None

    def _chosen(self, tool: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        if tool.get("type") not in ("function", "custom"):
            self.notes.append(leaves_free(where))
            return None
        if tool["type"] == "function":
            return dict(tool)
        custom = tool.get("custom")
        name = custom.get("name") if isinstance(custom, Mapping) else None
        if name not in self.freeform:
            raise BadInput(f"{where}: there is no custom tool {str(name)[:64]!r}", where)
        return {"type": "function", "function": {"name": name}}


def _flat(custom: Mapping[str, Any]) -> dict[str, Any]:
    """A custom tool in the shape of the Responses API."""
    form = custom.get("format") or {}
    return {**custom, "type": "custom", "format": {"type": form.get("type"), **form.get("grammar", {})}}
