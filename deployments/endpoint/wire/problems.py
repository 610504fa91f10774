"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` and the HTTP status.

    BadInput 400 · unknown model 404 · another request's Idempotency-Key 409 · Pruned 410 · body 413 · RateLimited 429
    a reply that does not fit its format 422
    budget and a request's own limits 402 · its limit of time 504 · UpstreamTimeout 504
    not ready, ClaimHeld, LedgerAway 503 · a workflow's step and any other failure of a worker 502 · a fault of ours 500

The worker is disclosed only on demand, so an upstream's message is included only where a trace is requested, and never
a path, a traceback, a header or a key of ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from deployments.endpoint.wire.response import encode
from deployments.endpoint.wire.words import plain
from models.errors import (
    AllOpen,
    BadFile,
    BadInput,
    BudgetExceeded,
    ClaimHeld,
    FuguError,
    LedgerAway,
    LimitReached,
    MissingKey,
    NoWorkerAllowed,
    Pruned,
    RateLimited,
    Unfit,
    UpstreamRefused,
    UpstreamTimeout,
    WorkerOpen,
    WorkflowFailed,
)

INVALID = "invalid_request_error"

CLIENT_GONE = 499
"""Status of a request whose client has gone, in the log and the ledger."""

UNKNOWN_WAIT_S = 60.0
"""The Retry-After of an endpoint whose workers wait for somebody to act."""

LONGEST = 1000
"""Characters of a message, which may quote a caller's text."""


@dataclass(eq=False)
class Problem(Exception):
    """One error answer. `type` and `code` are OpenAI's where it has one."""

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message[:LONGEST], "type": self.type, "param": self.param, "code": self.code}}


def problem_response(
    problem: Problem, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> Response:
    """An error answer; the problem's own headers override `headers`. `body`: in another shape than OpenAI's."""
    merged = {**(headers or {}), **problem.headers}
    return Response(encode(body or problem.body()), problem.status, merged, "application/json")


def not_ready(message: str) -> Problem:
    return Problem(503, message, "server_error", "not_ready", headers={"Retry-After": "1"})


def no_worker(wait_s: float) -> Problem:
    """No worker may be asked now, since all have kept failing; the first one is tried again in `wait_s` seconds."""
    wait = wait_s if math.isfinite(wait_s) else UNKNOWN_WAIT_S
    message = f"no worker can be asked{_until(wait) if math.isfinite(wait_s) else ' until somebody acts'}"
    return Problem(503, message, "server_error", "no_worker", headers=_retry_after(wait))


def unknown_model(name: str) -> Problem:
    return Problem(404, f"the model {name!r} does not exist", INVALID, "model_not_found", "model")


def unknown_version(name: str, why: str, serving: str | None) -> Problem:
    """`serving`: the version that serves under the model's own name."""
    now = f"; {serving} serves" if serving else ""
    return Problem(404, f"the model {name!r} is not served: {why}{now}", INVALID, "model_not_found", "model")


def problem_of(error: Exception, *, trace: bool = False) -> Problem:
    """How an exception is answered. `trace`: the caller asked to see who answered, so details are included."""
    if isinstance(error, Problem):
        return error
    problem = _problem_of(error, trace)
    problem.message = plain(problem.message)
    return problem


def _problem_of(error: Exception, trace: bool) -> Problem:
    match error:
        case BadFile():
            # A file of ours: not the caller's fault, and not for the caller to read.
            return Problem(503, "the endpoint is not set up for this: its log says why", "server_error", "not_ready")
        case NoWorkerAllowed():
            return Problem(400, str(error), INVALID, "no_worker_allowed", error.field)
        case Pruned():
            return Problem(410, str(error), INVALID, "request_pruned")
        case BadInput():
            return Problem(400, str(error), INVALID, "invalid_value", error.field)
        case Unfit():
            message = f"the worker's reply does not fit response_format, and no repair mended it: {error}"
            return Problem(422, message, "invalid_response_error", "invalid_response_format", "response_format")
        case BudgetExceeded():
            return Problem(402, str(error), "insufficient_quota", "budget_exceeded")
        case LimitReached():
            status = 504 if error.limit == "max_seconds" else 402
            message = f"the limit fugu.{error.limit} was reached before any step was finished"
            return Problem(status, message, "limit_reached", f"{error.limit}_reached", f"fugu.{error.limit}")
    detail = f": {error}" if trace and isinstance(error, FuguError) and not isinstance(error, MissingKey) else ""
    match error:
        case RateLimited():
            headers = _retry_after(error.retry_after)
            message = f"a worker is rate limited{_until(error.retry_after)}{detail}"
            return Problem(429, message, "rate_limit_error", "rate_limit_exceeded", None, headers)
        case ClaimHeld():
            headers = _retry_after(error.retry_after)
            return Problem(503, "the same call is under way", "server_error", "claim_held", None, headers)
        case LedgerAway():
            headers = _retry_after(error.retry_after)
            return Problem(503, "the ledger cannot be written", "server_error", "ledger_away", None, headers)
        case AllOpen():
            return no_worker(math.inf if error.retry_after is None else error.retry_after)
        case WorkerOpen():
            headers = _retry_after(error.retry_after)
            message = f"a worker is not asked at present{_until(error.retry_after)}{detail}"
            return Problem(503, message, "server_error", "worker_open", None, headers)
        case UpstreamTimeout():
            return Problem(504, f"a worker did not answer in time{detail}", "server_error", "upstream_timeout")
        case UpstreamRefused() if error.status in (400, 413, 415, 422):
            # Other refusals (a key, a model that is gone) are not the caller's fault.
            return Problem(400, f"a worker refused the request{detail}", INVALID, "upstream_refused")
        case WorkflowFailed() if isinstance(refused := error.__cause__, UpstreamRefused) and refused.of_the_request:
            return Problem(400, f"a worker refused the request{detail}", INVALID, "upstream_refused")
        case WorkflowFailed():
            message = f"step {error.step + 1} of the workflow failed with every worker that may be asked{detail}"
            # The last of them may be asked again before long: then so may the request.
            cause, wait = error.__cause__, None
            if isinstance(cause, WorkerOpen | RateLimited):
                wait = cause.retry_after or UNKNOWN_WAIT_S
            headers = {} if wait is None else _retry_after(wait)
            return Problem(503 if headers else 502, message, "server_error", "workflow_failed", headers=headers)
        case FuguError():
            wait = getattr(error, "retry_after", None)
            message = f"a worker could not be asked{_until(wait)}{detail}"
            headers = _retry_after(wait) if wait else {}
            return Problem(502, message, "server_error", "upstream_error", None, headers)
    return Problem(500, "internal error", "server_error", "internal_error")


def _until(seconds: float | None) -> str:
    """When a worker that asked to wait may be asked again, in UTC."""
    return f" until {datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S} UTC" if seconds else ""


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(max(seconds or 1.0, 1.0)))}
