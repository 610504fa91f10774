"""Types of a request's nested values: messages and their parts, tool calls, response formats. (Tools: tools.py.)

The shapes are OpenAI's, in types of our own: those of the `openai` package have lists of type `Iterable`, which
pydantic validates only when they are iterated, and drop unknown fields. A test checks that ours have the same fields.

Unknown fields of a part, a tool or a call are forwarded (providers have fields of their own), those of a message are
not: they are about the message.
"""

# mypy: disable-error-code="call-arg"
# mypy does not know PEP 728's `extra_items` yet.

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

UNKNOWN = "unknown "
"""Prefix of the error type for a value of none of the allowed forms; the field that names the form follows."""

TAG = ":"
"""Prefix of a form's name in pydantic's location of an error."""


def by(field: str, forms: Mapping[str, str]) -> Discriminator:
    """Discriminate by the text in `field`; `forms`: allowed text -> the form's tag."""

    def form(value: Any) -> str | None:
        kind = value.get(field) if isinstance(value, dict) else None
        return forms.get(kind) if isinstance(kind, str) else None

    return Discriminator(form, UNKNOWN + field, f"has to be one of {', '.join(forms)}")


def kind_among(ours: Collection[str], but: Collection[str] = ()) -> Discriminator:
    """Discriminate tools by their kinds: each of `ours` has a tag of its own, all others have `:other`. `but`: kinds
    that are none here."""

    def form(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in but:
            return None
        return f":{kind}" if kind in ours else ":other"

    return Discriminator(form, f"{UNKNOWN}type", "has to name the kind of tool")


def of(complaint: str, forms: Mapping[type, str]) -> Discriminator:
    """Discriminate by the type of the JSON value."""
    return Discriminator(lambda value: forms.get(type(value)), UNKNOWN, complaint)


def whole(value: Any) -> Any:
    """1.0 is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finite(value: Any) -> Any:
    """Raises ValueError for a number that JSON cannot represent: 1e999 is read as infinite."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
        elif isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError("a number in it is too large")
    return value


Anything = Annotated[Any, AfterValidator(_finite)]
Object = Annotated[dict[str, Any], AfterValidator(_finite)]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]

TextOrList = of("has to be text or a list", {str: ":text", list: ":list"})


StopText = Annotated[str, Field(min_length=1, max_length=4096)]
Stop: TypeAlias = Annotated[
    Annotated[StopText, Tag(":text")] | Annotated[list[StopText], Field(max_length=4), Tag(":list")], TextOrList
]


class TextPart(TypedDict, extra_items=Anything):
    type: Literal["text"]
    text: str


Url = Annotated[str, Field(pattern="^(https?://|gs://|data:)")]


class ImageUrl(TypedDict, extra_items=Anything):
    url: Url
    detail: NotRequired[str | None]


class ImagePart(TypedDict, extra_items=Anything):
    """`image_url`: also the address itself, as many clients write it."""

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[Url, Tag(":text")] | Annotated[ImageUrl, Tag(":object")],
        of("has to be an object with a url", {str: ":text", dict: ":object"}),
    ]


class Sound(TypedDict, extra_items=Anything):
    """`data`: in base64."""

    data: str
    format: str


class AudioPart(TypedDict, extra_items=Anything):
    type: Literal["input_audio"]
    input_audio: Sound


class FilePart(TypedDict, extra_items=Anything):
    type: Literal["file"]
    file: Object


class RefusalPart(TypedDict, extra_items=Anything):
    type: Literal["refusal"]
    refusal: str


class ThoughtPart(TypedDict, extra_items=Anything):
    """A model's reasoning, which comes back with its answer; not forwarded."""

    type: Literal["thinking", "redacted_thinking", "reasoning"]


PARTS = {"text": ":text", "image_url": ":image_url", "input_audio": ":input_audio", "file": ":file"}
THOUGHTS = dict.fromkeys(("thinking", "redacted_thinking", "reasoning"), ":thought")

