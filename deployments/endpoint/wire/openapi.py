"""The OpenAPI document of the endpoint. To be imported late: it imports the `openai` and `anthropic` packages.

Requests are described by the types that validate them, answers by those of the two packages.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from openai.types import Completion, CompletionChoice, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from deployments.endpoint.feedback import FeedbackRequest, FeedbackSaid
from deployments.endpoint.pages import openapi as pages
from deployments.endpoint.wire.anthropic import openapi as anthropics
from deployments.endpoint.wire.completions import CompletionRequest
from deployments.endpoint.wire.identity import HEADER, MAX_KEY
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.responses import openapi as responses
from deployments.endpoint.wire.responses.request import ResponseRequest

JSON = "application/json"


class Refusal(BaseModel):
    error: ErrorObject


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class PieceChoice(CompletionChoice):
    """A chunk's, which ends with a finish reason only where the text does."""

    finish_reason: Literal["stop", "length", "content_filter"] | None  # type: ignore[assignment]


class CompletionChunk(Completion):
    choices: list[PieceChoice]  # type: ignore[assignment]


class Alive(BaseModel):
    status: Literal["ok"]


class Cost(BaseModel):
    """`worst`: where no call fails. `with_failures`: where every call fails as often as it may, and was paid."""

    min: float
    worst: float
    with_failures: float


class WorkerCost(BaseModel):
    """Of one call."""

    worker: str
    min_usd: float
    worst_usd: float


class BudgetLeft(BaseModel):
    budget: Literal["total", "month", "day"]
    limit_usd: float
    left_usd: float


class Estimate(BaseModel):
    """`worker`: who would be asked first; `margin`: by how much (in logits) the router prefers it."""

    object: Literal["estimate"]
    model: str
    worker: str
    margin: float | None
    role: str | None
    workers: list[WorkerCost]
    cost_usd: Cost
    limits: dict[str, float | None]
    budgets: list[BudgetLeft]


class Readiness(RootModel[dict[str, bool | int | dict[str, str | None]]]):
    """`ready`, and what it depends on. `background`: responses that are answered there. `open`: workers that are not
    asked, each with the time until which, if any."""


READ = (ChatRequest, CompletionRequest, ResponseRequest, FeedbackRequest)
WRITTEN = (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    CompletionChunk,
    *responses.WRITTEN,
    Refusal,
    Model,
    Models,
    Alive,
    Estimate,
    FeedbackSaid,
    Readiness,
)

REFUSALS = {
    400: "Something in the request is wrong, or no worker can honour it; `param` names the field",
    402: "A budget, or a limit of `fugu`, is used up",
    401: "An API key is needed, or this one is not valid",
    403: "Sent to another host's name, by a page of another origin, or by a key that may not do this",
    404: "There is no such model, or nothing of that id",
    408: "The body did not arrive in time",
    409: "The `Idempotency-Key` was sent with another request",
    410: "Its texts have been deleted by retention",
    413: "The body is too large",
    415: "The body is no `application/json`",
    422: "The worker's reply does not fit `response_format`, nor does its repair",
    429: "A rate of the key is used up, or a worker is rate limited; `Retry-After` says for how long",
    500: "A fault of the endpoint",
    502: "The workers that may be asked failed",
    503: "Not now; `Retry-After` says when",
    504: "A worker, or the request's own limit of time, ran out of time",
}
ALWAYS = (401, 403, 500)

HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    HEADER: (
        "A request that is sent again with it is answered once",
        {"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
    ),
    "X-Fugu-Workers": ("Who may be asked: names of workers, between commas", {"pattern": r"[^,\s]"}),
    "X-Fugu-Trace": ("`1`: the answer tells who made it", {}),
    "X-Fugu-Cost": ("`1`: the headers `X-Fugu-Cost` (USD) and `Server-Timing` (ms), and the object `fugu`", {}),
}


KEYS: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
"""Where the home has API keys."""


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


