"""What a provider's error means here: which branch of the error tree, and whether it may have cost money."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from models.errors import FuguError, RateLimited, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from models.workers.pool import Worker


def translated(error: Exception, worker: Worker) -> FuguError:
    """The error of our tree for one that litellm, or the time limit around it, raised.

    429: RateLimited. 408 and time limits: UpstreamTimeout. 409, 5xx and lost connections: UpstreamUnavailable.
    Any other 4xx: UpstreamRefused. `maybe_paid` wherever the request may have reached a model: not where
    no connection was made, nor where the upstream answered with an error.
    """
    status = getattr(error, "status_code", None)
    chain = list(_causes(error))
    answered = any(isinstance(cause, httpx.HTTPStatusError) for cause in chain)
    unsent = any(isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout) for cause in chain)
    message = _line(error, worker)
    if isinstance(error, TimeoutError):
        limit = worker.limits.total_timeout_s
        return UpstreamTimeout(f"worker {worker.name!r}: no reply within {limit:g} s", maybe_paid=True)
    if status == 429:
        return RateLimited(message, retry_after(error))
    if status == 408:
        return UpstreamTimeout(message, maybe_paid=not (answered or unsent))
    if status is not None and 400 <= status < 500 and status != 409:
        return UpstreamRefused(message, status, answered)
    return UpstreamUnavailable(message, retry_after(error), maybe_paid=not (answered or unsent))


def retry_after(error: Any) -> float | None:
    """Seconds that the upstream asked to wait: Retry-After as a number or an HTTP date."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        value = headers.get("retry-after") if headers else None
        if value is None:
            continue
        try:
            return max(0.0, float(value))
        except ValueError:
            pass
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            continue
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: Exception, worker: Worker) -> str:
    """One line, without litellm's prefixes, never with the worker's key."""
    text = " ".join(str(error).split()).removeprefix("litellm.")
    try:
        key = worker.key()
    except FuguError:
        key = None
    return f"worker {worker.name!r}: {text.replace(key, '***') if key else text}"[:500]
