"""One workflow's steps, in parallel where the access lists allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, ConductRequest, StepRecord
from models.conductor.run.state import RunState
from models.conductor.run.step_run import StepRun
from models.errors import (
    BadInput,
    FuguError,
    LedgerAway,
    LimitReached,
    MaybePaid,
    PermanentError,
    TransientError,
    WorkflowFailed,
)
from models.workers.ask import Message, Reply, Sampling

NestIn = Callable[["WorkflowRun", int, Sequence[Message]], Awaitable[ConductAnswer]]


@dataclass
class _Slot:
    """A step, the try that is under way, and how many have failed on its present worker."""

    run: StepRun
    task: asyncio.Task[StepRecord] | None = None
    failures: int = 0
    error: Exception | None = None


class WorkflowRun:
    """The steps of one workflow. Belongs to one event loop; whoever asks for a step joins the one execution of it.

    `id`: the workflow's ("{request}/{round}"). `number`: the round, from 0. `workers`: who is planned for each step.
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
        """The steps as they stand now."""
        return [slot.run.record for slot in self._slots]

    @property
    def most_failures(self) -> int:
        """How many transient failures whoever joins a step can be told of: of each worker all but its last try's."""
        return (self._state.parts.retry.tries - 1) * len(self._state.request.allowed)

    def nested(self, index: int) -> ConductAnswer | None:
        """What came of a step that the conductor itself took."""
        return self._slots[index].run.nested

    def replies(self, index: int) -> list[tuple[Reply, str]]:
        """The replies of a step's turns, and in which request each was made."""
        return self._slots[index].run.replies

    def sampling(self, index: int) -> Sampling:
        """What shapes a step's replies."""
        return self._slots[index].run.sampling

    async def meaning(self, index: int) -> str:
        """A digest of all that a step's replies hang on, once the steps that it sees are done: a cache's key."""
        run = self._slots[index].run
        return run.meaning([await self.step(other) for other in run.record.sees])

    async def run(self) -> None:
        """All steps, to their ends. Calls that were paid for when a step failed are waited for, then it is raised."""
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
        """The step's end: it waits for the steps that it sees, asks, tries again, is given to another worker.

        A step that waits for a client's tools, or sees one that does, ends as "awaiting-tools" or "waiting"; one
        that a limit keeps from being asked as "passed over". Raises WorkflowFailed, naming the step.
        """
        while True:
            try:
                return await self.attempt(index)
            except TransientError:
                continue  # the call's row says when its next try may start, and that try waits for it

    async def attempt(self, index: int) -> StepRecord:
        """One try of it, joined: a TransientError is raised to all who joined, and their next calls meet again."""
        slot = self._slots[index]
        if slot.error is not None:
            raise slot.error
        if slot.run.ended:
            return slot.run.record
        if slot.task is None:
            slot.task = asyncio.create_task(self._try(index))
            slot.task.add_done_callback(lambda task: _land(slot, task))
        task = slot.task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                return slot.run.record  # the step was cut off, not the one who joined it
            raise

    async def _try(self, index: int) -> StepRecord:
        """Until it ends, or fails in a way that is worth another try of the same worker."""
        slot = self._slots[index]
        while True:
            try:
                return await self._go(slot.run)
            except LimitReached:
                return slot.run.end(state="passed over")
            except (BadInput, MaybePaid, LedgerAway) as error:
                self._fail(slot, error)  # no other worker would change it
                raise
            except (TransientError, PermanentError) as error:
                slot.failures += 1
                if isinstance(error, TransientError) and self._goes_on(slot, error):
                    raise
                await self._give_to_another(slot, error)
            except Exception as error:
                self._fail(slot, error)
                raise

    async def _go(self, run: StepRun) -> StepRecord:
        seen = await asyncio.gather(*(self.step(other) for other in run.record.sees))
        states = {record.state for record in seen}
        stopped = self._failed or self._state.stops(self.id, run.record.index)
        if stopped or "passed over" in states:
            return run.end(state="passed over")
        if states - {"done"}:
            return run.end(state="waiting")
        return await run.walk(seen)

    def _goes_on(self, slot: _Slot, error: TransientError) -> bool:
        return self._state.parts.retry.delay(slot.failures, error) is not None

    async def _give_to_another(self, slot: _Slot, error: FuguError) -> None:
        if isinstance(error, WorkflowFailed) and error.workflow == self.id:
            raise error  # of a step that this one sees
        try:
            await slot.run.give_to_another(error)
        except Exception as failure:
            self._fail(slot, failure)
            raise
        slot.failures = 0

    def _fail(self, slot: _Slot, error: Exception) -> None:
        """No step that has not been asked yet will be."""
        slot.error, self._failed = error, True

    async def _cancel(self, steps: Sequence[asyncio.Task[StepRecord]]) -> None:
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        for slot in self._slots:
            if not slot.run.ended and slot.error is None:
                slot.run.end(state="passed over")
        for task in (*steps, *tasks):
            task.cancel()
        await asyncio.gather(*steps, *tasks, return_exceptions=True)


def _land(slot: _Slot, task: asyncio.Task[StepRecord]) -> None:
    slot.task = None
    if not task.cancelled():
        task.exception()  # those who waited have it
