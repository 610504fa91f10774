"""Translation of providers' errors into this project's errors, and whether a failed call may have cost money."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx
from aiohttp.http_exceptions import ContentEncodingError

from models.errors import (
    LONGEST_WAIT_S,
    FuguError,
    RateLimited,
    UpstreamBroken,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    bounded_wait,
)
from models.ledger.text import storable
from models.workers.pool import Worker

UNSENT = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol),
    *(aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL),
)
"""Errors of both clients before anything was sent."""

EPOCH_S, EPOCH_MS = 1e9, 1e12
"""From 10^9 (31 years) on, a wait is taken for a time: seconds since 1970, or from 10^12 on milliseconds."""

PASSED_S = 3600.0
"""Clocks differ by less. A time further in the past is not taken for a time, but for a number of seconds."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_LATER = re.compile(
    r"(?:(?:again|retry|wait)(?: (?:in|after|for))? |\"retry_?(?:delay|after)\": ?)\"?"
    r"((?:\d+(?:\.\d+)? ?(?:ms|s|m|h|d|milliseconds?|sec(?:ond)?s?|min(?:ute)?s?|hours?|days?)(?![a-z]) ?)+)",
    re.IGNORECASE,
)
"""When to come back, as providers say it beside or instead of the header: "Please try again in 6m7.5s" (OpenAI, Groq),
"Please retry in 38.2s" and "retryDelay": "38s" (Gemini), "Please retry after 26 seconds" (Azure)."""

_MESSAGE = re.compile(r"(?<!\\)\"(?:message|error|detail)\": ?\"")
_BEFORE = re.compile(r"(?:\d{3}: |[\w.]+: )*(?:\w+Exception - )?")
"""Where a provider's own words begin: in its body's message, else in the whole text. Later ones may be a caller's."""

_NO_MONEY = re.compile(
    r"your credit balance|insufficient (?:balance|credits?|funds)|billing hard limit|you exceeded your current quota"
    r"|(?:your )?quota (?:is )?exhausted|your account is not active, please check your billing|your prepa\w+ credits"
    r"|you have reached your specified API usage limits|your team \S+ has (?:either )?used all available credits",
    re.IGNORECASE,
)
_NO_KEY = re.compile(r"API key (?:not valid|expired|not found)|(?:invalid|incorrect) API key", re.IGNORECASE)
"""How a provider begins to say, with a status that means something else, that a key has no money, or is none."""

_CODE = r"(?<!\\)\"(?:code|type|reason)\": ?\"(?:{})\""
_CODE_NO_MONEY = re.compile(_CODE.format(r"insufficient_(?:quota|balance|funds)|exceeded_current_quota\w*|billing_\w+"))
_CODE_NO_KEY = re.compile(_CODE.format(r"API_KEY_INVALID|invalid_api_key"))
"""The same as a word for programs."""

_A_RATE = re.compile(r"per[ _-]?(?:second|minute|hour|day)", re.IGNORECASE)
"""What says that a limit is one of a time, which passes."""


def translated(error: Exception, worker: Worker) -> FuguError:
    """The FuguError for an error of litellm, httpx, aiohttp, or the time limit around them.

    Responses with an error status: as in `answered`. 408 and time limits: UpstreamTimeout. Lost connections:
    UpstreamUnavailable. A whole reply that litellm cannot parse: UpstreamMalformed. `maybe_paid` is set where the
    request may have reached a model: not if no connection was made, nor if the upstream answered with an error.
    """
    if isinstance(error, FuguError):
        return error
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        limit = worker.timeouts.total_s
        return UpstreamTimeout(f"worker {worker.name!r}: no reply within {limit:g} s", maybe_paid=True)
    chain = list(_causes(error))
    encoded_wrong = any(isinstance(cause, httpx.DecodingError | ContentEncodingError) for cause in chain)
    if encoded_wrong or isinstance(error, RecursionError):
        what = "not encoded as its headers say" if encoded_wrong else "nested too deep"
        return UpstreamMalformed(complaint(f"the reply is {what}", worker))
    from_upstream = any(isinstance(cause, httpx.HTTPStatusError) for cause in chain)
    unsent = any(isinstance(cause, UNSENT) for cause in chain)
    late = isinstance(error, httpx.TimeoutException | aiohttp.ServerTimeoutError)
    status = 408 if late else getattr(error, "status_code", None)
    if not 300 <= (status or 0) < 500 and all(_is_of_reading(cause) for cause in chain):
        return UpstreamMalformed(complaint(f"the reply cannot be read: {_text(error)}", worker))
    maybe_paid = not (from_upstream or unsent)
    return _of_status(status, _text(error), worker, _headers(error), from_upstream, maybe_paid)


def answered(status: int, text: str, worker: Worker, headers: Mapping[str, str], body: str | None = None) -> FuguError:
    """The error for an upstream's error status. 429: RateLimited. 408: UpstreamTimeout. 409, 5xx: UpstreamUnavailable.

    Any other: UpstreamRefused, as for a key without money and for what is no key, whatever the status (402, 401).
    `body`: all that it said, where `text` is the message alone.
    """
    return _of_status(status, f"{status}: {text}", worker, headers, True, False, body)


