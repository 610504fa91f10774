"""One request from its question to its answer: plan, steps, and where it may, another round."""

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
    """One request in this process. It starts its steps by itself, at once: with forty requests at a time, a grace
    period for a flow run that might start them would cost each answer more than the flow run is worth.

    `rounds` grows. A nested request_run (`path`: the step that it is, `inherited`: what that step's workflow knows)
    shares its parent's limits and past.
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
        """Drive everything to the answer. Single flight: whoever calls joins.

        When the last who waits here is cancelled, all that is under way is cancelled too. Raises WorkflowFailed,
        LimitReached (nothing was finished when a limit was met), NoWorkerAllowed.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._drive())
            self._task.add_done_callback(self._land)
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
        """What `answer` gives or raises, without a part in it: `None` where nobody waited for it to the end."""
        while not self._over:
            await self._changed.wait()
        if self._task is None or self._task.cancelled():
            return None
        return self._task.result()

    async def round(self, number: int) -> WorkflowRun | None:
        """The round of that number (from 0) once it is planned; `None` where the answer came without it."""
        while len(self.rounds) <= number and not self._over:
            await self._changed.wait()
        return self.rounds[number] if number < len(self.rounds) else None

    async def watch(self) -> AsyncIterator[WorkflowRun]:
        """Each round as soon as it is planned, until the answer is there."""
        number = 0
        while (workflow_run := await self.round(number)) is not None:
            yield workflow_run
            number += 1

    @property
    def over(self) -> bool:
        """Whether the answer is there, or will not come."""
        return self._over

    def when_over(self, call: Callable[[], None]) -> None:
        """Have it called once the answer is there or will not come."""
        self._callbacks.append(call)

    async def cancel(self) -> None:
        """End what is under way; those who wait for the answer are cancelled."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _land(self, task: asyncio.Task[ConductAnswer]) -> None:
        self._over = True
        self._tell()
        for call in self._callbacks:
            call()
        if not task.cancelled():
            task.exception()  # those who waited have it

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _drive(self) -> ConductAnswer:
        """Everything, within the limits; what has been finished when one is met is the answer."""
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
            pass  # the plan itself did not fit: what an earlier round answered stands
        if outermost:
            await self._note_end()
        conducted = concluded(self.plans, self.rounds, self._state)
        if outermost:
            await self._hand_out(conducted)
        return conducted

    async def _note_end(self) -> None:
        """Which limit ended it, and where, is on disk before anybody hears of it: a replay ends there, too."""
        limit, value = self._state.meter.ended, None
        if limit is not None:
            value = {"limit": limit, "finished": [list(step) for step in self._state.finished]}
        # An earlier try of the request may have been ended by another limit, or by none.
        if value != self._state.ended:
            await self._state.write(note_end(self.request.id, value))

    async def _hand_out(self, conducted: ConductAnswer) -> None:
        """What a continuation has to know is on disk before the answer leaves."""
        if conducted.tool_calls:
            ids = [call["id"] for call in conducted.tool_calls]
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
            self._tell()
            await workflow_run.run()
            last, number = workflow_run.records[-1], number + 1
            may_go_on = self.request.recursive and number <= self.request.limits.depth
            if last.state != "done" or not may_go_on or not self._state.may_plan(f"{self._path}/{number}"):
                return
            previous = last.text or ""

    async def _planned(self, number: int, previous: str | None) -> Plan:
        """The recorded plan, or a new one: on disk before a step of it is paid."""
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
        """A recorded plan, with the texts of its memory."""
        kept = stored.memory
        memory = await asyncio.to_thread(recalled, self._state.parts.ledger, kept) if kept else NOTHING
        return Plan(stored, memory)

    @property
    def _key(self) -> str:
        """A nested conducting is a conversation of its own: nobody else may see its steps."""
        return self.request.key if self._inherited is None else self._path

    async def _memory(self, workflow: str, number: int) -> Memory:
        if number == 0 and (self._inherited is not None or self.request.conversation is None):
            return self._inherited or NOTHING
        await self._state.flush()  # the round before is part of what is remembered
        ledger, request = self._state.parts.ledger, self.request
        path = None if self._inherited is None else self._path
        given = request.key, workflow, request.allowed, request.messages, path
        return (self._inherited or NOTHING) + await asyncio.to_thread(remembered, ledger, *given)

    async def _nest(self, workflow_run: WorkflowRun, index: int, messages: Sequence[Message]) -> ConductAnswer:
        """A step that the conductor itself takes: a conducting of what the step sees, one level deeper."""
        limits = self.request.limits
        deeper = limits.model_copy(update={"depth": limits.depth - workflow_run.number - 1})
        seen = tuple(dict(message) for message in messages)
        changes = {"messages": seen, "limits": deeper, "sampling": workflow_run.sampling(index)}
        inner = self.request.model_copy(update=changes)
        return await RequestRun(inner, self._state, f"{workflow_run.id}/s{index}", workflow_run.plan.memory).answer()


class RequestRuns:
    """Opens conductings. Belongs to one event loop."""

    def __init__(self, parts: ConductParts) -> None:
        self._parts = parts
        self._journal = Journal(parts.ledger)
        self._running: dict[str, RequestRun] = {}
        self.ledger = parts.ledger

    def open(self, request: ConductRequest) -> RequestRun:
        """The conducting of `request.id`: the one that runs, else a new one, which goes on from the ledger.

        Nothing is asked before its `answer` is awaited.
        """
        running = self._running.get(request.id)
        if running is None or running.over:
            running = RequestRun(request, RunState(self._parts, request, self._journal))
            self._running[request.id] = running
            running.when_over(lambda: self._forget(request.id, running))
        return running

    def check(self, request: ConductRequest) -> None:
        """Raises BadInput for a wish that this process's conductor cannot honour: before anything is begun."""
        self._parts.refuse_shuffle(request)

    def _forget(self, id: str, request_run: RequestRun) -> None:
        if self._running.get(id) is request_run:
            del self._running[id]

    async def flush(self) -> None:
        """Wait until all that is known of the steps is on disk."""
        await self._journal.flush()

    async def close(self) -> None:
        """Cancel what is under way, write what is waiting. The dispatcher stays open: it is the caller's."""
        await asyncio.gather(*(request_run.cancel() for request_run in list(self._running.values())))
        await self._journal.close()


async def replay(parts: ConductParts, request: ConductRequest) -> ConductAnswer:
    """The request once more, from the ledger alone: the same contexts, replies and answer, nothing sent or written.

    Raises NotFound for what the ledger lacks, PermanentError where a context is not the recorded one, and what the
    request itself ended with.
    """
    return await RequestRun(request, RunState(parts, request, None)).answer()
