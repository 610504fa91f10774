"""Responses that are answered in the background: they outlive the request that began them.

Each is a row of the ledger from its start on, and a task of the process that took it, which other processes cancel
through the row. It has a bounded number of companions, and ends with its process: its row then says that it failed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from deployments.endpoint.answer.jobs import PROMPT_S
from deployments.endpoint.answer.result import Answering, Delta, Emit, Result, Text
from deployments.endpoint.orphans import is_dead, own_mark
from deployments.endpoint.wire.problems import CLIENT_GONE, Problem, not_ready, problem_of
from deployments.endpoint.wire.responses.kept import Wrapped
from deployments.endpoint.wire.responses.question import ResponsesQuestion
from models.errors import FuguError
from models.ledger.journal import Journal
from models.ledger.kept.responses import FINAL, Kept, put, settle, status_of
from models.ledger.requests import Row
from models.workers.ask import Usage

log = logging.getLogger(__name__)

MOST = 256
"""Responses that one process answers in the background at a time."""

END = b"\n\n"
"""What ends an event."""

LOOK_S = 1.0
"""How often a response's process looks whether another one has cancelled it."""


class Run:
    """One response on its way. `told`: its events so far."""

    def __init__(self, question: ResponsesQuestion, answering: Answering, journal: Journal) -> None:
        self.question, self.told = question, list[bytes]()
        self._answering, self._journal = answering, journal
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._cancelled, self._started = False, time.monotonic()
        self._row: Row | None = None
        self._ended: Row | None = None

    @property
    def id(self) -> str:
        return self._answering.id

    async def begin(self, mark: str) -> None:
        """Queue it. Raises LedgerAway where it cannot be kept."""
        self._tell(self.question.draft.begin(self.id, self._answering.created))
        await self._journal.put(put(self._journal.ledger, self.question.kept(self.id, mark)), 0.0)

    def start(self, ended: Callable[[Run], object]) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: ended(self))

    async def cancel(self) -> None:
        """Its client wants no answer any more; returns when it has ended."""
        self._cancelled = True
        await self.stop()

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def events(self) -> AsyncGenerator[bytes]:
        """All events, one by one, also those to come."""
        shown = 0
        while True:
            changed = self._changed
            for piece in self.told[shown:]:
                shown += 1
                for event in piece.split(END)[:-1]:
                    yield event + END
            if self._ended is not None and shown == len(self.told):
                return
            await changed.wait()

    def note(self, row: Row) -> None:
        """`row`: of the request that began it, which is over; its own is known at its end."""
        self._row = row
        self._keep()

    async def _run(self) -> None:
        draft, failed, status = self.question.draft, None, 200
        looking = asyncio.create_task(self._look())
        try:
            self._tell(draft.run())
            await self._settle()
            result = await self._answering.answer(self._write)
            self._tell(draft.finish(result, True, self.question.ended_at()))
        except asyncio.CancelledError:
            status = CLIENT_GONE
            if self._cancelled:
                draft.cancel()
            else:
                draft.fail(not_ready("the endpoint has stopped"))
        except Exception as error:
            problem = problem_of(error, trace=self.question.trace)
            failed, status = error, problem.status
            draft.fail(problem)
        looking.cancel()
        await self._settle()
        error_name = type(failed).__name__ if failed else None
        seconds = round(time.monotonic() - self._started, 4)
        self._ended = {"id": self.id, "status": status, "seconds": seconds, "error": error_name}
        log.info("response", extra={"fields": self._ended})
        self._tell(draft.last(self._disclosed()))
        self._keep()

    async def _write(self, delta: Delta) -> None:
        self._tell(self.question.draft.add(delta))

    async def _settle(self) -> None:
        draft = self.question.draft
        body = draft.body() | (self._disclosed() if draft.status in FINAL else {})
        written = self._journal.put(settle(self.id, draft.status, body), math.inf)
        await asyncio.wait([written], timeout=PROMPT_S)

    def _disclosed(self) -> dict[str, Any]:
        if not self.question.trace:
            return {}
        return {"fugu": {**self._answering.report().trace, "notes": list(self.question.notes)}}

    def _keep(self) -> None:
        if self._row is not None and self._ended is not None:
            self._answering.keep({**self._row, **self._answering.report().log, **self._ended})

    def _tell(self, events: bytes) -> None:
        if events:
            self.told.append(events)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _look(self) -> None:
        """Ends the run when another process has marked it as cancelled, or deleted it."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(FuguError):
                if await asyncio.to_thread(status_of, self._journal.ledger, self.id) in (None, "cancelled"):
                    self._cancelled = True
                    assert self._task is not None
                    self._task.cancel()
                    return


class Background:
    """All of them in this process, by id."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._mark = journal, own_mark()
        self._runs: dict[str, Run] = {}

    @property
    def running(self) -> int:
        return len(self._runs)

    def get(self, id: str) -> Run | None:
        return self._runs.get(id)

    async def begin(self, question: ResponsesQuestion, answering: Answering) -> Run:
        """Queue and start one. Raises Problem 503 where there are too many, and LedgerAway."""
        if len(self._runs) >= MOST:
            raise Problem(503, "too many responses are under way in the background", "server_error", "overloaded")
        run = Run(question, answering, self._journal)
        if run.id in self._runs:  # the same Idempotency-Key
            return self._runs[run.id]
        self._runs[run.id] = run
        try:
            await run.begin(self._mark)
        except BaseException:
            self._runs.pop(run.id, None)
            raise
        run.start(lambda ended: self._runs.pop(ended.id, None))
        return run

    async def close(self) -> None:
        """Stop them all; what they say then is in the ledger."""
        await asyncio.gather(*(run.stop() for run in list(self._runs.values())))


def left_behind(kept: Kept) -> bool:
    """Whether the process that should answer it has ended."""
    return kept.status not in FINAL and kept.process is not None and is_dead(kept.process)


class Queued(Wrapped):
    """Answers the request that begins a run: at once, or as a stream of what the run tells."""

    def __init__(self, question: ResponsesQuestion, answering: Answering, background: Background) -> None:
        super().__init__(question, answering)
        self._background = background
        self._run: Run | None = None

    async def answer(self, emit: Emit | None) -> Result:
        run = self._run = await self._background.begin(self._question, self._answering)
        if emit is not None:
            outbox, opened = self._question.outbox, False
            async for event in run.events():
                outbox.append(event)
                if opened:  # the first one is the stream's opening
                    await emit(Text(""))
                opened = True
        return Result(None, (), "stop", Usage())

    def keep(self, row: Row) -> None:
        if self._run is not None:
            self._run.note(row)
