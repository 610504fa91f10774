"""A chat-completions request: what is accepted, what is passed on, and what is refused by name.

A field is passed on to the worker, or changes nothing by its nature (`user`, `metadata`, ...), or the request is
refused with the field's name. Two are wishes, and adapted to the worker in silence: a limit of tokens above the
worker's own becomes the worker's (clients send 64,000 as a matter of course), and `seed` is left out for a provider
that has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from deployments.endpoint import bounds
from models.conductor.request import MAX_DEPTH, Limits
from models.errors import BadInput
from models.workers.ask import Sampling

Penalty = Annotated[float, Field(ge=-2, le=2)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal"})
PARTS = {"text": "text", "image_url": "image_url"}
"""Content parts that are passed on, each with the field that holds its content."""

TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")
MAX_TOOLS = 128

# OpenAI documents the bounds of `metadata`, `tools` and `stop`; the others are generous.
Label = Annotated[str, Field(max_length=512)]
Stop = Annotated[str, Field(max_length=4096)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class Extension(BaseModel):
    """This endpoint's own field, `fugu`. All but the first are of conducted requests: their limits, and how they plan.

    `shuffle` is the seed by which the workers' ordinals are permuted, for a conductor that reads cards. `conversation`
    names whose memory is shared.
    """

    model_config = ConfigDict(extra="forbid")

    allowed_workers: list[str] | None = Field(None, min_length=1)
    max_usd: float | None = Field(None, ge=0)
    max_calls: int | None = Field(None, ge=1)
    max_seconds: float | None = Field(None, gt=0)
    depth: int | None = Field(None, ge=0, le=MAX_DEPTH)
    recursive: bool | None = None
    shuffle: int | None = Field(None, ge=0, lt=2**63)
    conversation: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[ -~]+$")

    def limits(self, default: Limits) -> Limits:
        """What this request may take: where it says nothing, the endpoint's `default`. Raises BadInput."""
        own = {name: value for name in Limits.model_fields if (value := getattr(self, name)) is not None}
        limits = default.model_copy(update=own)
        if self.recursive and not limits.depth:
            raise BadInput("fugu.recursive needs a fugu.depth of at least 1", "fugu.depth")
        return limits


