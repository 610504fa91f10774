"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`, and its statuses.

Its clients know an endpoint that cannot answer now by the status 529, and most of them try again a few times.
"""

from __future__ import annotations

from typing import Any

from deployments.endpoint.wire.problems import LONGEST, Problem

STATUSES = {503: 529}
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
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
}
"""Fields of ours that have another name in this form."""


def error_body(problem: Problem) -> dict[str, Any]:
    kind = TYPES.get(problem.status, "invalid_request_error")
    message = problem.message
    if problem.param in NAMES:
        message = message.replace(problem.param, NAMES[problem.param], 1)
    return {"type": "error", "error": {"type": kind, "message": message[:LONGEST]}, "request_id": problem.request_id}
