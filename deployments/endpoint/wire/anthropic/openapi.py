"""The part of the OpenAPI document that describes Anthropic's form. To be imported late, as schema.py.

Requests are described by the types that validate them, answers by those of the `anthropic` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel, TypeAdapter

from deployments.endpoint.wire.anthropic.errors import STATUSES
from deployments.endpoint.wire.anthropic.models import VERSION
from deployments.endpoint.wire.anthropic.schema import COUNTED, MESSAGES

JSON = "application/json"
PREFIX = "Anthropic."
"""Begins the names of these schemas, some of which the `openai` package has, too."""

NAMELESS = 413
"""Its type of error is in Anthropic's documentation, not in the package."""


class ModelPage(BaseModel):
    data: list[ModelInfo]
    has_more: bool
    first_id: str
    last_id: str


_READ = {"MessagesRequest": MESSAGES, "CountTokensRequest": COUNTED}
_WRITTEN: dict[str, Any] = {
    "Message": Message,
    "MessageTokensCount": MessageTokensCount,
    "ErrorResponse": ErrorResponse,
    "ModelPage": ModelPage,
    "ModelInfo": ModelInfo,
    "RawMessageStreamEvent": RawMessageStreamEvent,
}

VERSION_PARAMETER = {
    "name": VERSION,
    "in": "header",
    "description": "With it, models are listed as Anthropic's clients read them",
    "schema": {"type": "string"},
}


def schemas() -> dict[str, Any]:
    """The components, by name."""
    inputs: list[tuple[str, Any, TypeAdapter[Any]]] = [(name, "validation", each) for name, each in _READ.items()]
    inputs += [(name, "serialization", TypeAdapter(each)) for name, each in _WRITTEN.items()]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=f"#/components/schemas/{PREFIX}{{model}}")
    own = {name: schema for (name, _), schema in found.items()}
    return {f"{PREFIX}{name}": schema for name, schema in {**own, **definitions["$defs"]}.items()}


def paths(refusals: Mapping[int, str], parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`refusals`: statuses of errors, and what they mean."""
    event = {
        "type": "object",
        "description": "Each server-sent event: one of Anthropic's, a ping, or an error that came after the first byte",
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": _ref("RawMessageStreamEvent")},
        },
        "required": ["event", "data"],
    }
    answers = {JSON: {"schema": _ref("Message")}, "text/event-stream": {"schema": event}}
    count = {JSON: {"schema": _ref("MessageTokensCount")}}
    described = [
        ("/v1/messages", "messages", "Answer a conversation in Anthropic's form", "MessagesRequest", answers),
        ("/v1/messages/count_tokens", "count_tokens", "Estimate a prompt's tokens", "CountTokensRequest", count),
    ]
    return {
        path: {
            "post": {
                "summary": summary,
                "operationId": name,
                "parameters": list(parameters),
                "requestBody": {"required": True, "content": {JSON: {"schema": _ref(asked)}}},
                "responses": {"200": {"description": "The answer", "content": answered}, **_refused(refusals)},
            }
        }
        for path, name, summary, asked, answered in described
    }


def either(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A schema of OpenAI's form, or the one of that name."""
    return {"anyOf": [schema, _ref(name)]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{PREFIX}{name}"}


def _refused(refusals: Mapping[int, str]) -> dict[str, Any]:
    found = {}
    for status, meaning in refusals.items():
        content: Any = {JSON: {"schema": {"type": "object"} if status == NAMELESS else _ref("ErrorResponse")}}
        here = STATUSES.get(status, status)
        found[str(here)] = {"description": meaning, "content": content}
    return found
