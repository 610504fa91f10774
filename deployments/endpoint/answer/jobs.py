"""Conducted requests under way in this process: begun in the ledger, run, finished in the ledger, then answered.

A client that goes away ends its request's job, unless it sent an `Idempotency-Key`: then the job runs to its end, and
a client that sends the key again joins it or reads the finished row.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Delta
from deployments.endpoint.answer.showing import Showing
from deployments.endpoint.orphans import own_mark
from deployments.endpoint.wire.problems import CLIENT_GONE, Problem, not_ready, problem_of
from deployments.endpoint.wire.response import ULTRA, conducted_body
from models.conductor.run import rows
from models.conductor.run.request import ConductRequest
from models.conductor.run.request_run import RequestRun, RequestRuns
from models.errors import BadInput, LedgerAway, NotFound, Pruned
from models.ledger.accounts import in_doubt, spent_on
from models.ledger.journal import Journal
from models.ledger.requests import Row, begin, finish, get_request, refuse_pruned
from models.ledger.store import Ledger

T = TypeVar("T")

PROMPT_S = 0.5
"""How long an answer waits for its row to be written."""


@dataclass(frozen=True)
class Order:
    """A request to run. `id`: of its key, where it has one. `digest`: of what was asked.

    `make` is called in a thread and gives the request for the conductor.
    """

    id: str
    question: Question
    digest: str
    make: Callable[[], ConductRequest]

    @property
    def key(self) -> str | None:
        return self.question.key.digest if self.question.key else None


class Job:
    """The run of one request; several clients may wait for it, and see what is shown of it. `failed`: its finished row,
    where it has failed."""

    failed: Row | None = None

    def __init__(self, order: Order, run: Callable[[Job], Any]) -> None:
        self.order = order
        self.showing = Showing(order.question.stream, order.key is not None)
        self.begun: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Row] = asyncio.create_task(run(self))
        self._task.add_done_callback(_retrieved)
        self._waiting = 0

    def join(self) -> None:
        """To be called before `wait`."""
        self._waiting += 1

    def deltas(self) -> AsyncGenerator[Delta]:
        """What is shown until the job is over; nothing before it has begun."""
        return self.showing.deltas(self._task)

    async def wait(self) -> Row:
        """The finished row. Raises what the job failed with."""
        await asyncio.wait([self._task])
        if self._task.cancelled():
            raise not_ready("the endpoint is stopping")
        return self._task.result()

    async def leave(self) -> None:
        """The opposite of `join`: the job of a request without a key ends when nobody waits for it any more."""
        self._waiting -= 1
        if not self._waiting and self.order.key is None:
            await self.stop()

    async def stop(self) -> None:
        """Cancel what is under way, and wait until its upstream calls are closed."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Jobs:
    """All of them, by request id. `runs` raises Problem while nothing can be conducted; `watch` is called with each."""

    def __init__(
        self,
        journal: Journal,
        runs: Callable[[], Awaitable[RequestRuns]],
        watch: Callable[[RequestRun], object],
        pin: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._pin = pin
        self._ledger, self._journal, self._runs, self._watch = journal.ledger, journal, runs, watch
        self._mark = own_mark()
        self._running: dict[str, Job] = {}
        self._closing = False

    async def open(self, order: Order) -> Job:
        """The job of this request, joined: the one that runs under its key, else a new one.

        Raises Problem 409 where the key was sent with another request.
        """
        while (job := self._running.get(order.id)) is not None:
            await asyncio.wait([job.begun])
            if job.begun.exception() is None:
                _check(job.begun.result(), order)
                break
        else:
            job = self._running[order.id] = Job(order, self._run)
        job.join()
        return job

    @property
    def running(self) -> int:
        """How many are under way."""
        return len(self._running)

    async def close(self) -> None:
        """Stop them all. Their rows keep the status "running": the same key, or `fugu resume`, continues them."""
        self._closing = True
        await asyncio.gather(*(job.stop() for job in list(self._running.values())))

    async def _run(self, job: Job) -> Row:
        try:
            return await self._conducted(job)
        finally:
            # Before a failure is reported: a client that tries again needs a new job.
            self._running.pop(job.order.id, None)
            if not job.begun.done():
                job.begun.set_exception(not_ready("the request has not begun"))
                job.begun.exception()

    async def _conducted(self, job: Job) -> Row:
        order, started = job.order, time.monotonic()
        row = None if order.key is None else await asyncio.to_thread(self._known, order)
        if row is not None and row.get("body") is not None:
            job.begun.set_result(row)
            return row
        request_runs = await self._runs()
        try:
            row = await self._begin(order, row, request_runs)
            job.begun.set_result(row)
            if row.get("body") is not None:  # another process was faster
                return row
            request_run = request_runs.open(ConductRequest.model_validate(row["request"]), job.showing)
            self._watch(request_run)
            conducted = await request_run.answer()
            lost = await self._of_ledger(in_doubt, request_run.request.root) or []
        except (Exception, asyncio.CancelledError) as error:
            if job.begun.done() and not self._closing:
                status = problem_of(error).status if isinstance(error, Exception) else CLIENT_GONE
                # What a continuation has paid is not told apart from what was paid before it.
                own = None if job.begun.result().get("continues") else await self._of_ledger(spent_on, order.id)
                job.failed = await self._finish(row, started, {**rows.failed(error), **(own or {}), "http": status})
            if isinstance(error, asyncio.CancelledError) and not _is_stopped():
                raise Problem(CLIENT_GONE, "the request was cancelled by its operator", code="cancelled") from None
            raise
        body = conducted_body(row["id"], row["created"], conducted)
        done = rows.answered(row["id"], conducted, body, lost, self._pin())
        return await self._finish(row, started, {**done, "http": 200})

    async def _of_ledger(self, read: Callable[[Ledger, str], T], root: str) -> T | None:
        """What the ledger knows of a request's calls; nothing waits for it while it is away."""
        with suppress(LedgerAway):
            return await asyncio.to_thread(read, self._ledger, root)
        return None

    def _known(self, order: Order) -> Row | None:
        """The row that an earlier request with this key began. Raises Problem where it asked for something else."""
        try:
            row = get_request(self._ledger, order.id)
        except Pruned:
            raise
        except NotFound:
            return None
        return _check(row, order)

    async def _begin(self, order: Order, known: Row | None, request_runs: RequestRuns) -> Row:
        """The row, committed before anything is paid for the request."""
        if known is not None:
            return await self._journal.put(finish(order.id, {"status": "running", "process": self._mark}), 0.0)
        request = await asyncio.to_thread(order.make)
        try:
            request_runs.check(request)
        except BadInput as error:
            raise BadInput(str(error), f"fugu.{error.field}") from None
        row = rows.begun(
            request,
            ULTRA,
            http=None,
            key=order.key,
            digest=order.digest,
            stream=order.question.stream,
            user=order.question.user,
            owner=order.question.caller.key,
            continues=request.continues,
            process=self._mark,
        )
        return _check(await self._journal.put(begin(self._ledger, row), 0.0), order)

    async def _finish(self, row: Row | None, started: float, changes: Row) -> Row:
        """The row as the ledger has it then. An answer that is paid for is given also while the ledger is away."""
        assert row is not None
        changes = {**changes, "seconds": round(time.monotonic() - started, 4)}
        written = self._journal.put(finish(row["id"], changes), math.inf)
        if changes["http"] != 503:  # it was refused because the ledger is away
            await asyncio.wait([written], timeout=PROMPT_S)
        return written.result() if written.done() and written.exception() is None else {**row, **changes}


def _is_stopped() -> bool:
    """Whether this job is, and not only the run that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check(row: Row, order: Order) -> Row:
    return same_request(row, order.digest)


def same_request(row: Row, digest: str) -> Row:
    """The row of a key. Raises Problem 409 where it is of another request than this one, and Pruned."""
    refuse_pruned(row)
    if row.get("digest") != digest:
        message = "this Idempotency-Key was sent with another request"
        raise Problem(409, message, code="idempotency_key_reused", param="Idempotency-Key")
    return row


def _retrieved(task: asyncio.Task[Row]) -> None:
    if not task.cancelled():
        task.exception()  # the row has it, also where nobody waits any more
