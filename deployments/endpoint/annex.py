"""A second process for large requests, so that they take no time or memory from small ones.

Reading, translating and storing a body of 30 MB, or of 100,000 fields, blocks an interpreter for tenths of a second
again and again. So this process reads only the beginning of a body, and forwards a large one as it arrives. The annex
is the same endpoint on a socket in a private folder: it uses the routers of this process (`decisions.py`) and the same
ledger, and ends, which frees its memory, when no large request has come for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.decisions import serve_decisions
from deployments.endpoint.wire.problems import Problem, not_ready
from deployments.endpoint.wire.streaming import Body, Closing, unless_gone

if TYPE_CHECKING:
    from models.fugu.microbatch import MicroBatcher

log = logging.getLogger(__name__)

LIGHT = 1 << 18
"""The weight up to which a body is answered here: some 0.05 s of this process's time."""

SOCKET = "endpoint"
"""Name of its socket, in its folder."""

START_S = 120.0
"""Limit of its start; its imports take seconds."""

STOP_S = 3.0
"""Limit of its stop: less than the supervisor of this process waits."""

_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}
"""So that glibc gives large blocks back as soon as they are free."""

_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"})
_OF_A_PAGE = frozenset({"host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"})
_NOT_PASSED_ON = _OF_A_CONNECTION | _OF_A_PAGE  # those of a page are checked by this process (`doors.py`)
_NOT_HANDED_BACK = _OF_A_CONNECTION | {"date", "server"}


def weight(body: bytes) -> int:
    """The cost of a body in bytes of text: to litellm a message costs as much as 1,024, another value 64 (measured)."""
    return len(body) + 1024 * body.count(b"{") + 64 * body.count(b",")


@dataclass(frozen=True)
class Room:
    """`total`: bytes of all bodies under way in the annex; `body`: of one. A request that does not fit waits up to
    `patience_s`. `idle_s`: time without a large request after which the annex ends."""

    total: int
    body: int
    patience_s: float = 60.0
    idle_s: float = 300.0


class Annex:
    """Belongs to one event loop. `command` starts it when it is needed; its folder is added as the last argument.

    `load_router`: a checkpoint's id -> its router, in this process.
    """

    def __init__(self, command: Sequence[str], load_router: Callable[[str], MicroBatcher], room: Room) -> None:
        self._command, self._load_router, self._room = command, load_router, room
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._freed = asyncio.Condition()
        self._under_way = 0
        self._idle: asyncio.TimerHandle | None = None
        self._starts: set[asyncio.Task[_Running]] = set()
        self._ending: asyncio.Task[None] | None = None

    async def respond(self, request: Request, body: Body) -> Response:
        """Forward a request, of whose body this is the only reader. Raises Problem, ClientDisconnect."""
        size = min(int(request.headers.get("Content-Length") or self._room.body), self._room.body)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._place(size))
            running = await unless_gone(request, self._ready(), body.read)
            headers = [(name, value) for name, value in request.headers.items() if name not in _NOT_PASSED_ON]
            asked = running.http.build_request("POST", request.url.path, headers=headers, content=body.pieces())
            try:
                answer = await unless_gone(request, running.http.send(asked, stream=True), body.read)
            except httpx.TransportError as error:
                log.error("the annex has failed: %r", error)
                with suppress(TimeoutError):  # so that the next request does not get a dead one
                    await asyncio.wait_for(running.process.wait(), 1.0)
                raise Problem(502, "what answers large requests has ended", "server_error", "internal_error") from None
            stack.push_async_callback(answer.aclose)
            kept = {name: value for name, value in answer.headers.items() if name not in _NOT_HANDED_BACK}
            return Closing(answer.aiter_raw(), stack.pop_all().aclose, kept, answer.status_code)

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self._running is not None and self._running.process.returncode is None

    async def close(self) -> None:
        """Stop it, and the requests under way in it."""
        if self._idle is not None:
            self._idle.cancel()
        for start in self._starts:
            start.cancel()
        async with self._starting:
            await self._end()

    @asynccontextmanager
    async def _place(self, size: int) -> AsyncIterator[None]:
        """Reserve room for a body. Raises Problem 503 where there is none in time."""
        try:
            async with asyncio.timeout(self._room.patience_s), self._freed:
                await self._freed.wait_for(lambda: not self._under_way or self._under_way + size <= self._room.total)
        except TimeoutError:
            raise not_ready("too much is under way for a request of this size") from None
        self._under_way += size
        if self._idle is not None:
            self._idle.cancel()
        try:
            yield
        finally:
            self._under_way -= size
            if not self._under_way:
                self._rest_later()
            async with self._freed:
                self._freed.notify_all()

    def _rest_later(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(self._room.idle_s, self._rest)

    def _rest(self) -> None:
        async def end() -> None:
            async with self._starting:
                if self._under_way:
                    return
                if self._running is not None and await self._running.answers():
                    self._rest_later()
                else:
                    await self._end()

        self._ending = asyncio.create_task(end())

    async def _ready(self) -> _Running:
        # The start goes on when its client goes away: later requests use it.
        start = asyncio.create_task(self._started())
        self._starts.add(start)
        start.add_done_callback(self._heard)
        return await asyncio.shield(start)

    def _heard(self, start: asyncio.Task[_Running]) -> None:
        self._starts.discard(start)
        if not start.cancelled():
            start.exception()  # those who wait have raised it

    async def _started(self) -> _Running:
        async with self._starting:
            if self._running is None or self._running.process.returncode is not None:
                await self._end()
                self._running = await _start(self._command, self._load_router)
                try:
                    await self._running.wait()
                except BaseException:
                    await self._end()
                    raise
            return self._running

    async def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.end()


@dataclass(frozen=True)
class _Running:
    """A started annex: its folder, process, the server of its decisions, and the client that sends it requests."""

    folder: Path
    process: asyncio.subprocess.Process
    decisions: asyncio.Server
    http: httpx.AsyncClient

    async def wait(self) -> None:
        """Wait until it can answer. Raises Problem 503."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.returncode is None:
            with suppress(httpx.TransportError):
                if (await self.http.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
        raise not_ready("what answers large requests is not ready")

    async def answers(self) -> bool:
        """Whether it answers something in the background, of which no connection tells."""
        with suppress(httpx.HTTPError, ValueError):
            return bool((await self.http.get("/readyz", timeout=STOP_S)).json().get("background"))
        return False

    async def end(self) -> None:
        """Stop it by closing its input, which the end of this process does too."""
        await self.http.aclose()
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.decisions.close()
        shutil.rmtree(self.folder, ignore_errors=True)


async def _start(command: Sequence[str], load_router: Callable[[str], MicroBatcher]) -> _Running:
    folder = Path(tempfile.mkdtemp(prefix="fugu-"))  # readable by the owner only
    decisions = await serve_decisions(folder, load_router)
    process = await asyncio.create_subprocess_exec(
        *command,
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, **_MEMORY},
        start_new_session=True,  # a Ctrl-C is for this process, which then ends the other
    )
    # No connection is used twice: the annex may be about to close it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(uds=str(folder / SOCKET), limits=limits)
    http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None)
    log.info("large requests are answered by process %d", process.pid)
    return _Running(folder, process, decisions, http)
