"""Run a conducted request from its question to its answer: plan, steps, and further rounds.

`RequestRun` runs one request, `RequestRuns` keeps the running requests of a process, and `replay` repeats a finished
one from the ledger alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from models.conductor.run.answer import concluded
from models.conductor.run.memory import NOTHING, Memory, recalled, remembered
from models.conductor.run.planner import Plan, Planner
from models.conductor.run.request import ConductAnswer, ConductParts, ConductRequest
from models.conductor.run.state import RunState
from models.conductor.run.workflow_run import WorkflowRun
from models.errors import LimitReached
from models.ledger.journal import Journal
from models.ledger.plans import StoredPlan
from models.ledger.requests import note_end
from models.ledger.workflows import hand_out, put_workflow
from models.workers.ask import Message


class RequestRun:
    """The run of one request in this process. It starts its steps immediately: with forty concurrent requests, a grace
    period for a flow run that might start them would cost each answer more than the flow run is worth.

    `rounds`: the workflow runs so far. A nested request run (`path`: of the step that it answers, `inherited`: the
    memory of that step's workflow) shares its parent's limits and past.
    """

    def __init__(
        self, request: ConductRequest, state: RunState, path: str | None = None, inherited: Memory | None = None
    ) -> None:
        self.request = request
        self.rounds: list[WorkflowRun] = []
        self.plans: list[Plan] = []
        self._state, self._path, self._inherited = state, path or request.root, inherited
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
        """Run all rounds within the limits; when one is reached, the answer is made of what is finished."""
        outermost = self._inherited is None
        if outermost:
            await self._state.load()
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
            await self._note_end()
        answer = concluded(self.plans, self.rounds, self._state)
        if outermost:
            await self._hand_out(answer)
        return answer

    async def _note_end(self) -> None:
        """Record which limit ended the request, and where, before it is reported: a replay ends there, too."""
        limit, value = self._state.meter.ended, None
        if limit is not None:
            value = {"limit": limit, "finished": [list(step) for step in self._state.finished]}
        # An earlier try of the request may have been ended by another limit, or by none.
        if value != self._state.ended:
            await self._state.write(note_end(self.request.id, value))

    async def _hand_out(self, answer: ConductAnswer) -> None:
        """Record what a continuation needs, before the answer is returned."""
        if answer.tool_calls:
            ids = [call["id"] for call in answer.tool_calls]
            await self._state.write(hand_out(ids, self.request.id))

    async def _all_rounds(self) -> None:
        number, previous = 0, None
        while True:
            plan = await self._planned(number, previous)
            self.plans.append(plan)
            if plan.accepts:
                return
            workflow_run = WorkflowRun(self._state, self.request, f"{self._path}/{number}", number, plan, self._nest)
            self.rounds.append(workflow_run)
            self._notify()
            await workflow_run.run()
            last, number = workflow_run.records[-1], number + 1
            may_go_on = self.request.recursive and number <= self.request.limits.depth
            if last.state != "done" or not may_go_on or not self._state.may_plan(f"{self._path}/{number}"):
                return
            previous = last.text or ""

    async def _planned(self, number: int, previous: str | None) -> Plan:
        """The recorded plan, or a new one, which is on disk before any of its steps is paid for."""
        workflow = f"{self._path}/{number}"
        known = self._state.plan(workflow)
        if known is not None:
            return await self._recalled(known)
        memory = await self._memory(workflow, number)
        itself = self.request.recursive and number < self.request.limits.depth
        plan = await Planner(self._state, self.request, workflow, previous, memory, itself).plan()
        root, key = self._state.request.root, self._key
        recorded = await self._state.write(put_workflow(self._state.parts.ledger, workflow, root, key, plan.stored))
        return plan if recorded == plan.stored else await self._recalled(recorded)

    async def _recalled(self, stored: StoredPlan) -> Plan:
        """A stored plan, with its memory."""
        kept = stored.memory
        memory = await asyncio.to_thread(recalled, self._state.parts.ledger, kept) if kept else NOTHING
        return Plan(stored, memory)

    @property
    def _key(self) -> str:
        """The conversation's key; a nested request run has a separate one, so that no other run sees its steps."""
        return self.request.key if self._inherited is None else self._path

    async def _memory(self, workflow: str, number: int) -> Memory:
        if number == 0 and (self._inherited is not None or self.request.conversation is None):
            return self._inherited or NOTHING
        await self._state.flush()  # the memory includes the round before
        ledger, request = self._state.parts.ledger, self.request
        path = None if self._inherited is None else self._path
        given = request.key, workflow, request.allowed, request.messages, path
        return (self._inherited or NOTHING) + await asyncio.to_thread(remembered, ledger, *given)

    async def _nest(self, workflow_run: WorkflowRun, index: int, messages: Sequence[Message]) -> ConductAnswer:
        """Run a step that the conductor itself takes: a request run on what the step sees, one level deeper."""
        limits = self.request.limits
        deeper = limits.model_copy(update={"depth": limits.depth - workflow_run.number - 1})
        seen = tuple(dict(message) for message in messages)
        changes = {"messages": seen, "limits": deeper, "sampling": workflow_run.sampling(index)}
        inner = self.request.model_copy(update=changes)
        return await RequestRun(inner, self._state, f"{workflow_run.id}/s{index}", workflow_run.plan.memory).answer()


class RequestRuns:
    """The request runs of a process. Bound to one event loop."""

    def __init__(self, parts: ConductParts) -> None:
        self._parts = parts
        self._journal = Journal(parts.ledger)
        self._running: dict[str, RequestRun] = {}
        self.ledger = parts.ledger

    def open(self, request: ConductRequest) -> RequestRun:
        """The run of `request.id`: the current one, else a new one, which continues from the ledger.

        It makes no call before its `answer` is awaited.
        """
        running = self._running.get(request.id)
        if running is None or running.over:
            running = RequestRun(request, RunState(self._parts, request, self._journal))
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
    return await RequestRun(request, RunState(parts, request, None)).answer()