def failed(error: Any, worker: Worker, begun: bool) -> FuguError:
    """The error for an error object in a reply with status 200. `begun`: some of the reply had arrived before."""
    fields = error if isinstance(error, Mapping) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else json.dumps(error)[:5000]
    if begun:
        return UpstreamBroken(complaint(f"it failed during its reply: {text}", worker))
    return answered(_code(fields), text, worker, {}, json.dumps(error))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the upstream asks to wait, at most LONGEST_WAIT_S; `None` if it gives none that can be parsed.

    Parsed are a number, a duration ("1m30s"), an HTTP date, and a time since 1970. `headers`: names in lower case.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0), ("x-ratelimit-reset", 1.0)):
        value = headers.get(name)
        wait = None if value is None else _wait(str(value).strip(), unit)
        if wait is not None:
            return wait
    return None


def said_wait(text: str) -> float | None:
    """Seconds that an upstream asks to wait in its own words, bounded as `retry_after`; `None` where it names none."""
    found = _LATER.search(" ".join(text.replace("\\n", " ").split()))
    if found is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?) ?(ms|mil|[smhd])", found[1].lower())
    return bounded_wait(sum(float(number) * _UNITS["ms" if unit == "mil" else unit] for number, unit in parts))


def _meant(status: int | None, said: str, wait: float | None) -> int | None:
    """The status that means what an upstream said with another one: 402 where a key has no money or quota left until
    somebody acts, 401 where it is none. A 429 that says when to come back, or that a limit is one of a time, is what
    it is."""
    if status not in (400, 429):
        return status
    begins = _MESSAGE.search(said) or _BEFORE.match(said)
    at = 0 if begins is None else begins.end()
    if status == 429 and (wait is not None or _A_RATE.search(said)):
        return status
    if _CODE_NO_MONEY.search(said) or _NO_MONEY.match(said, at):
        return 402
    no_key = status == 400 and (_CODE_NO_KEY.search(said) or _NO_KEY.match(said, at))
    return 401 if no_key else status


def _wait(value: str, unit: float) -> float | None:
    now = datetime.now(UTC)
    if value[:1].isdigit():
        value = value.partition(",")[0]  # the header was sent twice
    try:
        number = float(value)
    except ValueError:
        return _duration(value) if value[:1].isdigit() else _until(value, now)
    if EPOCH_S <= number < 1e15:
        left = (number / 1000 if number >= EPOCH_MS else number) - now.timestamp()
        if left > -PASSED_S:
            return bounded_wait(left)
    return bounded_wait(number * unit)


def _duration(value: str) -> float | None:
    value = value.lower().replace(" ", "")
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return bounded_wait(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _until(value: str, now: datetime) -> float | None:
    """Seconds until an HTTP date. A year of five digits or more, which Python cannot represent: LONGEST_WAIT_S."""
    if re.search(r"\b[1-9]\d{4,}\b", value):
        return LONGEST_WAIT_S
    try:
        when = parsedate_to_datetime(value)
        return bounded_wait((when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _of_status(
    status: int | None,
    text: str,
    worker: Worker,
    headers: Mapping[str, str],
    from_upstream: bool,
    maybe_paid: bool,
    body: str | None = None,
) -> FuguError:
    wait, said = retry_after(headers), text if body is None else body
    if wait is None and status in (429, 503):
        wait = said_wait(said)
    status = _meant(status, said, wait) if from_upstream else status
    message = complaint(text, worker)
    if wait:
        until = datetime.now(UTC) + timedelta(seconds=wait)
        message += f" (it asks to wait {wait:.0f} s, until {until:%Y-%m-%d %H:%M:%S} UTC)"
    if status == 429:
        return RateLimited(message, wait)
    if status == 408:
        return UpstreamTimeout(message, wait, maybe_paid=maybe_paid)
    if status is not None and 300 <= status < 500 and status != 409:
        return UpstreamRefused(message, status, from_upstream)
    return UpstreamUnavailable(message, wait, maybe_paid=maybe_paid)


def _code(error: Mapping[str, Any]) -> int:
    """The HTTP status that corresponds to an error object."""
    for name in ("code", "status", "status_code"):
        value = str(error.get(name))
        if value.isascii() and value.isdigit() and 400 <= int(value[:9]) < 600:
            return int(value)
    words = f"{error.get('code')} {error.get('type')}".lower()
    return 429 if "rate_limit" in words or "quota" in words else 503


def _headers(error: Any) -> Mapping[str, str]:
    """The upstream's headers, from the several fields in which litellm may put them."""
    response = getattr(error, "response", None)
    found: dict[str, str] = {}
    for headers in (getattr(response, "headers", None), getattr(error, "litellm_response_headers", None)):
        found |= {str(name).lower(): value for name, value in dict(headers or {}).items()}
    return found


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_reading(error: BaseException) -> bool:
    """Whether the error may come from litellm's parsing of a whole reply, rather than a connection or a status."""
    readers = ("litellm", "openai", "pydantic", "pydantic_core", "json", "builtins")
    return type(error).__module__.split(".")[0] in readers and not isinstance(error, OSError | ImportError)


def _text(error: Exception) -> str:
    """The error's text without litellm's prefix and the traceback that it appends, which would reveal local paths."""
    text, _, _ = str(error).partition("Traceback (most recent call last)")
    return text.strip().removeprefix("litellm.") or type(error).__name__


def complaint(text: str, worker: Worker) -> str:
    """One line of at most 500 characters that every database can store."""
    return f"worker {worker.name!r}: {masked(text, worker)}"[:500]


def masked(text: str, worker: Worker) -> str:
    """An upstream's words as one line, with the worker's secrets masked: some upstreams repeat what they were sent."""
    text = " ".join(storable(text).split())
    for secret in worker.secrets():
        text = text.replace(secret, "***")
    return text
