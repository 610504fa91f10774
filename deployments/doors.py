"""Host and Origin checks for every port that `fugu up` opens, against cross-site requests and DNS rebinding.

Any web page can make a browser send requests to this machine, and can point its own domain name at it. Both show in
headers that a page cannot set: Host, Origin, and Sec-Fetch-… where a browser sends no Origin. Programs other than
browsers send neither Origin nor Sec-Fetch-…, so they pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.problems import Problem
from models.errors import BadInput
from tasks.setup.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?))(?::([1-9][0-9]{0,4}))?")
_SCHEMES = {"http": 80, "https": 443}
_SECURED = {"ws": "http", "wss": "https"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SHOWN = (
    "Retry-After",
    "Server-Timing",
    *(f"X-Fugu-{name}" for name in ("Cost", "Margin", "Roles", "Turns", "Worker")),
)
"""Response headers that a page of an allowed origin may read."""


class Host(NamedTuple):
    """The value of a Host header: lower case, an IPv6 address in its shortest form."""

    name: str
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> Host | None:
        """Parse a host; `None` if the text is not one."""
        if (found := _HOST.fullmatch(text.lower())) is None:
            return None
        address, name, digits = found.groups()
        port = int(digits) if digits else None
        if port is not None and port > 65535:
            return None
        try:
            return cls(name or str(ipaddress.IPv6Address(address)), port)
        except ValueError:
            return None


class Origin(NamedTuple):
    """Scheme, host and port of a page."""

    scheme: str
    name: str
    port: int

    @classmethod
    def read(cls, text: str) -> Origin | None:
        """Parse an origin; `None` for `null` and for anything but an http or https origin."""
        scheme, _, rest = text.partition("://")
        host = Host.read(rest)
        if host is None or scheme not in _SCHEMES:
            return None
        return cls(scheme, host.name, host.port or _SCHEMES[scheme])

    def __str__(self) -> str:
        """As a browser writes it."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.scheme}://{name}" + ("" if self.port == _SCHEMES[self.scheme] else f":{self.port}")


class Allowed(NamedTuple):
    """Hosts and origins that a port accepts besides its own. A host without a port is accepted with every port."""

    hosts: frozenset[Host] = frozenset()
    origins: frozenset[Origin] = frozenset()


OWN = Allowed()


def allowed(settings: Settings, *own: Host) -> Allowed:
    """`own`, FUGU_HOSTS and FUGU_ORIGINS. Raises BadInput, naming the variable, for an invalid host or origin."""
    hosts, origins = set(own), set()
    for text in _listed(settings.hosts):
        if (host := Host.read(text) or Host.read(f"[{text}]")) is None:
            raise BadInput(f"FUGU_HOSTS: {text!r} is no host (NAME or NAME:PORT, separated by commas)", "FUGU_HOSTS")
        hosts.add(host)
    for text in _listed(settings.origins):
        if (origin := Origin.read(text)) is None:
            form = "http://NAME:PORT or https://NAME, separated by commas"
            raise BadInput(f"FUGU_ORIGINS: {text!r} is no origin ({form})", "FUGU_ORIGINS")
        origins.add(origin)
    return Allowed(frozenset(hosts), frozenset(origins))


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


class Doors:
    """ASGI middleware for HTTP and websockets: answers 403 to a wrong Host or Origin before the body is read."""

    def __init__(self, app: ASGIApp, allowed: Allowed = OWN) -> None:
        self.app = app
        self._hosts, self._origins = allowed
        # Keys come in a header that the page sets, never in a cookie, so CORS needs no credentials.
        self._with_cors = CORSMiddleware(
            app,
            allow_origins=[str(origin) for origin in allowed.origins],
            allow_methods=METHODS,
            allow_headers=["*"],  # all that a preflight requests
            allow_private_network=True,
            expose_headers=SHOWN,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        problem = self._refusal(scope)
        if problem is None:
            await self._with_cors(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, problem)(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": problem.message})

    def _refusal(self, scope: Scope) -> Problem | None:
        host = self._host(scope)
        if host is None:
            return Problem(403, "the Host header does not name this port; FUGU_HOSTS allows more", code="wrong_host")
        if not self._origin_allowed(scope, host):
            return Problem(
                403, "requests from that page's origin are not accepted; FUGU_ORIGINS allows more", code="wrong_origin"
            )
        return None

    def _host(self, scope: Scope) -> Host | None:
        """The host and port in the Host header, or `None` if they do not name this port."""
        hosts = _values(scope, b"host")
        host = Host.read(hosts[0]) if len(hosts) == 1 and scope["path"].startswith("/") else None
        if host is None:
            return None
        address, port = scope.get("server") or ("", None)
        if host.name in LOOPBACK | {address} and host.port in (None, port):
            return Host(host.name, port)
        return host if host in self._hosts or Host(host.name) in self._hosts else None

    def _origin_allowed(self, scope: Scope, host: Host) -> bool:
        """Whether the request comes from no page, from this port's own pages or from an allowed origin."""
        origins = _values(scope, b"origin")
        if not origins:
            sites = set(_values(scope, b"sec-fetch-site"))
            return sites <= {"same-origin", "none"} or _is_visit(scope)
        scheme = str(scope["scheme"])
        scheme = _SECURED.get(scheme, scheme)
        own = Origin(scheme, host.name, host.port or _SCHEMES.get(scheme, 0))
        origin = Origin.read(origins[0]) if len(origins) == 1 else None
        return origin is not None and (origin == own or origin in self._origins)


def _is_visit(scope: Scope) -> bool:
    """Whether the user followed a link: the response opens as a document that the linking page cannot read."""
    fetch = {name: _values(scope, b"sec-fetch-" + name) for name in (b"mode", b"dest")}
    reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return reads and fetch == {b"mode": ["navigate"], b"dest": ["document"]}


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]
