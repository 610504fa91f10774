"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`, and its statuses.

Its clients know an endpoint that cannot answer now by the status 529, and most of them try again a few times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from deployments.endpoint.wire.anthropic.models import VERSION
from deployments.endpoint.wire.problems import LONGEST, Problem, problem_response

ANTHROPICS = "/v1/messages"
OPENAIS = ("/v1/chat/", "/v1/completions", "/v1/responses", "/v1/estimate", "/v1/feedback")
"""What the paths begin with that have one form, whatever header is sent."""

STATUSES: Mapping[int, int] = {503: 529}
"""Where this form has a status of its own."""

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Any other error is one of the request."""

NAMES = {
    "stop": "stop_sequences",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format.json_schema": "output_config.format",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
}
"""Fields of ours that have another name in this form."""


def error_body(problem: Problem) -> dict[str, Any]:
    kind = TYPES.get(problem.status, "invalid_request_error")
    message = problem.message
    for ours, theirs in NAMES.items():
        if (problem.param or "").startswith(ours):
            message = message.replace(ours, theirs, 1)
    return {"type": "error", "error": {"type": kind, "message": message[:LONGEST]}, "request_id": problem.request_id}


def refusal(scope: Scope, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """An error answer outside of the stack of answers, in the form that the client of this ASGI scope reads, with an id
    of its own: the form is Anthropic's by the path, or by the header that its clients send."""
    id = f"req_{uuid4().hex}"
    headers = {"X-Request-Id": id, "Request-Id": id, **(headers or {})}
    if not _is_anthropics(scope):
        return problem_response(problem, headers)
    problem = replace(problem, status=STATUSES.get(problem.status, problem.status), request_id=id)
    return problem_response(problem, headers, error_body(problem))


def _is_anthropics(scope: Scope) -> bool:
    path = scope["path"]
    return path.startswith(ANTHROPICS) or (not path.startswith(OPENAIS) and VERSION in Headers(raw=scope["headers"]))
