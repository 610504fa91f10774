"""Run one workflow's steps, concurrently where the access lists allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, ConductRequest, StepRecord
from models.conductor.run.state import RunState
from models.conductor.run.step_run import StepRun, try_step
from models.errors import LedgerAway, TransientError
from models.workers.ask import Message, Reply, Sampling

NestIn = Callable[["WorkflowRun", int, Sequence[Message]], Awaitable[ConductAnswer]]


@dataclass
class _Slot:
    """A step, its current try, and the error that it ended with."""

    run: StepRun
    task: asyncio.Task[StepRecord] | None = None
    error: Exception | None = None


class WorkflowRun:
    """The steps of one workflow. Bound to one event loop; all callers of a step share one run of it.

    `id`: the workflow's ("{request}/{round}"). `number`: the round, from 0. `workers`: the planned worker of each step.
    """

    def __init__(
        self, state: RunState, request: ConductRequest, id: str, number: int, plan: Plan, nest: NestIn
    ) -> None:
        self.id, self.number, self.plan = id, number, plan
        self.workflow, self.workers = plan.workflow, plan.workers
        self._state, self._failed = state, False

        def conduct(index: int, messages: Sequence[Message]) -> Awaitable[ConductAnswer]:
            return nest(self, index, messages)

        runs = [StepRun(state, request, plan, id, index, conduct) for index in range(len(self.workers))]
        self._slots = [_Slot(run) for run in runs]

    @property
    def records(self) -> list[StepRecord]:
        """The current records of the steps."""
        return [slot.run.record for slot in self._slots]

    @property
    def most_failures(self) -> int:
        """Maximum transient failures that a caller of a step can see."""
        return self._state.most_failures

    def nested(self, index: int) -> ConductAnswer | None:
        """The answer of a step that the conductor itself took."""
        return self._slots[index].run.nested

    def replies(self, index: int) -> list[tuple[Reply, str]]:
        """The replies of a step's turns, each with the request that made it."""
        return self._slots[index].run.replies

    def sampling(self, index: int) -> Sampling:
        """A step's sampling."""
        return self._slots[index].run.sampling

    async def meaning(self, index: int) -> str:
        """A digest of all that a step's replies depend on, once the steps that it sees are done: a cache key."""
        run = self._slots[index].run
        return run.meaning([await self.step(other) for other in run.record.sees])

    async def run(self) -> None:
        """Run all steps to their ends. If one fails, calls already under way are awaited before its error is raised."""
        steps = [asyncio.create_task(self.step(index)) for index in range(len(self._slots))]
        try:
            await asyncio.wait(steps)
        except asyncio.CancelledError:
            await self._cancel(steps)
            raise
        for error in [step.exception() for step in steps]:
            if error is not None:
                raise error

    async def step(self, index: int) -> StepRecord:
        """Run a step to its end: wait for the steps that it sees, ask, retry, give it to another worker.

        A step that waits for a client's tools, or sees one that does, ends as "awaiting-tools" or "waiting"; one
        that a limit stops, as "passed over". Raises WorkflowFailed, naming the step.
        """
        while True:
            try:
                return await self.attempt(index)
            except TransientError:
                if self._slots[index].error is not None:
                    raise  # it ended so: the ledger is away
                # The call's row has the time of its next try, which waits until then.

    async def attempt(self, index: int) -> StepRecord:
        """One try, shared by the step's callers: all get a TransientError, and their next calls share the next try."""
        slot = self._slots[index]
        if slot.error is not None:
            raise slot.error
        if slot.run.ended:
            return slot.run.record
        if slot.task is None:
            slot.task = asyncio.create_task(self._try(index))
            slot.task.add_done_callback(lambda task: _clear(slot, task))
        task = slot.task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                return slot.run.record  # the step was cancelled, not this caller
            raise

    async def _try(self, index: int) -> StepRecord:
        """Repeat until the step ends, or fails in a way that is worth another try on the same worker."""
        slot = self._slots[index]
        try:
            seen = await asyncio.gather(*(self.step(other) for other in slot.run.record.sees))
            while not slot.run.ended:
                if self._failed:
                    return slot.run.end(state="passed over")
                await try_step(slot.run, seen)
        except Exception as error:
            if isinstance(error, LedgerAway) or not isinstance(error, TransientError):
                self._fail(slot, error)
            raise
        return slot.run.record

    def _fail(self, slot: _Slot, error: Exception) -> None:
        """Record the error; steps that have not been asked yet are not asked any more."""
        slot.error, self._failed = error, True

    async def _cancel(self, steps: Sequence[asyncio.Task[StepRecord]]) -> None:
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        for slot in self._slots:
            if not slot.run.ended and slot.error is None:
                slot.run.end(state="passed over")
        for task in (*steps, *tasks):
            task.cancel()
        await asyncio.gather(*steps, *tasks, return_exceptions=True)


def _clear(slot: _Slot, task: asyncio.Task[StepRecord]) -> None:
    slot.task = None
    if not task.cancelled():
        task.exception()  # marks it as retrieved; the callers raise it
