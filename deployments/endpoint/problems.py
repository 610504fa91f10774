"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` and the HTTP status.

    BadInput 400 · unknown model 404 · body 413 · RateLimited 429 · budget 402 · not ready, ClaimHeld 503
    UpstreamTimeout 504 · any other failure of a worker 502 · a fault of ours 500

Who answers a request is disclosed only on demand, so what an upstream said stays in the log unless `trace`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from models.errors import (
    BadInput,
    BudgetExceeded,
    ClaimHeld,
    FuguError,
    NoWorkerAllowed,
    RateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)

INVALID = "invalid_request_error"


@dataclass(eq=False)
class Problem(Exception):
    """One error answer. `type` and `code` are OpenAI's words where it has one."""

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def not_ready(message: str) -> Problem:
    return Problem(503, message, "server_error", "not_ready", headers={"Retry-After": "1"})


def unknown_model(name: str) -> Problem:
    return Problem(404, f"the model {name!r} does not exist", INVALID, "model_not_found", "model")


def problem_of(error: Exception, *, trace: bool = False) -> Problem:
    """How an exception is answered. `trace`: the caller asked to see who answered, so details may be told."""
    match error:
        case Problem():
            return error
        case NoWorkerAllowed():
            return Problem(400, str(error), INVALID, "no_worker_allowed", error.field)
        case BadInput():
            return Problem(400, str(error), INVALID, "invalid_value", error.field)
        case BudgetExceeded():
            return Problem(402, str(error), "insufficient_quota", "budget_exceeded")
    detail = f": {error}" if trace and isinstance(error, FuguError) else ""
    match error:
        case RateLimited():
            headers = _retry_after(error.retry_after)
            return Problem(
                429, f"a worker is rate limited{detail}", "rate_limit_error", "rate_limit_exceeded", None, headers
            )
        case ClaimHeld():
            headers = _retry_after(error.retry_after)
            return Problem(503, "the same call is under way", "server_error", "claim_held", None, headers)
        case UpstreamTimeout():
            return Problem(504, f"a worker did not answer in time{detail}", "server_error", "upstream_timeout")
        case UpstreamRefused() if error.status in (400, 413, 415, 422):
            # Other refusals (a key, a model that is gone) are not the caller's doing.
            return Problem(400, f"a worker refused the request{detail}", INVALID, "upstream_refused")
        case FuguError():
            return Problem(502, f"a worker could not be asked{detail}", "server_error", "upstream_error")
    return Problem(500, "internal error", "server_error", "internal_error")


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(max(seconds or 1.0, 1.0)))}
