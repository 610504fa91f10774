"""The OpenAPI document of the endpoint. To be imported late: it imports the `openai` package.

Requests are described by the types that validate them, answers by those of the `openai` package.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from deployments.endpoint.pages import openapi as pages
from deployments.endpoint.wire.identity import HEADER, MAX_KEY
from deployments.endpoint.wire.request import ChatRequest

JSON = "application/json"


class Refusal(BaseModel):
    error: ErrorObject


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Alive(BaseModel):
    status: Literal["ok"]


class Readiness(RootModel[dict[str, bool | dict[str, str | None]]]):
    """`ready`, and what it depends on. `open`: workers that are not asked, each with the time until which, if any."""


READ = (ChatRequest,)
WRITTEN = (ChatCompletion, ChatCompletionChunk, Refusal, Model, Models, Alive, Readiness)

REFUSALS = {
    400: "Something in the request is wrong, or no worker can honour it; `param` names the field",
    402: "A budget, or a limit of `fugu`, is used up",
    403: "Sent to another host's name, or by a page of another origin",
    404: "There is no such model",
    408: "The body did not arrive in time",
    409: "The `Idempotency-Key` was sent with another request",
    413: "The body is too large",
    415: "The body is no `application/json`",
    429: "A worker is rate limited; `Retry-After` says for how long",
    500: "A fault of the endpoint",
    502: "The workers that may be asked failed",
    503: "Not now; `Retry-After` says when",
    504: "A worker, or the request's own limit of time, ran out of time",
}
ALWAYS = (403, 500)

HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    HEADER: (
        "With `fugu-ultra`: a request that is sent again with it is answered once",
        {"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
    ),
    "X-Fugu-Workers": ("Who may be asked: names of workers, between commas", {"pattern": r"[^,\s]"}),
    "X-Fugu-Trace": ("`1`: the answer tells who made it", {}),
}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _answers(*refusals: int, **answered: dict[str, Any]) -> dict[str, Any]:
    """`answered`: schemas of status 200, by the last word of the media type."""
    content = {JSON if kind == "json" else "text/event-stream": {"schema": schema} for kind, schema in answered.items()}
    refused = {JSON: {"schema": _ref(Refusal)}}
    return {
        "200": {"description": "The answer", "content": content},
        **{str(code): {"description": REFUSALS[code], "content": refused} for code in sorted({*refusals, *ALWAYS})},
    }


def _chat() -> dict[str, Any]:
    chunk = {"contentMediaType": JSON, "contentSchema": {"anyOf": [_ref(ChatCompletionChunk), _ref(Refusal)]}}
    event = {
        "type": "object",
        "description": "Each server-sent event. A Refusal: the answer failed after its first byte.",
        "properties": {"data": {"type": "string", "anyOf": [{"const": "[DONE]"}, chunk]}},
        "required": ["data"],
    }
    parameters = [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string", **schema}}
        for name, (text, schema) in HEADERS.items()
    ]
    return {
        "summary": "Answer a conversation, whole or as a stream",
        "operationId": "chat",
        "parameters": parameters,
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(ChatRequest)}}},
        "responses": _answers(*REFUSALS, json=_ref(ChatCompletion), event_stream=event),
    }


def _get(summary: str, name: str, model: type[BaseModel], *refusals: int) -> dict[str, Any]:
    return {"summary": summary, "operationId": name, "responses": _answers(*refusals, json=_ref(model))}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    ready = _get("Whether a question would be answered without delay", "readyz", Readiness)
    ready["responses"]["503"] = {**ready["responses"]["200"], "description": "Not now: what is false is missing"}
    one = _get("One model", "model", Model, 404)
    one["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    this = {"summary": "This document", "operationId": "openapi", "responses": _answers(json={"type": "object"})}
    models = [(model, "validation") for model in READ] + [(model, "serialization") for model in WRITTEN]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "fugu-flows", "version": "1"},
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/models": {"get": _get("The models", "models", Models)},
            "/v1/models/{name}": {"get": one},
            "/livez": {"get": _get("Whether the endpoint runs", "livez", Alive)},
            "/readyz": {"get": ready},
            "/openapi.json": {"get": this},
            **pages.paths(_ref(Refusal)),
        },
        "components": {"schemas": schemas["$defs"]},
    }
