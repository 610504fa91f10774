"""The part of the OpenAPI document that describes the Responses API. To be imported late: it imports `openai`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from openai.types.responses import Response
from pydantic import BaseModel

from deployments.endpoint.wire.responses.request import ResponseRequest

JSON = "application/json"
KEPT = (400, 404, 410, 503)
"""Refusals about a response that is kept."""

Describe = Callable[..., dict[str, Any]]
"""Describes one operation (`wire/openapi.py`)."""


class Items(BaseModel):
    """`data`: items as their client sent them, and as they were put out."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    has_more: bool
    first_id: str
    last_id: str


class Deleted(BaseModel):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


WRITTEN = (Response, Items, Deleted)


def paths(post: Describe, get: Describe) -> dict[str, dict[str, Any]]:
    """The paths of the Responses API. Its events have a type as their name; each holds a number, most a part."""
    event = {
        "type": "object",
        "description": "Each server-sent event, as in OpenAI's reference. `response.failed`: the answer failed.",
        "properties": {"event": {"type": "string"}, "data": {"type": "string", "contentMediaType": JSON}},
        "required": ["event", "data"],
    }
    asked = post(
        "Answer a response, whole, as a stream or in the background", "respond", ResponseRequest, Response, event
    )
    query = [_query("stream", {"enum": ["true", "false"]}), _query("starting_after", {"pattern": "^[0-9]{1,8}$"})]
    read = _of_response(get("A response that is kept", "response", Response, *KEPT), *query)
    read["responses"]["200"]["content"]["text/event-stream"] = {"schema": event}
    listing = [
        _query("order", {"enum": ["asc", "desc"]}),
        _query("limit", {"pattern": "^([1-9][0-9]?|100)$"}),
        _query("after", {}),
    ]
    items = _of_response(get("The items that it was made from", "input_items", Items, *KEPT), *listing)
    return {
        "/v1/responses": {"post": asked},
        "/v1/responses/{id}": {
            "get": read,
            "delete": _of_response(get("Forget a response", "forget", Deleted, *KEPT)),
        },
        "/v1/responses/{id}/cancel": {
            "post": _of_response(get("Cancel a response in the background", "cancel", Response, *KEPT))
        },
        "/v1/responses/{id}/input_items": {"get": items},
    }


def _of_response(operation: dict[str, Any], *query: dict[str, Any]) -> dict[str, Any]:
    path = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**operation, "parameters": [path, *query]}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", **schema}}
