"""A Responses request and its validation; /openapi.json publishes the same type. To be imported late.

Fields that this endpoint does not know are accepted, change nothing, and are noted.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from deployments.endpoint import bounds
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.messages import Anything, whole
from deployments.endpoint.wire.refusal import validated
from deployments.endpoint.wire.request import IDLE, Label, publish_nulls, unknown
from deployments.endpoint.wire.responses.schema import Conversation, Effort, Input, TextOptions, Tool, ToolChoice
from models.errors import BadInput

MAX_TOOLS = 1024

DELIVERY = frozenset({"client_metadata", "max_tool_calls", "prompt_cache_options", "stream_options"})
"""Fields of this form that change nothing of what is answered: there are no tools here whose calls could be counted."""

LOGPROBS = "message.output_text.logprobs"


class ResponseRequest(BaseModel):
    """First the fields that shape the answer, then those about its delivery and its keeping."""

    model_config = ConfigDict(extra="allow", json_schema_extra=publish_nulls)
    __pydantic_extra__: dict[str, Anything]

    model: Annotated[Label, Field(examples=["fugu", "trinity", "fugu-ultra"])]
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Label | None = None
    conversation: Conversation | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    tools: list[Tool] = Field([], max_length=MAX_TOOLS, fail_fast=True)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Effort | None = None
    text: TextOptions | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    stream: bool = False
    background: bool = False
    store: bool = True
    include: list[Label] = Field([], max_length=64)
    user: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Label] | None = Field(None, max_length=16)
    prompt: None = None
    fugu: Extension = Extension.model_construct()

    _whole = field_validator("max_output_tokens", "top_logprobs", mode="before")(whole)

    @classmethod
    def parse(cls, body: bytes, within: bounds.Bounds = bounds.DEFAULT) -> ResponseRequest:
        """Raises BadInput, with the field's name, for anything that cannot be honoured."""
        asked = validated(body, within, cls.model_validate)
        asked._check_fields_together()
        return asked

    def _check_fields_together(self) -> None:
        if self.previous_response_id is not None and self.conversation is not None:
            message = "previous_response_id and conversation both name what came before; give one of them"
            raise BadInput(message, "previous_response_id")
        if self.background and not self.store:
            raise BadInput("background needs store: what is answered later has to be kept", "background")

    @property
    def notes(self) -> tuple[str, ...]:
        return unknown(self, IDLE | DELIVERY)

    @property
    def logprobs(self) -> bool:
        """Whether the tokens' log probabilities are wanted: the API's `include` says so, or how many others are."""
        return LOGPROBS in self.include or bool(self.top_logprobs)

    @property
    def conversation_id(self) -> str | None:
        return self.conversation["id"] if isinstance(self.conversation, dict) else self.conversation
