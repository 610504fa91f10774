"""Types of a Responses request, made of those of the `openai` package. To be imported late: it imports that package.

Its types have lists of type `Iterable`, which pydantic validates only when they are iterated, and drop unknown fields.
`part_of` takes the fields of such a type that this endpoint reads, with real lists, and keeps all others as they are:
they change nothing here, so whatever a client sends in them is accepted.
"""

# mypy: disable-error-code="valid-type,misc,call-arg,operator"
# The types are made when this module is imported; mypy does not know PEP 728's `extra_items` yet.

from __future__ import annotations

import re
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, get_args, get_origin, get_type_hints

from openai.types.responses import (
    CustomToolParam,
    EasyInputMessageParam,
    FunctionToolParam,
    NamespaceToolParam,
    ResponseConversationParamParam,
    ResponseCustomToolCallOutputParam,
    ResponseCustomToolCallParam,
    ResponseFormatTextJSONSchemaConfigParam,
    ResponseFunctionToolCallParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ResponseInputTextParam,
    ResponseOutputRefusalParam,
    ResponseOutputTextParam,
    ResponseReasoningItemParam,
    ResponseTextConfigParam,
    ToolChoiceAllowedParam,
    ToolChoiceCustomParam,
    ToolChoiceFunctionParam,
)
from openai.types.responses.response_input_item_param import FunctionCallOutput, ItemReference
from openai.types.shared_params import CustomToolInputFormat, Reasoning, ResponseFormatJSONObject, ResponseFormatText
from pydantic import Discriminator, Field, Tag, WithJsonSchema
from typing_extensions import TypedDict

from deployments.endpoint.wire.messages import UNKNOWN, Anything, FunctionName, Object, TextOrList, by, kind_among, of

OTHER_ITEM = r"^[a-z_]+_(call|output|tools|request|response|trigger|summary)$|^compaction$|^program$"
"""Kinds of items that are left out: they are about tools of a provider, which the worker here has not got."""


