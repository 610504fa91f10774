"""HTTP client for OpenAI's chat protocol: one request, with a bounded response, as JSON or a stream of JSON events."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import httpx
from pydantic_core import from_json

from models.errors import UpstreamMalformed
from models.workers.pool import Worker
from models.workers.upstream import answered, complaint, masked

ERROR_BYTES = 65_536
"""Of an error's body, and of a response's fields besides its reply."""

JSON_BYTES = 6
"""The most bytes of JSON per byte of a reply's text: `\\u0000`."""

BETWEEN_BYTES = 2**20
"""The most bytes of a stream, plus BETWEEN_BYTES_A_TOKEN for each token."""
BETWEEN_BYTES_A_TOKEN = 1024


HEADER_BYTES = 65_536
"""Of one line of a response's head."""


class Wire:
    """Pooled connections to workers, as many as there are calls. Belongs to one event loop."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    @asynccontextmanager
    async def post(self, worker: Worker, body: Mapping[str, Any], key: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response, once its headers have arrived. Raises aiohttp's errors, and `answered` for an error status.

        Only the time until there is a connection is limited here.
        """
        http = await self._opened()
        url = f"{str(worker.api_base).rstrip('/')}/chat/completions"
        response = await http.post(
            url,
            data=json.dumps(body).encode(),  # in ASCII: UTF-8 cannot encode half a surrogate pair
            headers={"authorization": f"Bearer {key}", "content-type": "application/json", **worker.sent_headers()},
            proxy=_proxy(url),
            timeout=aiohttp.ClientTimeout(total=None, connect=worker.timeouts.connect_s),
        )
        try:
            if not 200 <= response.status < 300:
                data, _ = await _read(response, ERROR_BYTES)
                headers = {name.lower(): value for name, value in response.headers.items()}
                text = data.decode("utf-8", "replace")
                raise answered(response.status, _message(text), worker, headers, text)
            yield response
        finally:
            response.close()  # one that was read to its end has given its connection back

    async def _opened(self) -> aiohttp.ClientSession:
        context = _tls() if _tls.cache_info().currsize else await asyncio.to_thread(_tls)
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
            )
        return self._http


async def whole(response: aiohttp.ClientResponse, worker: Worker, most: int) -> tuple[Any, bool]:
    """The body's JSON, and whether it was cut: a body that is too long for a reply of `most` bytes is read up to there.

    Raises UpstreamMalformed.
    """
    data, cut = await _read(response, ERROR_BYTES + JSON_BYTES * most)
    return _json(data, worker, cut), cut


async def events(
    response: aiohttp.ClientResponse, worker: Worker, most: int, tokens: int
) -> AsyncGenerator[tuple[Any, bool]]:
    """The JSON of each event of a stream (`None` for [DONE]), and whether the stream was cut there.

    Raises UpstreamMalformed. An incomplete event at the end of a broken stream is `{}`.
    """
    left, longest = BETWEEN_BYTES + BETWEEN_BYTES_A_TOKEN * tokens, ERROR_BYTES + JSON_BYTES * most
    buffer, data, name, begun = bytearray(), bytearray(), bytearray(), False
    async for piece in response.content.iter_any():
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        left -= len(piece)
        for line in (line.removesuffix(b"\r") for line in lines):
            field, _, value = line.partition(b":")
            if not line and data:
                yield _event(data, name, worker), False
                data, name = bytearray(), bytearray()
            elif field.removeprefix(b"\xef\xbb\xbf") == b"data":
                data += (b"\n" if data else b"") + value.removeprefix(b" ")
                begun = True
            elif field == b"event":
                name = value.strip()
        if left < 0 or len(buffer) + len(data) > longest:
            yield _piece(data + _last(buffer), worker, True), True
            return
    data += _last(buffer)
    if data.strip() == b"[DONE]":
        yield None, False
    elif data:  # the last event lacks its empty line
        yield _piece(data, worker, False), False
    elif not begun:
        raise UpstreamMalformed(complaint(f"the reply is not a stream of events: {_begin(buffer, worker)}", worker))


def _last(line: bytearray) -> bytearray:
    """The part of an event in a line that has not ended."""
    return line.removeprefix(b"data:") if line.startswith(b"data:") else bytearray()


def _piece(data: bytearray, worker: Worker, cut: bool) -> Any:
    """The JSON of an event that may be incomplete, `{}` where it cannot be parsed."""
    try:
        return _json(data, worker, cut)
    except UpstreamMalformed:
        return {}


def _event(data: bytearray, name: bytearray, worker: Worker) -> Any:
    if data.strip() == b"[DONE]":
        return None
    value = _json(data, worker, False)
    return {"error": value} if name == b"error" and not (isinstance(value, dict) and value.get("error")) else value


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > most:
            return bytes(data[:most]), True
    return bytes(data), False


def _json(data: bytes | bytearray, worker: Worker, cut: bool) -> Any:
    try:
        if cut:
            return from_json(bytes(data), allow_partial="trailing-strings")
        return json.loads(data.decode("utf-8-sig", "replace"), parse_int=_whole_number)
    except ValueError:
        what = "longer than a reply can be" if cut else "not JSON"
        raise UpstreamMalformed(complaint(f"the reply is {what}: {_begin(data, worker)}", worker)) from None


def _begin(data: bytes | bytearray, worker: Worker) -> str:
    # Masked before it is cut, which could leave half of a key.
    return repr(masked(data[:1000].decode("utf-8", "replace"), worker)[:100])


def _whole_number(digits: str) -> int:
    """An integer of JSON; one of 20 digits or more is replaced by ±10^19, since Python refuses thousands of digits."""
    return int(digits) if len(digits) < 20 else int(f"{digits[0] if digits[0] == '-' else ''}{10**19}")


def _message(text: str) -> str:
    """The message of an error body, in OpenAI's format or any other."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@lru_cache(maxsize=256)
def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address; none for one of this machine."""
    proxies = getproxies_environment()
    if not proxies:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_local(host) or proxy_bypass(parts.netloc.rpartition("@")[2], proxies):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