def _answered(
    name: str, summary: str, read: type[BaseModel], whole: type[BaseModel], piece: type[BaseModel]
) -> dict[str, Any]:
    """A POST that answers whole or as a stream of pieces."""
    chunk = {"contentMediaType": JSON, "contentSchema": {"anyOf": [_ref(piece), _ref(Refusal)]}}
    event = {
        "type": "object",
        "description": "Each server-sent event. A Refusal: the answer failed after its first byte.",
        "properties": {"data": {"type": "string", "anyOf": [{"const": "[DONE]"}, chunk]}},
        "required": ["data"],
    }
    return _post(summary, name, read, whole, event)


def _post(
    summary: str, name: str, asked: type[BaseModel], answered: type[BaseModel], event: dict[str, Any]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": name,
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(asked)}}},
        "responses": _answers(*REFUSALS, json=_ref(answered), event_stream=event),
    }


def _parameters() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string", **schema}}
        for name, (text, schema) in HEADERS.items()
    ]


def _estimate() -> dict[str, Any]:
    workers = {"name": "X-Fugu-Workers", "in": "header", "schema": {"type": "string", **HEADERS["X-Fugu-Workers"][1]}}
    return {
        "summary": "Say who would answer a conversation, and what it would cost; nothing is spent",
        "operationId": "estimate",
        "parameters": [workers],
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(ChatRequest)}}},
        "responses": _answers(400, 404, 408, 413, 415, 429, 503, json=_ref(Estimate)),
    }


def _feedback() -> dict[str, Any]:
    return {
        "summary": "Say how good an answer was; the last word of a kind holds",
        "operationId": "feedback",
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(FeedbackRequest)}}},
        "responses": _answers(400, 404, 408, 413, 415, 429, 503, json=_ref(FeedbackSaid)),
    }


def _get(summary: str, name: str, model: type[BaseModel], *refusals: int) -> dict[str, Any]:
    return {"summary": summary, "operationId": name, "responses": _answers(*refusals, json=_ref(model))}


def _also(operation: dict[str, Any], status: str, name: str) -> None:
    """What an operation answers in Anthropic's form."""
    content = operation["responses"][status]["content"][JSON]
    content["schema"] = anthropics.either(content["schema"], name)


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    ready = _get("Whether a question would be answered without delay", "readyz", Readiness)
    ready["responses"]["503"] = {**ready["responses"]["200"], "description": "Not now: what is false is missing"}
    one = _get("One model", "model", Model, 404)
    one["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    listed = _get("The models", "models", Models)
    listed["parameters"] = [anthropics.VERSION_PARAMETER]
    one["parameters"].append(anthropics.VERSION_PARAMETER)
    _also(listed, "200", "ModelPage")
    _also(one, "200", "ModelInfo")
    for operation, refusals in ((listed, ALWAYS), (one, (*ALWAYS, 404))):
        for code in refusals:
            _also(operation, str(code), "ErrorResponse")
    this = {"summary": "This document", "operationId": "openapi", "responses": _answers(json={"type": "object"})}
    told = "Answer a conversation, whole or as a stream"
    chat = _answered("chat", told, ChatRequest, ChatCompletion, ChatCompletionChunk)
    text = _answered(
        "completions", "Complete a prompt, for old clients", CompletionRequest, Completion, CompletionChunk
    )
    models = [(model, "validation") for model in READ] + [(model, "serialization") for model in WRITTEN]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "fugu-flows", "version": "1"},
        "paths": {
            "/v1/chat/completions": {"post": chat},
            "/v1/completions": {"post": text},
            "/v1/estimate": {"post": _estimate()},
            "/v1/feedback": {"post": _feedback()},
            **responses.paths(_post, _get),
            **anthropics.paths(REFUSALS, _parameters()),
            "/v1/models": {"get": listed},
            "/v1/models/{name}": {"get": one},
            "/livez": {"get": _get("Whether the endpoint runs", "livez", Alive)},
            "/readyz": {"get": ready},
            "/openapi.json": {"get": this},
            **pages.paths(_ref(Refusal)),
        },
        "components": {"schemas": {**schemas["$defs"], **anthropics.schemas()}, "securitySchemes": KEYS},
        "security": [{}, *({name: []} for name in KEYS)],
    }
