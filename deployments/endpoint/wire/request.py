"""A chat-completions request and its validation; /openapi.json publishes the same type.

Each field is forwarded to the worker, ignored because it cannot affect the answer (`user`, `metadata`, ...), or
rejected with a 400 that names it. Two are adapted to the worker silently: a token limit above the worker's own becomes
the worker's (many clients always send 64,000), and `seed` is left out for a provider that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from deployments.endpoint import bounds
from deployments.endpoint.answer.question import TOOL_FIELDS
from deployments.endpoint.wire.body import Step, place, read_object
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.messages import (
    TAG,
    UNKNOWN,
    ChatMessage,
    ResponseFormat,
    Stop,
    Tool,
    ToolChoice,
    passed_on,
    whole,
)
from models.errors import BadInput
from models.workers.ask import Sampling


def _off(value: bool) -> bool:
    if value:
        raise ValueError("only false is honoured here")
    return value


Off = Annotated[bool, AfterValidator(_off), Field(json_schema_extra={"const": False})]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

MAX_TOOLS = 128

Messages = Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True), AfterValidator(passed_on)]

# OpenAI documents the bounds of `metadata`, `tools` and `stop`; the others are generous.
Label = Annotated[str, Field(max_length=512)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


def _publish(schema: dict[str, Any]) -> None:
    """Publish that a null field is the same as a missing one, as `parse` treats it."""
    null = {"type": "null"}
    for name, field in schema["properties"].items():
        if name not in schema["required"] and null not in field.get("anyOf", ()):
            schema["properties"][name] = {"anyOf": [field, null]}


class ChatRequest(BaseModel):
    """First the fields for the worker, then those for the endpoint, then those that are ignored."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_publish)
    __pydantic_extra__: dict[str, None]

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Stop | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    tools: list[Tool] | None = Field(None, min_length=1, max_length=MAX_TOOLS, fail_fast=True)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None

    model: Annotated[Label, Field(examples=["fugu", "trinity", "fugu-ultra"])]
    messages: Messages
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    fugu: Extension = Extension.model_construct()

    n: Annotated[int, Field(ge=1, le=1)] = 1
    store: Off = False
    logprobs: Off = False
    service_tier: Literal["auto", "default"] = "auto"
    modalities: list[Literal["text"]] | None = Field(None, min_length=1)
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Label] | None = Field(None, max_length=16)

    _whole = field_validator("max_tokens", "max_completion_tokens", "seed", "n", mode="before")(whole)

    @classmethod
    def parse(cls, body: bytes, within: bounds.Bounds = bounds.DEFAULT) -> ChatRequest:
        """Raises BadInput, with the field's name, for anything that OpenAI's API or this endpoint does not accept."""
        data = read_object(body)
        within.check(data)
        # Clients write null for an option that is not used.
        data = {name: value for name, value in data.items() if value is not None}
        try:
            chat = cls.model_validate(data, strict=True)
        except ValidationError as error:
            raise _first(error, data) from None
        chat._check_fields_together()
        return chat

    def _check_fields_together(self) -> None:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise BadInput("max_tokens and max_completion_tokens differ; give one of them", "max_tokens")
        if "stream_options" in self.model_fields_set and not self.stream:
            raise BadInput("stream_options is for requests with stream=true", "stream_options")
        for name in TOOL_FIELDS[1:]:
            if getattr(self, name) is not None and not self.tools:
                raise BadInput(f"{name} needs tools", name)

    def sampling(self) -> Sampling:
        """All fields that shape the reply, as the ledger and the worker get them."""
        own = {name: getattr(self, name) for name in Sampling.model_fields if name in self.model_fields_set}
        limit = self.max_completion_tokens or self.max_tokens
        return Sampling.model_validate({**own, "logprobs": None, "max_tokens": limit})


def _first(error: ValidationError, data: Any) -> BadInput:
    """The first error, with the name of its field in `data`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = _field(first["loc"], first["type"], data)
    match first["type"]:
        case "extra_forbidden" | "none_required":
            return BadInput(f"{field!r} is not a field that this endpoint can honour", field)
        case "missing":
            return BadInput(f"{field!r} is missing", field)
    return BadInput(f"{field}: {first['msg'].removeprefix('Value error, ')}", field)


def _field(steps: Sequence[Step], complaint: str, data: Any) -> str:
    """The name of the field that `steps` lead to in `data`, without the names of the forms that pydantic tried."""
    taken: list[Step] = []
    for step in steps:
        if isinstance(step, str) and step.startswith(TAG) and not (isinstance(data, dict) and step in data):
            continue
        if isinstance(step, int) and isinstance(data, list):
            data = data[step]
        elif isinstance(data, dict):
            data = data.get(step)
        else:
            break
        taken.append(step)
    if complaint.startswith(UNKNOWN) and isinstance(data, dict):
        taken += [name for name in [complaint.removeprefix(UNKNOWN)] if name]
    elif len(taken) == 2 and not isinstance(data, dict) and isinstance(taken[1], int):
        taken.pop()  # a list of plain values is one field
    return place(taken)
