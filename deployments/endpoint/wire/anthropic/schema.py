"""The types that validate a request: those of the `anthropic` package, made eager. To be imported late (two seconds).

The package's types validate a list only when somebody iterates it, and drop unknown fields. `taken` makes types of them
that validate lists at once and keep what is unknown. Only the fields in `READ` are checked, as nothing here depends
on the others, which may hold anything.
"""

# mypy: disable-error-code="misc, operator, valid-type"
# the types here are made at run time

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from anthropic.types import beta
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.messages import TAG, UNKNOWN, Anything, Object, StopText, TextOrList, whole
from deployments.endpoint.wire.request import Label

READ = frozenset(
    {
        "type",
        "role",
        "content",
        "text",
        "source",
        "data",
        "media_type",
        "url",
        "title",
        "context",
        "id",
        "name",
        "input",
        "tool_use_id",
        "is_error",
        "tool_name",
        "description",
        "input_schema",
        "strict",
        "disable_parallel_tool_use",
        "budget_tokens",
        "effort",
        "format",
        "schema",
        "user_id",
        "cache_control",
    }
)
"""The fields of messages, blocks, tools and options that are read."""

KNOWN = (
    beta.BetaTextBlockParam,
    beta.BetaImageBlockParam,
    beta.BetaRequestDocumentBlockParam,
    beta.BetaSearchResultBlockParam,
    beta.BetaToolUseBlockParam,
    beta.BetaToolResultBlockParam,
    beta.BetaToolReferenceBlockParam,
    beta.BetaCompactionBlockParam,
    beta.BetaThinkingBlockParam,
    beta.BetaRedactedThinkingBlockParam,
    beta.BetaToolParam,
)
"""Blocks and tools that are translated. Those of any other type are `Other`, and what happens to them is decided where
they are met."""

OPEN = (*KNOWN, beta.BetaThinkingConfigEnabledParam)
"""In a union with one of these another type may come, one that is newer than the package."""

_PLAIN = (str, int, float, bool)


@cache
def taken(hint: Any) -> Any:
    """The type that checks a JSON value of the hinted type."""
    origin, inner = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        return _object(hint)
    if origin in (Required, NotRequired, Annotated):
        return taken(inner[0])
    if origin in (Union, types.UnionType):
        return _union([arm for arm in inner if _is_json(arm)])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Object
    if _is_list(hint):
        return Annotated[list[taken(inner[0])], Field(fail_fast=True)]
    return Anything if hint is object else hint


def _is_list(hint: Any) -> bool:
    origin = get_origin(hint)
    # `Iterable` has no class in common with `Sequence` but itself
    return isinstance(origin, type) and not issubclass(origin, Mapping) and issubclass(Sequence, origin | list)


def _is_json(hint: Any) -> bool:
    """The package also takes files, and the objects of its own answers."""
    return hint in (*_PLAIN, types.NoneType) or is_typeddict(hint) or get_origin(hint) is not None


def _union(arms: list[Any]) -> Any:
    some = [arm for arm in arms if arm is not types.NoneType]
    objects = [arm for arm in some if is_typeddict(arm)]
    if str in some and any(_is_list(arm) for arm in some):
        listed = next(arm for arm in some if _is_list(arm))
        found: Any = Annotated[Annotated[str, Tag(":text")] | Annotated[taken(listed), Tag(":list")], TextOrList]
    elif len(objects) > 1:
        found = _forms(tuple(objects))
    elif str in some:  # beside a list of the values that are known so far
        found = str
    else:
        found = taken(some[0])
    return found | None if types.NoneType in arms else found


