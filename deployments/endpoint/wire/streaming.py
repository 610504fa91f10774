"""Deltas of a running answer in a bounded queue, reading of bodies, and clients that go away.

A client is watched from the start of its request to the end of its answer, whole or streamed; when it goes, the task
that makes the answer is cancelled, and with it the call that is under way upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.endpoint.answer.result import Delta, Emit, Result
from deployments.endpoint.wire.problems import Problem

T = TypeVar("T")
Item = Delta | Result | Exception
"""A delta, or the end of the answer."""

QUEUED = 64
"""Deltas that wait for a slow client before the upstream has to wait too."""


class Feed:
    """A running answer. `get` gives its deltas, then the `Result` or the exception that ended it.

    The answer goes on after its first delta when `get` is called again, which is when that has been sent: else all that
    comes together would be read before any of it is sent.
    """

    def __init__(self, make: Callable[[Emit], Awaitable[Result]]) -> None:
        self._queue: asyncio.Queue[Item] = asyncio.Queue(QUEUED)
        self._first_sent = asyncio.Event()
        self._given = False
        self._task = asyncio.create_task(self._run(make))

    async def _run(self, make: Callable[[Emit], Awaitable[Result]]) -> None:
        end: Item
        try:
            end = await make(self._emit)
        except Exception as error:
            end = error
        await self._queue.put(end)

    async def _emit(self, item: Delta) -> None:
        await self._queue.put(item)
        await self._first_sent.wait()

    @property
    def waits(self) -> bool:
        """Whether the next item is there already."""
        return not self._queue.empty()

    async def get(self, timeout_s: float | None = None) -> Item | None:
        """The next item, or `None` when none came within `timeout_s`."""
        if self._given:
            self._first_sent.set()
        item = self._queue.get_nowait() if self.waits else await self._next(timeout_s)
        self._given = self._given or item is not None
        return item

    async def _next(self, timeout_s: float | None) -> Item | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Cancel the answer, and wait until its upstream call is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Closing(StreamingResponse):
    """A body sent in pieces; `close` is awaited however it ends, also before its first piece."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
        status: int = 200,
    ) -> None:
        super().__init__(pieces, status, headers=headers)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()


class EventStream(Closing):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], close: Callable[[], Awaitable[None]], headers: Mapping[str, str]
    ) -> None:
        # A buffering proxy would hold the heartbeats back.
        super().__init__(events, close, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})


async def unless_gone(request: Request, waiting: Awaitable[T], read: asyncio.Event | None = None) -> T:
    """The result of `waiting`. Raises ClientDisconnect, and cancels it, when the client goes away first.

    `read`: set when the body has been read; until then the reader of the body gets the disconnect.
    """
    work = asyncio.ensure_future(waiting)
    gone = asyncio.create_task(_disconnected(request, read))
    try:
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait([work, gone])


async def _disconnected(request: Request, read: asyncio.Event | None) -> None:
    """Returns when the client has gone; messages before that belong to the body."""
    if read is not None:
        await read.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Body:
    """A request's body: its beginning, and then all of it, piece by piece. `read` is set at its end."""

    def __init__(self, request: Request) -> None:
        self.read = asyncio.Event()
        self._stream, self._begun = request.stream(), bytearray()

    async def begin(self, most: int, within_s: float) -> bytes | None:
        """The whole body; `None` where it has more than `most` bytes. Raises Problem 408, ClientDisconnect."""
        async with _in_time(within_s):
            async for piece in self._stream:
                self._begun += piece
                if len(self._begun) > most:
                    return None
        self.read.set()
        return bytes(self._begun)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The part that has been read, then the rest. To be called once. Raises ClientDisconnect."""
        begun, self._begun = bytes(self._begun), bytearray()
        yield begun
        if not self.read.is_set():
            async for piece in self._stream:
                yield piece
            self.read.set()


async def read_body(request: Request, limit: int, within_s: float) -> bytes:
    """The body. Raises Problem: 413 beyond `limit` bytes, 408 when it takes longer than `within_s`."""
    body = bytearray()
    size = 0
    async with _in_time(within_s):
        async for piece in request.stream():
            size += len(piece)
            if size <= limit:
                body += piece
            elif size > 4 * limit:
                break
    if size > limit:
        # The loop above reads on without storing: a client that is still sending would not see the answer.
        raise Problem(413, f"the body has more than {limit} bytes", code="request_too_large")
    return bytes(body)


@asynccontextmanager
async def _in_time(within_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise Problem(408, "the body did not arrive in time", code="request_timeout") from None


def refuse_pages(request: Request) -> None:
    """Raises Problem 415. A web page may post plain text to any address without permission, but not JSON."""
    if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
        raise Problem(415, "the Content-Type has to be application/json", code="unsupported_media_type")
