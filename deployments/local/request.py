"""A request to a local model, in OpenAI's format: what it may hold, and what it means for transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.endpoint.wire.body import place, read_object
from deployments.local.generation import Wanted
from models.errors import BadInput
from models.workers.ask import text_of

DEFAULT_TOKENS = 1024
"""The limit of an answer for which a request names none."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None

    def plain(self) -> dict[str, str]:
        """As system, user or assistant, with a text: calls of tools and their results are told in words."""
        given = self.content
        content = given if isinstance(given, str) else text_of([part.model_dump() for part in given or ()])
        if self.tool_calls:
            calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in self.tool_calls]
            content = "\n".join(filter(None, [content, *(f"Tool call: {call}" for call in calls)]))
        if self.role == "tool":
            return {"role": "user", "content": f"Tool result: {content}"}
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class _TextFormat(BaseModel):
    type: Literal["text"]


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """What is accepted; any other field, or a value that cannot be honoured, is refused by name."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    messages: list[_Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    chat_template_kwargs: dict[str, Any] = {}
    response_format: _TextFormat | None = None
    n: Literal[1] | None = None
    user: str | None = None

    @property
    def conversation(self) -> list[dict[str, str]]:
        return [message.plain() for message in self.messages]

    @property
    def counts(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def wanted(self) -> Wanted:
        """A temperature of 0 is greedy; what is not said is as the model's own configuration has it."""
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        options = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.temperature == 0:
            options = {name: options[name] for name in options if name == "repetition_penalty"} | _GREEDY
        elif self.temperature is not None:
            options["do_sample"] = True
        return Wanted(
            max_tokens=min(limits, default=DEFAULT_TOKENS),
            options=options,
            seed=self.seed,
            stop=tuple(stop for stop in _listed(self.stop) if stop),
            presence=self.presence_penalty or 0.0,
            frequency=self.frequency_penalty or 0.0,
        )


_GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "min_p": None}


def read_request(body: bytes) -> ChatRequest:
    """Raises BadInput, naming the field."""
    try:
        return ChatRequest.model_validate(read_object(body))
    except ValidationError as error:
        first = error.errors()[0]
        field = place([step for step in first["loc"] if not str(step).startswith(("list[", "str"))])
        what = "a local model cannot honour it" if first["type"] == "extra_forbidden" else first["msg"]
        raise BadInput(f"{field}: {what}", field) from None


def _listed(stop: str | Sequence[str] | None) -> Sequence[str]:
    return () if stop is None else (stop,) if isinstance(stop, str) else stop
