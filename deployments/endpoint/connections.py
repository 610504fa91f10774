"""Limits of connections, and of requests under way: the time to send the head of a request, the time to read an answer,
and their number.

The time of a body is limited in `streaming.py`. The probes are answered also where there are too many connections.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.problems import not_ready

PROBES = frozenset({"/livez", "/readyz"})

HEAD_BYTES = 65_536
"""Of a request's head."""

_RESERVE = 64
"""Connections beyond the bound, which may only probe."""


@dataclass(frozen=True)
class Patience:
    """`head_s`: from a connection's beginning, or the end of its last answer, until the head of a request has arrived.
    `read_s`: how long a client may leave sent bytes unread. `connections`: at most; the one that has been idle for
    longest is closed for a new one.
    """

    head_s: float = 20.0
    read_s: float = 60.0
    connections: int = 1000


class Crowd:
    """The requests that are under way, at most `most`; each that comes beyond is refused at once."""

    def __init__(self, most: int) -> None:
        self._most, self._under_way = most, 0

    def refuse(self) -> None:
        """Raises Problem 503 for a request that is one too many."""
        if self._under_way > self._most:
            raise not_ready(f"{self._most} requests are under way, which is as many as are answered at a time")

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, whose POST requests are counted from their head to the end of their answer."""
        return _Counted(app, self)

    def came(self, number: int) -> None:
        """Count requests that came, or (negative) that are over."""
        self._under_way += number


def config_of(app: ASGIApp, patience: Patience, grace_s: float) -> uvicorn.Config:
    """How an app is served. `grace_s`: how long answers under way may take to end when it is stopped."""
    return uvicorn.Config(
        app,
        http=type("Connection", (_Connection,), {"patience": patience}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type]  # only compared
    )


class _Connection(HttpToolsProtocol):
    patience: Patience

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unread: asyncio.TimerHandle | None = None
        self._in_head, self._head_bytes = False, 0
        self._wait_for_head()
        if len(self.connections) > self.patience.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.cancel()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.idle:
            self._head.cancel()
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if not self.url.startswith(b"/"):  # it may name a host, which nobody would check
            raise ValueError("the target of a request has to begin with /")
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        # First: the call below may begin the next request.
        self._wait_for_head()
        super().on_response_complete()
        if not self.idle:
            self._head.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.patience.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    @property
    def idle(self) -> bool:
        """Whether there is no request under way."""
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._since = time.monotonic()  # the loop has one time for all of a turn
        self._head = self.loop.call_later(self.patience.head_s, self.transport.abort)

    def _make_room(self) -> None:
        others = (each for each in self.connections if isinstance(each, _Connection) and each is not self)
        longest = min((each for each in others if each.idle), key=lambda each: each._since, default=None)
        if longest is not None:
            longest.transport.abort()
        elif len(self.connections) > self.patience.connections + _RESERVE:
            self.transport.abort()
        else:
            self.app = _Crowded(self.app)


class _Crowded:
    """Answers only probes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self.app(scope, receive, send)
        else:
            problem = not_ready("too many connections")
            await refusal(scope, problem, {"Connection": "close"})(scope, receive, send)


class _Counted:
    """An application in a crowd."""

    def __init__(self, app: ASGIApp, crowd: Crowd) -> None:
        self.app, self._crowd = app, crowd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        self._crowd.came(1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._crowd.came(-1)
