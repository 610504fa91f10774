"""What a pool's file may state of a worker: no secret, nothing that has another place, and nothing that cannot be sent.

The problems are sentences that repeat no value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

T = TypeVar("T")

ELSEWHERE = {
    **dict.fromkeys(("model", "api_base", "api_version", "timeout"), "it has a field of its own"),
    **dict.fromkeys(("base_url",), "write api_base beside params"),
    **dict.fromkeys(("messages", "stream", "stream_options", "tools", "n"), "it belongs to each request"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "write max_tokens beside params"),
    **dict.fromkeys(("api_key", "key"), "a key never stands in a file: name its variable in key_env"),
    **dict.fromkeys(("headers", "extra_headers"), "write headers beside params"),
    **dict.fromkeys(("num_retries", "max_retries", "fallbacks"), "retries and failover are fugu's own"),
}
"""Parameters of litellm that do not belong into `params`, and why."""


VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""An environment variable in a header's value."""

_SECRET = re.compile(
    r"(?:.*[-_])?(?:authorization|api[-_]?key|(?:access|subscription|auth|secret|private)[-_]key|secret|password|cookie"
    r"|credentials|(?:ad|auth|access|session|bearer|api|refresh)[-_]token|bearer[-_]token[-_]\w+)|(?:x[-_])?token",
    re.IGNORECASE,
)
"""Names of what must not stand in a file: authorization, x-api-key, azure_ad_token, aws_secret_access_key."""

_NAMED = re.compile(r"(?:os\.environ|oidc)/\S+|[^{}\s]+\.json|\$\{\w+\}")
"""A text that names where a secret is: a variable or an identity that litellm reads, a file."""

_BESIDE = re.compile(r"(?:bearer|basic|token|apikey)?[\s:=]*", re.IGNORECASE)
"""What may stand in a header beside the variable of its secret."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def refusing(problem: str | None, value: T) -> T:
    """The value. Raises ValueError where there is a problem with it."""
    if problem is not None:
        raise ValueError(problem)
    return value


def params_problem(params: Mapping[str, Any]) -> str | None:
    """Why these cannot be a worker's parameters, or `None`."""
    for name in params:
        if name in ELSEWHERE:
            return f"{name} is no parameter of a worker: {ELSEWHERE[name]}"
    body = params.get("extra_body")
    if isinstance(body, Mapping) and "base_url" in body:
        return f"base_url is no parameter of a worker: {ELSEWHERE['base_url']}"
    found = next(_secrets(params), None)
    return found and f"{found} is a secret, which never stands in a file: use key_env, or a variable that litellm reads"


def headers_problem(headers: Mapping[str, str]) -> str | None:
    """Why these cannot be a worker's headers, or `None`."""
    for name, text in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            return f"{name!r} is no name of a header"
        if not is_one_line(text):
            return f"the value of the header {name} has to be one line"
        secret = _SECRET.fullmatch(name) or name.lower().endswith("token")
        if secret and not is_reference(text):
            return f"the header {name} is a secret, which never stands in a file: name its variable, {name}: ${{NAME}}"
    return None


def is_reference(text: str) -> bool:
    """Whether a header's value is a variable, with the name of a scheme at most: `Bearer ${NAME}`."""
    return bool(VARIABLE.search(text) and _BESIDE.fullmatch(VARIABLE.sub("", text)))


def address_problem(address: str) -> str | None:
    """Why this cannot be an API's address, or `None`."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _NO_ADDRESS
    if parts.username or any(_SECRET.fullmatch(name) or name == "key" for name, _ in parse_qsl(parts.query)):
        return "api_base holds a secret, which never stands in a file: use key_env or headers"
    return None if good and is_one_line(address) and not re.search(r"\s", address) else _NO_ADDRESS


_NO_ADDRESS = "api_base is the address of an API: http://... or https://..."


def is_one_line(text: str) -> bool:
    """Whether a header can have this value."""
    return all(character == "\t" or (ord(character) >= 32 and ord(character) != 127) for character in text)


def _secrets(value: Any) -> Iterator[str]:
    """The names of texts that must not stand in a file, at any depth."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        texts = inner if isinstance(inner, list | tuple) else [inner]
        stated = any(isinstance(text, str) and text and not _NAMED.fullmatch(text) for text in texts)
        if stated and _SECRET.fullmatch(str(name)):
            yield str(name)
        yield from _secrets(inner)
    for inner in value if isinstance(value, list | tuple) else ():
        yield from _secrets(inner)
