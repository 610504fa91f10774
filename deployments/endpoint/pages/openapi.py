"""The pages and the figures in the endpoint's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}

_SAY = {
    "200": "The answer",
    "400": "The time cannot be read",
    "401": "A key is asked for, as the password",
    "403": "Sent to another host's name, or by a page of another origin",
    "404": "The ledger has no such request",
    "500": "A fault of the endpoint",
    "503": "The ledger cannot be read now",
}


def paths(refusal: Mapping[str, Any]) -> dict[str, Any]:
    """`refusal`: the schema of an error."""
    before = {"name": "before", "in": "query", "description": "Requests before this time (ISO 8601)", "schema": _TEXT}
    id = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    metrics = _read("Figures for Prometheus", "metrics", refusal, {"200": "text/plain"})
    html = {"200": "text/html", "503": "text/html"}
    page = _read("The page for a person", "page", refusal, html | {"400": "text/html"})
    one = _read("The page of one request", "request", refusal, html | {"404": "text/html"})
    return {
        "/": {"get": page | {"parameters": [before]}},
        "/requests/{id}": {"get": one | {"parameters": [id]}},
        "/metrics": {"get": metrics},
    }


def _read(summary: str, name: str, refusal: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
    """`answers`: statuses with their media types; refusals are JSON."""
    found = {status: _answer(status, kind, _TEXT) for status, kind in answers.items()}
    found |= {status: _answer(status, "application/json", refusal) for status in ("401", "403", "500")}
    return {"summary": summary, "operationId": name, "responses": dict(sorted(found.items()))}


def _answer(status: str, kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": _SAY[status], "content": {kind: {"schema": schema}}}