Part: TypeAlias = Annotated[
    Annotated[TextPart, Tag(":text")]
    | Annotated[ImagePart, Tag(":image_url")]
    | Annotated[AudioPart, Tag(":input_audio")]
    | Annotated[FilePart, Tag(":file")]
    | Annotated[RefusalPart, Tag(":refusal")]
    | Annotated[ThoughtPart, Tag(":thought")],
    by("type", {**PARTS, "refusal": ":refusal", **THOUGHTS}),
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[Part], Field(fail_fast=True), Tag(":list")], TextOrList
]


class CalledFunction(TypedDict, extra_items=Anything):
    """A function as a model called it: its name may be unknown, and its arguments need not be JSON."""

    name: str
    arguments: NotRequired[str | Object | None]


class FunctionCall(TypedDict, extra_items=Anything):
    """Its `index`, in calls that were assembled from a stream, says nothing here: ids tell calls apart."""

    id: str
    type: NotRequired[Literal["function"] | None]
    function: CalledFunction


class CalledCustom(TypedDict, extra_items=Anything):
    name: FunctionName
    input: str


class CustomCall(TypedDict, extra_items=Anything):
    """A call of a tool with one text."""

    id: str
    type: Literal["custom"]
    custom: CalledCustom


def _called(value: Any) -> str | None:
    kind = (value.get("type") or "function") if isinstance(value, dict) else None
    return f":{kind}" if kind in ("function", "custom") else None


ToolCall: TypeAlias = Annotated[
    Annotated[FunctionCall, Tag(":function")] | Annotated[CustomCall, Tag(":custom")],
    Discriminator(_called, f"{UNKNOWN}type", "has to be function or custom"),
]


class Said(TypedDict, extra_items=Anything):
    role: Literal["system", "developer", "user"]
    content: Content | None
    name: NotRequired[str | None]


class Answered(TypedDict, extra_items=Anything):
    """An answer, of this endpoint or of another one. `function_call`: as answers had it before there were tools.

    Further fields about an answer (`annotations`, `reasoning_content`, `parsed`, ...) are accepted and not forwarded.
    """

    role: Literal["assistant"]
    content: NotRequired[Content | None]
    name: NotRequired[str | None]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[Annotated[list[ToolCall], Field(fail_fast=True)] | None]
    function_call: NotRequired[CalledFunction | None]


class Result(TypedDict, extra_items=Anything):
    role: Literal["tool"]
    tool_call_id: str
    content: Content | None
    name: NotRequired[str | None]


class Returned(TypedDict, extra_items=Anything):
    """The result of a `function_call`."""

    role: Literal["function"]
    name: str
    content: Content | None


SAID = dict.fromkeys(("system", "developer", "user"), ":said")
ROLES = {**SAID, "assistant": ":answered", "tool": ":result", "function": ":returned"}

ChatMessage: TypeAlias = Annotated[
    Annotated[Said, Tag(":said")]
    | Annotated[Answered, Tag(":answered")]
    | Annotated[Result, Tag(":result")]
    | Annotated[Returned, Tag(":returned")],
    by("role", ROLES),
]


class TextFormat(TypedDict, extra_items=Anything):
    type: Literal["text"]


class JsonFormat(TypedDict, extra_items=Anything):
    type: Literal["json_object"]


class JsonSchema(TypedDict, extra_items=Anything):
    name: FunctionName
    description: NotRequired[str | None]
    schema: Object
    strict: NotRequired[bool | None]


class SchemaFormat(TypedDict, extra_items=Anything):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat: TypeAlias = Annotated[
    Annotated[TextFormat, Tag(":text")]
    | Annotated[JsonFormat, Tag(":json_object")]
    | Annotated[SchemaFormat, Tag(":json_schema")],
    by("type", {"text": ":text", "json_object": ":json_object", "json_schema": ":json_schema"}),
]
