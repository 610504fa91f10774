"""A chat-completions request and its validation; /openapi.json publishes the same type.

Each field is forwarded to the worker, left out because it cannot change the answer (`store`, `metadata`, fields that
nobody here knows, ...), or rejected with a 400 that names it. What is left out of those that a caller may have counted
on is in the request's notes. Two are adapted to the worker silently: a token limit above the worker's own becomes the
worker's (many clients always send 64,000), and `seed` is left out for a provider that has none.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from deployments.endpoint import bounds
from deployments.endpoint.answer.question import TOOL_FIELDS
from deployments.endpoint.wire.body import SHOWN
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.history import passed_on
from deployments.endpoint.wire.messages import (
    ChatMessage,
    ResponseFormat,
    Stop,
    whole,
)
from deployments.endpoint.wire.refusal import validated
from deployments.endpoint.wire.tools import Tool, ToolChoice
from models.errors import BadInput
from models.workers.ask import Sampling


def _tools_instead(functions: list[Any]) -> list[Any]:
    if functions:
        raise ValueError("write functions as tools: answers call them as tools")
    return functions


Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Functions = Annotated[list[Any], AfterValidator(_tools_instead), Field(json_schema_extra={"maxItems": 0})]

MAX_TOOLS = 128
MAX_CHOICES = 8

Messages = Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True), AfterValidator(passed_on)]

# OpenAI documents the bounds of `tools` and `stop`; the others are generous.
Label = Annotated[str, Field(max_length=512)]

IDLE = frozenset(
    {"audio", "metadata", "prediction", "prompt_cache_retention", "safety_identifier", "service_tier", "store"}
)
"""Fields of OpenAI's that change nothing of what is answered; others that are left out are noted."""


def unknown(asked: BaseModel, idle: Set[str] = IDLE) -> tuple[str, ...]:
    """One sentence for each field that was left out, but for the idle ones."""
    left = sorted(set(asked.model_extra or ()) - idle)
    return tuple(f"{name[:SHOWN]} is not known here and was left out." for name in left)


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True)  # a default, which is not copied then

    include_usage: bool = False


def publish_nulls(schema: dict[str, Any]) -> None:
    """Publish that a null field is the same as a missing one, as `parse` treats it."""
    null = {"type": "null"}
    for name, field in schema["properties"].items():
        if name not in schema["required"] and null not in field.get("anyOf", ()):
            schema["properties"][name] = {"anyOf": [field, null]}


class Asked(BaseModel):
    """What chat completions and completions have in common: first the fields for the worker, then the endpoint's."""

    model_config = ConfigDict(extra="allow", json_schema_extra=publish_nulls)

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    stop: Stop | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None

    model: Annotated[Label, Field(examples=["fugu", "trinity", "fugu-ultra"])]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    fugu: Extension = Extension.model_construct()
    user: Label | None = None

    _whole = field_validator("max_tokens", "top_k", "seed", "n", mode="before")(whole)

    @classmethod
    def parse(cls, body: bytes, within: bounds.Bounds = bounds.DEFAULT) -> Self:
        """Raises BadInput, with the field's name, for anything that OpenAI's API or this endpoint does not accept."""
        asked = validated(body, within, cls.model_validate)
        asked.check_fields_together()
        return asked

    def check_fields_together(self) -> None:
        """Raises BadInput, with the name of a field."""

    def sampling(self) -> Sampling:
        """All fields that shape the reply, as the ledger and the worker get them."""
        return Sampling.model_validate(self.shaping())

    def shaping(self) -> dict[str, Any]:
        """They by their names in `Sampling`, without those that change nothing."""
        own = {name: getattr(self, name) for name in Sampling.model_fields if name in self.model_fields_set}
        for name in ("tools", "stop", "logit_bias", "logprobs", "top_logprobs"):
            own[name] = own.get(name) or None
        if own["tools"] is None:
            own |= dict.fromkeys(TOOL_FIELDS)
        return own

    @property
    def notes(self) -> tuple[str, ...]:
        return unknown(self)


class ChatRequest(Asked):
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS, fail_fast=True)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None

    messages: Messages
    modalities: list[Literal["text"]] | None = None
    functions: Functions | None = None
    prompt_cache_key: Label | None = None

    _whole_too = field_validator("max_completion_tokens", "top_logprobs", mode="before")(whole)

    def check_fields_together(self) -> None:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise BadInput("max_tokens and max_completion_tokens differ; give one of them", "max_tokens")
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise BadInput("tool_choice asks for a tool, and tools has none", "tool_choice")
        if self.top_logprobs and not self.logprobs:
            raise BadInput("top_logprobs needs logprobs: true", "top_logprobs")

    def shaping(self) -> dict[str, Any]:
        return super().shaping() | {"max_tokens": self.max_completion_tokens or self.max_tokens}