class ChatRequest(BaseModel):
    """One line a field: first what reaches the worker, then what is settled here, then what changes nothing."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    tools: list[dict[str, Any]] | None = Field(None, min_length=1, max_length=MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Effort | None = None

    model: Label
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    fugu: Extension = Extension.model_construct()

    n: Literal[1] = 1
    store: Literal[False] = False
    logprobs: Literal[False] = False
    service_tier: Literal["auto", "default"] = "auto"
    modalities: list[Literal["text"]] | None = Field(None, min_length=1)
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Label] | None = Field(None, max_length=16)

    @classmethod
    def parse(cls, body: bytes, within: bounds.Bounds = bounds.DEFAULT) -> ChatRequest:
        """Raises BadInput, with the field's name, for whatever OpenAI's API or this endpoint does not take."""
        try:
            data = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise BadInput(f"the body is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise BadInput("the body has to be a JSON object")
        within.check(data)
        # Clients spell an option that is not used as null.
        data = {name: value for name, value in data.items() if value is not None}
        try:
            chat = cls.model_validate(data, strict=True)
        except ValidationError as error:
            raise _first(error) from None
        for index, message in enumerate(chat.messages):
            _check_message(message, f"messages[{index}]")
        chat._check_fields_together()
        return chat

    def _check_fields_together(self) -> None:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise BadInput("max_tokens and max_completion_tokens differ; give one of them", "max_tokens")
        if self.stop is not None and "" in (self.stop if isinstance(self.stop, list) else [self.stop]):
            raise BadInput("stop: nothing can be cut off at an empty text", "stop")
        if "stream_options" in self.model_fields_set and not self.stream:
            raise BadInput("stream_options is for requests with stream=true", "stream_options")
        for name in TOOL_FIELDS[1:]:
            if getattr(self, name) is not None and not self.tools:
                raise BadInput(f"{name} needs tools", name)
        for index, tool in enumerate(self.tools or ()):
            if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
                raise BadInput("only tools of type 'function' are passed on", f"tools[{index}].type")

    def sampling(self) -> Sampling:
        """Every field that shapes the reply, as the ledger and the worker get it."""
        own = {name: getattr(self, name) for name in Sampling.model_fields if name in self.model_fields_set}
        limit = self.max_completion_tokens or self.max_tokens
        return Sampling.model_validate({**own, "logprobs": None, "max_tokens": limit})

    @property
    def has_images(self) -> bool:
        contents = (message.get("content") for message in self.messages)
        return any(part["type"] == "image_url" for content in contents if isinstance(content, list) for part in content)

    def refuse_conducting(self) -> None:
        """Raises BadInput for a field of `fugu` that only a conducted request can honour."""
        for name in self.fugu.model_fields_set - {"allowed_workers"}:
            if getattr(self.fugu, name) is not None:
                raise BadInput(f"fugu.{name} is not for the model {self.model!r}; use 'fugu-ultra'", f"fugu.{name}")

    def tool_results(self) -> dict[str, str]:
        """The results that the conversation ends with: call id -> text. Raises BadInput for one that is no text."""
        found: dict[str, str] = {}
        for index in range(len(self.messages) - 1, -1, -1):
            message, where = self.messages[index], f"messages[{index}]"
            if message["role"] != "tool":
                break
            if message["tool_call_id"] in found:
                raise BadInput(f"{where}: a second result of one call", f"{where}.tool_call_id")
            found[message["tool_call_id"]] = _text(message["content"], f"{where}.content")
        return dict(reversed(found.items()))

    def refuse_tools(self) -> None:
        """Raises BadInput where this is a turn of a tool conversation."""
        for name in TOOL_FIELDS:
            if getattr(self, name) is not None:
                raise BadInput(f"{name} is not for the model {self.model!r}; use 'fugu'", name)
        for index, message in enumerate(self.messages):
            if message["role"] == "tool" or message.get("tool_calls"):
                where = f"messages[{index}]"
                raise BadInput(f"{where}: tool turns are not for the model {self.model!r}; use 'fugu'", where)


def _first(error: ValidationError) -> BadInput:
    """The first complaint. Only `stream_options` and `fugu` have named fields below the first level."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = first["loc"][: 2 if first["loc"][0] in ("stream_options", "fugu") else 1]
    field = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        return BadInput(f"{field!r} is not a field that this endpoint can honour", field)
    if first["type"] == "missing":
        return BadInput(f"{field!r} is missing", field)
    return BadInput(f"{field}: {first['msg']}", field)


def _check_message(message: Mapping[str, Any], where: str) -> None:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise BadInput(f"{where}.role has to be one of {', '.join(sorted(ROLES))}", f"{where}.role")
    for name, value in message.items():
        if name not in MESSAGE_FIELDS and value is not None:
            raise BadInput(f"{where}.{name} is not a field that this endpoint can honour", f"{where}.{name}")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise BadInput(f"{where}.tool_call_id is missing", f"{where}.tool_call_id")
    calls = message.get("tool_calls")
    if calls is not None and (role != "assistant" or not isinstance(calls, list)):
        raise BadInput(f"{where}.tool_calls has to be a list, of an assistant's", f"{where}.tool_calls")
    if content is None and (calls or message.get("refusal")):
        return
    if isinstance(content, list):
        _check_parts(content, f"{where}.content")
    elif not isinstance(content, str):
        raise BadInput(f"{where}.content has to be text or a list of parts", f"{where}.content")


def _text(content: Any, where: str) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if any(part["type"] != "text" for part in parts):
        raise BadInput(f"{where}: a tool's result has to be text", where)
    text = "".join(part["text"] for part in parts)
    if "\0" in text:
        raise BadInput(f"{where}: a tool's result may not hold the character U+0000", where)
    return text


def _check_parts(parts: Sequence[Any], where: str) -> None:
    if not parts:
        raise BadInput(f"{where} is empty", where)
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PARTS:
            known = ", ".join(PARTS)
            raise BadInput(f"{where}[{index}].type has to be one of {known}", f"{where}[{index}].type")
        held = part.get(PARTS[kind])
        if not isinstance(held, str if kind == "text" else dict):
            raise BadInput(f"{where}[{index}].{kind} is missing", f"{where}[{index}].{kind}")