def _forms(objects: tuple[Any, ...]) -> Any:
    """One of several objects, told apart by `role` or `type`."""
    field = "role" if "role" in get_type_hints(objects[0]) else "type"
    is_open = any(each in OPEN for each in objects)
    kept = [each for each in objects if not is_open or each in KNOWN or each not in _blocks()]
    named = {each: _names(each, field) for each in kept}
    tags = {name: f"{TAG}{name}" for names in named.values() for name in names}
    arms = [Annotated[_object(each), Tag(f"{TAG}{names[0]}")] for each, names in named.items()]
    if is_open:
        arms.append(Annotated[_other(tuple(tags)), Tag(f"{TAG}other")])
    missing = ":custom" if beta.BetaToolParam in kept else None  # a tool without a type

    def form(value: Any) -> str | None:
        kind = value.get(field, "") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            return missing if kind is None and isinstance(value, dict) else None
        return tags.get(kind, f"{TAG}other" if is_open and kind else missing)

    complaint = "has to be text" if is_open else f"has to be one of {', '.join(tags)}"
    return Annotated[Union[tuple(arms)], Discriminator(form, UNKNOWN + field, complaint)]  # noqa: UP007


@cache
def _blocks() -> tuple[Any, ...]:
    return (*get_args(beta.BetaContentBlockParam), *get_args(beta.BetaToolUnionParam), *get_args(_RESULT_CONTENT))


_RESULT_CONTENT = get_args(get_args(get_type_hints(beta.BetaToolResultBlockParam)["content"])[1])[0]

ANTHROPICS = frozenset(
    name
    for block in get_args(beta.BetaContentBlockParam)
    if is_typeddict(block)
    for name in get_args(get_type_hints(block)["type"])
)
"""The types of Anthropic's content blocks."""


def _names(each: Any, field: str) -> tuple[str, ...]:
    """The texts that a field, a literal, may have."""
    hint = get_type_hints(each)[field]
    literal = next((arm for arm in get_args(hint) if get_origin(arm) is Literal), hint)
    return get_args(literal)


@cache
def _object(theirs: Any) -> Any:
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(theirs, include_extras=True).items():
        needed = get_origin(hint) is Required and name in READ
        if name == "type" and beta.BetaToolParam is not theirs:
            fields[name] = hint
        elif name not in READ:
            fields[name] = NotRequired[Anything]
        elif needed and name != "content":
            fields[name] = Required[taken(hint)]
        else:  # clients write null for what they leave out
            fields[name] = NotRequired[taken(hint) | None]
    return TypedDict(theirs.__name__, fields, extra_items=Anything)


@cache
def _other(known: tuple[str, ...]) -> Any:
    kind = Annotated[str, Field(min_length=1, json_schema_extra={"not": {"enum": list(known)}})]
    return TypedDict("Other", {"type": kind}, extra_items=Anything)


_HINTS = get_type_hints(MessageCreateParamsBase)
_WHOLE = BeforeValidator(whole)
_TOKENS = Annotated[int, Field(ge=1), _WHOLE]

_FIELDS: dict[str, Any] = {
    "model": Required[Annotated[Label, Field(examples=["fugu", "trinity", "fugu-ultra"])]],
    "messages": Required[Annotated[list[taken(get_args(_HINTS["messages"])[0])], Field(min_length=1, fail_fast=True)]],
    **{
        name: NotRequired[taken(_HINTS[name]) | None]
        for name in ("system", "tools", "tool_choice", "thinking", "output_config", "metadata", "cache_control")
    },
    "stop_sequences": NotRequired[Annotated[list[StopText], Field(fail_fast=True)] | None],
    # The package no longer has these three, but most of its clients do.
    "temperature": NotRequired[Annotated[float, Field(ge=0, le=2)] | None],
    "top_p": NotRequired[Annotated[float, Field(ge=0, le=1)] | None],
    "top_k": NotRequired[Annotated[int, Field(ge=0), _WHOLE] | None],
    "output_format": NotRequired[taken(get_type_hints(beta.BetaOutputConfigParam)["format"])],
    "fugu": NotRequired[Extension | None],
}

MESSAGES = TypeAdapter(
    TypedDict(
        "MessagesRequest",
        {**_FIELDS, "max_tokens": Required[_TOKENS], "stream": NotRequired[bool | None]},
        extra_items=Anything,
    )
)
COUNTED = TypeAdapter(
    TypedDict("CountTokensRequest", {**_FIELDS, "max_tokens": NotRequired[_TOKENS | None]}, extra_items=Anything)
)
