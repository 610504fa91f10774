"""Conducted requests at work in this process: begun in the ledger, conducted, finished in the ledger, then answered.

A client that goes away takes its request's work with it, unless it sent an `Idempotency-Key`: then the work goes on
to its end, and whoever sends the key again joins it or reads what came of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from deployments.endpoint.orphans import own_mark
from deployments.endpoint.wire.problems import Problem, not_ready, problem_of
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import ULTRA, conducted_body
from models.conductor.run.request import ConductAnswer, ConductRequest
from models.conductor.run.request_run import RequestRun, RequestRuns
from models.errors import BadInput, LedgerAway, NotFound, Pruned
from models.ledger.accounts import in_doubt
from models.ledger.journal import Journal
from models.ledger.requests import Row, begin, finish, get_request, refuse_pruned

CLIENT_GONE = 499
"""Nobody reads this status; the log and the ledger keep it."""

PROMPT_S = 0.5
"""How long an answer waits for its row."""


@dataclass(frozen=True)
class Wanted:
    """A conducted request as it came. `key` and `digest`: of its Idempotency-Key and its body.

    `make` is called in a thread and gives the request to conduct.
    """

    id: str
    key: str | None
    digest: str
    chat: ChatRequest
    make: Callable[[], ConductRequest]


class Work:
    """The work of one request; several clients may wait for it."""

    def __init__(self, wanted: Wanted, run: Callable[[Work], Any]) -> None:
        self.wanted = wanted
        self.begun: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Row] = asyncio.create_task(run(self))
        self._task.add_done_callback(_heard)
        self._waiting = 0

    def join(self) -> None:
        """To be called by whoever is going to `wait`."""
        self._waiting += 1

    async def wait(self, timeout_s: float | None = None) -> Row | None:
        """The finished row; `None` when it is not there within `timeout_s`. Raises what the work ended with."""
        await asyncio.wait([self._task], timeout=timeout_s)
        if self._task.cancelled():
            raise not_ready("the endpoint is stopping")
        return self._task.result() if self._task.done() else None

    async def leave(self) -> None:
        """The opposite of `join`: the work of a request without a key ends with the last who waits for it."""
        self._waiting -= 1
        if not self._waiting and self.wanted.key is None:
            await self.stop()

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has let go of its upstream calls."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Works:
    """All of them, by request id. `runs` raises Problem while nothing can be conducted; `watch` is called with each."""

    def __init__(
        self,
        journal: Journal,
        runs: Callable[[], Awaitable[RequestRuns]],
        watch: Callable[[RequestRun], object],
    ) -> None:
        self._ledger, self._journal, self._runs, self._watch = journal.ledger, journal, runs, watch
        self._mark = own_mark()
        self._running: dict[str, Work] = {}
        self._closing = False

    async def open(self, wanted: Wanted) -> Work:
        """The work of this request, joined: the one that runs under its key, else a new one.

        Raises Problem 409 where the key was sent with another request.
        """
        while (work := self._running.get(wanted.id)) is not None:
            await asyncio.wait([work.begun])
            if work.begun.exception() is None:
                _check(work.begun.result(), wanted)
                break
        else:
            work = self._running[wanted.id] = Work(wanted, self._run)
        work.join()
        return work

    async def close(self) -> None:
        """Stop them all. Their rows go on saying "running": the same key, or `fugu resume`, goes on with them."""
        self._closing = True
        await asyncio.gather(*(work.stop() for work in list(self._running.values())))

    async def _run(self, work: Work) -> Row:
        try:
            return await self._conducted(work)
        finally:
            # Before anybody hears of a failure: who asks again has to find a new work.
            self._running.pop(work.wanted.id, None)
            if not work.begun.done():
                work.begun.set_exception(not_ready("the request has not begun"))
                work.begun.exception()

    async def _conducted(self, work: Work) -> Row:
        wanted, started = work.wanted, time.monotonic()
        row = None if wanted.key is None else await asyncio.to_thread(self._known, wanted)
        if row is not None and row.get("body") is not None:
            work.begun.set_result(row)
            return row
        request_runs = await self._runs()
        try:
            row = await self._begin(wanted, row, request_runs)
            work.begun.set_result(row)
            if row.get("body") is not None:  # another process was faster
                return row
            request_run = request_runs.open(ConductRequest.model_validate(row["request"]))
            self._watch(request_run)
            conducted = await request_run.answer()
            lost = await self._lost(request_run.request.root)
        except (Exception, asyncio.CancelledError) as error:
            if work.begun.done() and not self._closing:
                await self._finish(row, started, _failed(error))
            raise
        return await self._finish(row, started, _answered(row, conducted, lost))

    async def _lost(self, root: str) -> list[dict[str, Any]]:
        """Calls that died in flight on the way to the answer, which does not wait for a ledger that is away."""
        with suppress(LedgerAway):
            return await asyncio.to_thread(in_doubt, self._ledger, root)
        return []

    def _known(self, wanted: Wanted) -> Row | None:
        """The row that an earlier request with this key began. Raises Problem where it asked for something else."""
        try:
            row = get_request(self._ledger, wanted.id)
        except Pruned:
            raise
        except NotFound:
            return None
        return _check(row, wanted)

    async def _begin(self, wanted: Wanted, known: Row | None, request_runs: RequestRuns) -> Row:
        """The row, committed before anything is paid for the request."""
        if known is not None:
            return await self._journal.put(finish(wanted.id, {"status": "running", "process": self._mark}), 0.0)
        request = await asyncio.to_thread(wanted.make)
        try:
            request_runs.check(request)
        except BadInput as error:
            raise BadInput(str(error), f"fugu.{error.field}") from None
        row = {
            "id": wanted.id,
            "model": ULTRA,
            "status": "running",
            "http": None,
            "created": int(time.time()),
            "key": wanted.key,
            "digest": wanted.digest,
            "stream": wanted.chat.stream,
            "user": wanted.chat.user,
            "continues": request.continues,
            "process": self._mark,
            "request": request.model_dump(mode="json"),
            "body": None,
        }
        return _check(await self._journal.put(begin(self._ledger, row), 0.0), wanted)

    async def _finish(self, row: Row | None, started: float, changes: Row) -> Row:
        """The row as the ledger has it then. What is paid for is answered also while the ledger is away."""
        assert row is not None
        changes = {**changes, "seconds": round(time.monotonic() - started, 4)}
        written = self._journal.put(finish(row["id"], changes), math.inf)
        if changes["http"] != 503:  # it was refused because the ledger is away
            await asyncio.wait([written], timeout=PROMPT_S)
        return written.result() if written.done() and written.exception() is None else {**row, **changes}


def _check(row: Row, wanted: Wanted) -> Row:
    refuse_pruned(row)
    if row.get("digest") != wanted.digest:
        message = "this Idempotency-Key was sent with another request"
        raise Problem(409, message, code="idempotency_key_reused", param="Idempotency-Key")
    return row


def _failed(error: BaseException) -> Row:
    status = problem_of(error).status if isinstance(error, Exception) else CLIENT_GONE
    return {"status": "failed", "http": status, "error": type(error).__name__}


def _answered(row: Row, conducted: ConductAnswer, lost: list[dict[str, Any]]) -> Row:
    """`lost`: calls that died in flight on the way to it, and may have been paid."""
    usages = (conducted.usage, conducted.orchestration)
    done = {
        "worker": conducted.worker,
        "calls": conducted.calls,
        "cost_usd": conducted.cost_usd,
    }
    return {
        "status": "awaiting-tools" if conducted.finish_reason == "tool_calls" else "answered",
        "http": 200,
        "error": None,
        "body": conducted_body(row["id"], row["created"], conducted),
        "trace": {"request_id": row["id"], **done, **conducted.trace, "maybe_paid": lost},
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        **done,
    }


def _heard(task: asyncio.Task[Row]) -> None:
    if not task.cancelled():
        task.exception()  # where nobody waits any more, the row says it
