"""Flow runs that show conducted requests, made beside the answers: no answer waits for Prefect."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from deployments.endpoint.orphans import end_orphans
from tasks.setup.texts import what

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

    from models.conductor.run.request_run import RequestRun

log = logging.getLogger(__name__)

Show = Callable[["RequestRun", Callable[[UUID], object]], Awaitable[None]]
"""Shows a request run as a flow run, and tells that one's id."""

QUIET = {
    # Where texts are shown a flow run is named after its question, and no prompt may be logged here.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # A request that would block the event loop.
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "30",
}
"""Settings of Prefect in this process."""

BUSY_S = "0.2"
"""Pause before a request is sent again that a busy Prefect server on SQLite answered with 503; Prefect's own pauses
are 2, 4, 8 ... s.
"""

WAITING, LIVE = 500, 100
"""Requests that wait to be shown, and that are being shown; further ones are answered without a flow run."""

LATER_S = 5.0
"""A request is shown when none is under way, and at the latest after this time: showing takes time of this process and
of the server's, which answers would wait for.
"""

HELD_S = 2.0
"""A run that lasts longer waits for slow workers, which costs nothing: another one may begin."""

PAUSE_S = 2.0
"""Pause between two checks of a server that does not answer."""

LOOK_S = 1.0
"""Pause between two looks at whether somebody cancels a flow run that is under way."""

CLOSE_S = 3.0
"""Limit for flow runs to end when the endpoint stops: less than its supervisor waits."""


class Observer:
    """Shows request runs, at most `at_once` of them in their first seconds. Belongs to one event loop.

    Where no Prefect server is named, or it does not answer, requests are answered all the same, and the log says so
    once. `api_url`: of the server, `None` for none. `row_of`: a request's id -> its row in the ledger.
    """

    def __init__(self, at_once: int, api_url: str | None, row_of: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._at_once, self._api_url, self._row_of = at_once, api_url, row_of
        self._queue: asyncio.Queue[tuple[RequestRun, float]] = asyncio.Queue(WAITING)
        self._answering, self._idle = 0, asyncio.Event()
        self._live = asyncio.Semaphore(LIVE)
        self._under_way: dict[UUID, RequestRun] = {}
        self._task: asyncio.Task[None] | None = None
        self._began = datetime.now(UTC)
        self._on, self._told = api_url is not None, ""

    def watch(self, request_run: RequestRun) -> None:
        """Show this one, now or later. Returns immediately."""
        if not self._on:
            return
        try:
            self._queue.put_nowait((request_run, time.monotonic() + LATER_S))
        except asyncio.QueueFull:
            self._say("more requests than Prefect can show")
        self._answering += 1
        self._idle.clear()
        request_run.when_over(self._answered)

    def _answered(self) -> None:
        self._answering -= 1
        if not self._answering:
            self._idle.set()

    @property
    def waiting(self) -> int:
        """How many requests wait to be shown."""
        return self._queue.qsize()

    async def start(self) -> None:
        """Import Prefect, which takes seconds, in a thread; then show the waiting runs."""
        if not self._on:
            self._say("no Prefect server is named, or --no-observe says so")
            return
        try:
            show = await asyncio.to_thread(_load)
        except Exception as error:
            self._on = False
            self._say(f"Prefect cannot be imported: {what(error)}")
            return
        self._task = asyncio.create_task(self._run(show))

    async def close(self) -> None:
        """Give the flow runs that are under way some seconds to end."""
        self._on = False
        if self._task is None:
            return
        ended = asyncio.create_task(self._queue.join())
        seconds = 0.0 if self._told else CLOSE_S
        await asyncio.wait([ended, self._task], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, self._task):
            task.cancel()
        await asyncio.wait([ended, self._task], timeout=1.0)

    async def _run(self, show: Show) -> None:
        try:
            async with httpx.AsyncClient(timeout=5) as http:
                await self._reached(http)
                await self._observe(show, http)
        except Exception as error:
            self._on = False
            self._say(what(error))

    async def _observe(self, show: Show, http: httpx.AsyncClient) -> None:
        # One client for all runs: with a client each, a run takes 0.14 s of CPU time instead of 0.07 s, most of it for
        # certificates that a server on loopback does not use.
        from prefect.context import AsyncClientContext, SyncClientContext

        with SyncClientContext():
            async with AsyncClientContext() as shared, asyncio.TaskGroup() as group:
                shared.client._client.event_hooks["response"].append(_ask_again_soon)
                await self._end_orphans()
                group.create_task(self._heed(shared.client))
                for _ in range(self._at_once):
                    group.create_task(self._work(show, http, group))

    async def _work(self, show: Show, http: httpx.AsyncClient, group: asyncio.TaskGroup) -> None:
        while True:
            request_run, latest = await self._queue.get()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), max(0.0, latest - time.monotonic()))
            await self._reached(http)
            await self._live.acquire()
            await asyncio.wait([group.create_task(self._shown(show, request_run))], timeout=HELD_S)

    async def _heed(self, client: PrefectClient) -> None:
        """Cancel the request of each flow run that somebody cancels in Prefect.

        A flow run is known by its id: with an Idempotency-Key a request may have earlier ones, which were cancelled.
        """
        from tasks.cancelling import cancelled_of

        while True:
            await asyncio.sleep(LOOK_S)
            if not self._under_way:
                continue
            try:
                known = dict(self._under_way)
                for run in await cancelled_of(client, list(known)):
                    await known[run].cancel()
            except Exception as error:
                self._say(f"whether a flow run is to be cancelled cannot be seen: {what(error)}")

    async def _shown(self, show: Show, request_run: RequestRun) -> None:
        runs: list[UUID] = []

        def created(run: UUID) -> None:
            runs.append(run)
            self._under_way[run] = request_run

        try:
            await show(request_run, created)
        except Exception as error:
            self._say(what(error))
        finally:
            for run in runs:
                del self._under_way[run]
            self._live.release()
            self._queue.task_done()

    async def _end_orphans(self) -> None:
        try:
            ended = await end_orphans(self._row_of, self._began)
        except Exception as error:
            self._say(what(error))
            return
        if ended:
            log.info("%d flow runs of an endpoint that has ended were ended", ended)

    async def _reached(self, http: httpx.AsyncClient) -> None:
        """Wait until the Prefect server answers: a flow run would wait long for it and log many errors."""
        while True:
            try:
                up = (await http.get(f"{self._api_url}/health")).status_code < 500
            except httpx.HTTPError:
                up = False
            if up:
                self._told = ""
                return
            self._say(f"Prefect's server at {self._api_url} does not answer")
            await asyncio.sleep(PAUSE_S)

    def _say(self, reason: str) -> None:
        """Log a reason once, until it changes."""
        if reason != self._told:
            log.warning("fugu-ultra requests are not shown: %s", reason)
        self._told = reason


async def _ask_again_soon(response: httpx.Response) -> None:
    if response.status_code == 503:
        response.headers.setdefault("Retry-After", BUSY_S)


def named_server() -> str | None:
    """The URL of the Prefect API in this process's environment."""
    return os.environ.get("PREFECT_API_URL") or None


def _load() -> Show:
    os.environ.update(QUIET)
    from prefect import flow_engine

    from deployments.endpoint.show_request import show

    # While a flow runs Prefect handles SIGTERM by raising inside whatever the event loop does, which would end an
    # endpoint.
    flow_engine.capture_sigterm = nullcontext  # type: ignore[assignment]

    return show
