"""Large requests are answered by a process of their own: what they cost is not the small ones' time or memory.

Reading, translating and keeping a body of 30 MB, or of 100,000 fields, holds an interpreter for tenths of a second
again and again, in which it does nothing else. So this process looks at the beginning of a body alone, and passes a
large one on as it comes. The annex is this endpoint once more, on a socket in a folder of the owner's: it decides with
the routers of this process (`decisions.py`), keeps what it does in the same ledger, and ends, with all its memory, when
nothing large has come for a while.
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
"""Where it listens, in its folder."""

START_S = 120.0
"""How long it may take to be ready; its imports take seconds."""

STOP_S = 3.0
"""How long what is under way in it may take to end: less than the supervisor of this process waits."""

_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}
"""So that glibc gives large blocks back as soon as they are free."""

_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"})
_OF_A_PAGE = frozenset({"host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"})
_NOT_PASSED_ON = _OF_A_CONNECTION | _OF_A_PAGE  # those of a page are judged at this process's door
_NOT_HANDED_BACK = _OF_A_CONNECTION | {"date", "server"}


def weight(body: bytes) -> int:
    """What a body costs, in bytes of text: to litellm a message is as much as 1,024, another value as 64 (measured)."""
    return len(body) + 1024 * body.count(b"{") + 64 * body.count(b",")


@dataclass(frozen=True)
class Room:
    """`total`: bytes of bodies that may be under way in the annex, of which one has at most `body`. What does not fit
    waits, `patience_s` at most. `idle_s`: how long nothing large has to be under way until the annex ends."""

    total: int
    body: int
    patience_s: float = 60.0
    idle_s: float = 300.0


class Annex:
    """Belongs to one event loop. `command`: what starts it, when it is needed; its folder is added as the last word.

    `load_router`: a checkpoint's id -> who decides by it, here.
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
        """Its answer to a request whose body is read no further by anybody else. Raises Problem, ClientDisconnect."""
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
                with suppress(TimeoutError):  # a moment, so that the next request does not meet a dead one
                    await asyncio.wait_for(running.process.wait(), 1.0)
                raise Problem(502, "what answers large requests has ended", "server_error", "internal_error") from None
            stack.push_async_callback(answer.aclose)
            kept = {name: value for name, value in answer.headers.items() if name not in _NOT_HANDED_BACK}
            return Closing(answer.aiter_raw(), stack.pop_all().aclose, kept, answer.status_code)

    async def close(self) -> None:
        """End it, and what is under way in it."""
        if self._idle is not None:
            self._idle.cancel()
        for start in self._starts:
            start.cancel()
        async with self._starting:
            await self._end()

    @asynccontextmanager
    async def _place(self, size: int) -> AsyncIterator[None]:
        """Raises Problem 503 where there is no room in time."""
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
                self._idle = asyncio.get_running_loop().call_later(self._room.idle_s, self._rest)
            async with self._freed:
                self._freed.notify_all()

    def _rest(self) -> None:
        async def end() -> None:
            async with self._starting:
                if not self._under_way:
                    await self._end()

        self._ending = asyncio.create_task(end())

    async def _ready(self) -> _Running:
        # A client that goes away meanwhile leaves the start to those who come after it.
        start = asyncio.create_task(self._started())
        self._starts.add(start)
        start.add_done_callback(self._heard)
        return await asyncio.shield(start)

    def _heard(self, start: asyncio.Task[_Running]) -> None:
        self._starts.discard(start)
        if not start.cancelled():
            start.exception()  # those who wait have it; nobody else is to be told

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
    """A started annex, its folder, and who answers its questions and sends it ours."""

    folder: Path
    process: asyncio.subprocess.Process
    decisions: asyncio.Server
    http: httpx.AsyncClient

    async def wait(self) -> None:
        """Until it can answer. Raises Problem 503."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.returncode is None:
            with suppress(httpx.TransportError):
                if (await self.http.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
        raise not_ready("what answers large requests is not ready")

    async def end(self) -> None:
        """The end of its input is its order to stop, which also the end of this process brings about."""
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
    folder = Path(tempfile.mkdtemp(prefix="fugu-"))  # nobody else may look into it
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
