"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`, and its statuses.

Its clients know an endpoint that cannot answer now by the status 529, and most of them try again a few times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.wire.anthropic.models import VERSION
from deployments.endpoint.wire.problems import LONGEST, Problem, problem_response

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


def refusal(request: Request, problem: Problem) -> Response:
    """An error answer in the form that the request's client reads."""
    if request.headers.get(VERSION) is None and not request.url.path.startswith("/v1/messages"):
        return problem_response(problem)
    problem = replace(problem, status=STATUSES.get(problem.status, problem.status))
    return problem_response(problem, body=error_body(problem))