def part_of(kind: Any, *names: str, **others: Any) -> Any:
    """The TypedDict `kind` of the `openai` package with these fields alone, and `others` in place of its own types.

    A field that may be missing may also be null, and one that may be null may also be missing.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {}
    for name in (*names, *others):
        hint = hints[name]
        needed = get_origin(hint) is Required
        field = others.get(name, get_args(hint)[0] if needed else hint)
        fields[name] = field if needed and NoneType not in get_args(field) else NotRequired[field | None]
    return TypedDict(kind.__name__, fields, extra_items=Anything)


class PlainTextPart(TypedDict, extra_items=Anything):
    """A text as other forms of the API name it, or one of a kind that is read like it."""

    type: Literal["text", "summary_text", "reasoning_text"]
    text: str


class AudioPart(TypedDict, extra_items=Anything):
    type: Literal["input_audio"]
    input_audio: Object


_PARTS = {
    "input_text": ":input_text",
    "output_text": ":output_text",
    **dict.fromkeys(("text", "summary_text", "reasoning_text"), ":plain"),
    "refusal": ":refusal",
    "input_image": ":input_image",
    "input_file": ":input_file",
    "input_audio": ":input_audio",
}
Part: TypeAlias = Annotated[
    Annotated[part_of(ResponseInputTextParam, "type", "text"), Tag(":input_text")]
    | Annotated[part_of(ResponseOutputTextParam, "type", "text"), Tag(":output_text")]
    | Annotated[PlainTextPart, Tag(":plain")]
    | Annotated[part_of(ResponseOutputRefusalParam, "type", "refusal"), Tag(":refusal")]
    | Annotated[part_of(ResponseInputImageParam, "type", "image_url", "file_id"), Tag(":input_image")]
    | Annotated[
        part_of(ResponseInputFileParam, "type", "file_data", "file_id", "file_url", "filename"), Tag(":input_file")
    ]
    | Annotated[AudioPart, Tag(":input_audio")],
    by("type", _PARTS),
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[Part], Field(fail_fast=True), Tag(":list")], TextOrList
]


_ITEMS = {
    "message": ":message",
    "function_call": ":function_call",
    "function_call_output": ":function_call_output",
    "custom_tool_call": ":custom_tool_call",
    "custom_tool_call_output": ":custom_tool_call_output",
    "reasoning": ":reasoning",
    "item_reference": ":item_reference",
}


class OtherItem(TypedDict, extra_items=Anything):
    type: Annotated[
        str,
        Field(pattern=OTHER_ITEM),
        WithJsonSchema({"type": "string", "pattern": OTHER_ITEM, "not": {"enum": list(_ITEMS)}}),
    ]


def _item(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is None and isinstance(value, dict):
        kind = "item_reference" if "id" in value and "role" not in value else "message"
    if not isinstance(kind, str):
        return None
    return _ITEMS.get(kind) or (":other" if re.search(OTHER_ITEM, kind) else None)


Item: TypeAlias = Annotated[
    Annotated[part_of(EasyInputMessageParam, "type", "role", content=Content | None), Tag(":message")]
    | Annotated[
        part_of(ResponseFunctionToolCallParam, "type", "call_id", "name", "arguments", "namespace"),
        Tag(":function_call"),
    ]
    | Annotated[part_of(FunctionCallOutput, "type", "call_id", output=Content), Tag(":function_call_output")]
    | Annotated[
        part_of(ResponseCustomToolCallParam, "type", "call_id", "name", "input", "namespace"), Tag(":custom_tool_call")
    ]
    | Annotated[
        part_of(ResponseCustomToolCallOutputParam, "type", "call_id", output=Content), Tag(":custom_tool_call_output")
    ]
    | Annotated[part_of(ResponseReasoningItemParam, "type"), Tag(":reasoning")]
    | Annotated[part_of(ItemReference, "type", "id"), Tag(":item_reference")]
    | Annotated[OtherItem, Tag(":other")],
    Discriminator(_item, f"{UNKNOWN}type", f"has to be one of {', '.join(_ITEMS)}, or an item of a provider's tools"),
]
Input: TypeAlias = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[Item], Field(min_length=1, fail_fast=True), Tag(":list")], TextOrList
]

Function: TypeAlias = part_of(
    FunctionToolParam, "type", "description", name=FunctionName, strict=bool | None, parameters=Object | None
)
Custom: TypeAlias = part_of(CustomToolParam, "type", "description", name=FunctionName, format=CustomToolInputFormat)


OURS = ("function", "custom", "namespace", "allowed_tools")
"""Kinds of tools, and of choices of them, that are read here."""


class OtherTool(TypedDict, extra_items=Anything):
    """A tool of a provider: `web_search`, `local_shell`, `mcp`, ..."""

    type: Annotated[
        str,
        Field(min_length=1, max_length=64),
        WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64, "not": {"enum": list(OURS)}}),
    ]


_named = kind_among(OURS[:3])
_Held: TypeAlias = Annotated[
    Annotated[Function, Tag(":function")] | Annotated[Custom, Tag(":custom")] | Annotated[OtherTool, Tag(":other")],
    _named,
]
Namespace: TypeAlias = part_of(
    NamespaceToolParam, "type", name=Annotated[str, Field(min_length=1, max_length=128)], tools=list[_Held]
)
Tool: TypeAlias = Annotated[
    Annotated[Function, Tag(":function")]
    | Annotated[Custom, Tag(":custom")]
    | Annotated[Namespace, Tag(":namespace")]
    | Annotated[OtherTool, Tag(":other")],
    _named,
]


def _choice(value: Any) -> str | None:
    if isinstance(value, str):
        return ":text"
    kind = value.get("type") if isinstance(value, dict) else None
    return None if not isinstance(kind, str) else f":{kind}" if kind in OURS and kind != "namespace" else ":other"


ToolChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(":text")]
    | Annotated[part_of(ToolChoiceFunctionParam, "type", "name"), Tag(":function")]
    | Annotated[part_of(ToolChoiceCustomParam, "type", "name"), Tag(":custom")]
    | Annotated[part_of(ToolChoiceAllowedParam, "type", "mode", tools=list[Object]), Tag(":allowed_tools")]
    | Annotated[OtherTool, Tag(":other")],
    Discriminator(_choice, f"{UNKNOWN}type", "has to be none, auto, required or an object with a type"),
]

_Format: TypeAlias = Annotated[
    Annotated[part_of(ResponseFormatText, "type"), Tag(":text")]
    | Annotated[part_of(ResponseFormatJSONObject, "type"), Tag(":json_object")]
    | Annotated[
        part_of(
            ResponseFormatTextJSONSchemaConfigParam, "type", "description", "strict", name=FunctionName, schema=Object
        ),
        Tag(":json_schema"),
    ],
    by("type", {"text": ":text", "json_object": ":json_object", "json_schema": ":json_schema"}),
]
TextOptions: TypeAlias = part_of(ResponseTextConfigParam, format=_Format)
Effort: TypeAlias = part_of(Reasoning, "effort")

Conversation: TypeAlias = Annotated[
    Annotated[str, Tag(":text")] | Annotated[part_of(ResponseConversationParamParam, "id"), Tag(":object")],
    of("has to be the id of a conversation, or an object with it", {str: ":text", dict: ":object"}),
]
