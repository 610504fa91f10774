"""Run a conducted request from its question to its answer: plan, steps, and further rounds.

`RequestRun` runs one request, `RequestRuns` keeps the running requests of a process, and `replay` repeats a finished
one from the ledger alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from models.conductor.run.answer import concluded
from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, ConductParts, ConductRequest
from models.conductor.run.rounds import Rounds
from models.conductor.run.state import RunState
from models.conductor.run.watching import Watch
from models.conductor.run.workflow_run import WorkflowRun
from models.errors import AllOpen, LedgerAway, LimitReached, TransientError
from models.ledger.journal import Journal
from models.workers.ask import Message


class RequestRun:
    """The run of one request in this process. It starts its steps immediately: with forty concurrent requests, a grace
    period for a flow run that might start them would cost each answer more than the flow run is worth.

    `rounds`: the workflow runs so far. A nested request run shares its parent's limits and past.
    """

    def __init__(self, plans: Rounds) -> None:
        self.request = plans.request
        self.rounds: list[WorkflowRun] = []
        self.plans: list[Plan] = []
        self._plans, self._state = plans, plans.state
        self._task: asyncio.Task[ConductAnswer] | None = None
        self._joined = 0
        self._over = False
        self._changed = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    async def answer(self) -> ConductAnswer:
        """Run to the answer. Concurrent callers share one run.

        When the last waiting caller is cancelled, the run is cancelled too. Raises WorkflowFailed, LimitReached (a
        limit was reached before any step was finished), NoWorkerAllowed.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._drive())
            self._task.add_done_callback(self._finish)
        self._joined += 1
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._joined == 1 and not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task])
            raise
        finally:
            self._joined -= 1

    async def outcome(self) -> ConductAnswer | None:
        """What `answer` returns or raises, without starting or keeping the run: `None` if it was cancelled."""
        while not self._over:
            await self._changed.wait()
        if self._task is None or self._task.cancelled():
            return None
        return self._task.result()

    async def round(self, number: int) -> WorkflowRun | None:
        """The round of that number (from 0) once it is planned; `None` if the request ended without it."""
        while len(self.rounds) <= number and not self._over:
            await self._changed.wait()
        return self.rounds[number] if number < len(self.rounds) else None

    async def watch(self) -> AsyncIterator[WorkflowRun]:
        """Each round as soon as it is planned, until the request ends."""
        number = 0
        while (workflow_run := await self.round(number)) is not None:
            yield workflow_run
            number += 1

    @property
    def over(self) -> bool:
        """Whether the request has ended, with or without an answer."""
        return self._over

    def when_over(self, call: Callable[[], None]) -> None:
        """Register a callback for the end of the request."""
        self._callbacks.append(call)

    async def cancel(self) -> None:
        """Cancel the run; callers waiting for the answer are cancelled."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _finish(self, task: asyncio.Task[ConductAnswer]) -> None:
        self._over = True
        self._notify()
        for call in self._callbacks:
            call()
        if not task.cancelled():
            task.exception()  # marks it as retrieved; the callers raise it

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _drive(self) -> ConductAnswer:
        if not self._plans.outermost:
            return await self._to_the_answer()
        try:
            await self._state.load()
            return await self._to_the_answer()
        finally:
            await self._state.holding.release()

    async def _to_the_answer(self) -> ConductAnswer:
        """Run all rounds within the limits; when one is reached, the answer is made of what is finished."""
        outermost = self._plans.outermost
        try:
            async with asyncio.timeout(self.request.limits.max_seconds if outermost else None) as clock:
                await self._all_rounds()
        except TimeoutError:
            if not clock.expired():
                raise
            self._state.meter.stop("max_seconds")
        except LimitReached:
            pass  # the plan itself did not fit: an earlier round's answer is used
        if outermost:
            await self._plans.note_end()
        answer = concluded(self.plans, self.rounds, self._state)
        if outermost:
            await self._plans.hand_out(answer)
        return answer

    async def _all_rounds(self) -> None:
        number, previous = 0, None
        while True:
            plan = await self._planned(number, previous)
            self.plans.append(plan)
            if plan.accepts:
                return
            workflow_run = WorkflowRun(self._state, self.request, self._plans.id(number), number, plan, self._nest)
            self.rounds.append(workflow_run)
            self._state.watch.planned(workflow_run.id, plan.stored)
            self._notify()
            await workflow_run.run()
            last, number = workflow_run.records[-1], number + 1
            if not self._plans.another(number, last):
                return
            previous = last.text or ""

    async def _planned(self, number: int, previous: str | None) -> Plan:
        while True:
            try:
                return await self._plans.planned(number, previous)
            except (LedgerAway, AllOpen):
                raise
            except TransientError:
                continue  # the call's row has the time of its next try, which waits until then

    async def _nest(self, workflow_run: WorkflowRun, index: int, messages: Sequence[Message]) -> ConductAnswer:
        """Run a step that the conductor itself takes."""
        number, plan, sampling = workflow_run.number, workflow_run.plan, workflow_run.sampling(index)
        return await RequestRun(self._plans.nested(number, index, plan, sampling, messages)).answer()


class RequestRuns:
    """The request runs of a process. Bound to one event loop."""

    def __init__(self, parts: ConductParts) -> None:
        self._parts = parts
        self._journal = Journal(parts.ledger)
        self._running: dict[str, RequestRun] = {}
        self.ledger = parts.ledger

    def open(self, request: ConductRequest, watch: Watch | None = None) -> RequestRun:
        """The run of `request.id`: the current one, else a new one, which continues from the ledger and is watched.

        It makes no call before its `answer` is awaited.
        """
        running = self._running.get(request.id)
        if running is None or running.over:
            state = RunState(self._parts, request, self._journal)
            state.watch = watch or state.watch
            running = RequestRun(Rounds(request, state))
            self._running[request.id] = running
            running.when_over(lambda: self._forget(request.id, running))
        return running

    def check(self, request: ConductRequest) -> None:
        """Raises BadInput, before a run is started, for what this process's conductor cannot do."""
        self._parts.refuse_shuffle(request)

    def _forget(self, id: str, request_run: RequestRun) -> None:
        if self._running.get(id) is request_run:
            del self._running[id]

    async def flush(self) -> None:
        """Wait until all changes of steps are on disk."""
        await self._journal.flush()

    async def close(self) -> None:
        """Cancel all runs and write pending changes. The dispatcher belongs to the caller and stays open."""
        await asyncio.gather(*(request_run.cancel() for request_run in list(self._running.values())))
        await self._journal.close()


async def replay(parts: ConductParts, request: ConductRequest) -> ConductAnswer:
    """Repeat a request from the ledger alone: the same contexts, replies and answer; nothing is sent or written.

    Raises NotFound for what the ledger lacks, PermanentError if a context differs from the recorded one, and the
    error with which the request ended.
    """
    return await RequestRun(Rounds(request, RunState(parts, request, None))).answer()
