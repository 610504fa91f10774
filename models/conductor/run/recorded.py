"""A request run as the ledger has it, for a runner whose steps share no process: each task opens it anew."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from models.conductor.run.answer import concluded
from models.conductor.run.planner import CONDUCTOR, Plan
from models.conductor.run.request import ConductAnswer, ConductParts, StepRecord
from models.conductor.run.rounds import Rounds
from models.conductor.run.state import CANCELLED, RunState
from models.conductor.run.step_run import StepRun, try_step
from models.errors import FuguError, LimitReached, NotFound
from models.ledger.journal import Journal
from models.workers.ask import Message, Reply

T = TypeVar("T")

SETTLE = timedelta(seconds=25)
"""How long calls under way may take to end after a request was cancelled: less than Prefect's worker waits with its
SIGKILL."""

LOOK_S = 1.0
"""Seconds between two looks at what other processes have told of the request."""

_NESTED = re.compile(r"/(\d+)/s(\d+)")


class RecordedRound:
    """A planned round with the records of its steps."""

    def __init__(self, rounds: Rounds, number: int, plan: Plan) -> None:
        self.id, self.number, self.plan = rounds.id(number), number, plan
        self.rounds = rounds
        steps = range(len(plan.workers))
        self.runs = [StepRun(rounds.state, rounds.request, plan, self.id, index, self._nest) for index in steps]

    async def read(self, before: int | None = None) -> RecordedRound:
        """Read the steps, or those before one."""
        for run in self.runs[:before]:
            await run.read(self.seen_by(run.record.index))
        return self

    def seen_by(self, index: int) -> list[StepRecord]:
        """The records of the steps that a step sees; they are earlier ones."""
        return [self.runs[other].record for other in self.runs[index].record.sees]

    def nested_rounds(self, index: int) -> Rounds:
        """Those of a step that the conductor itself takes; the steps before it have been read."""
        run = self.runs[index]
        messages = run.messages(self.seen_by(index))
        return self.rounds.nested(self.number, index, self.plan, run.sampling, messages)

    @property
    def may_go_on(self) -> bool:
        """Whether another round may follow at all."""
        return self.rounds.request.recursive

    def refuse_failed(self) -> None:
        """Raises WorkflowFailed for a step that failed on every worker."""
        for run in self.runs:
            if run.record.state == "failed":
                raise run.failure

    @property
    def records(self) -> list[StepRecord]:
        return [run.record for run in self.runs]

    def nested(self, index: int) -> ConductAnswer | None:
        return self.runs[index].nested

    def replies(self, index: int) -> list[tuple[Reply, str]]:
        return self.runs[index].replies

    async def _nest(self, index: int, messages: Sequence[Message]) -> ConductAnswer:
        return await RecordedRun(self.nested_rounds(index)).answer()


@dataclass(frozen=True)
class End:
    """What has come of a request run: its rounds, whether it was cancelled, its answer or its error."""

    rounds: Sequence[RecordedRound]
    cancelled: bool
    answer: ConductAnswer | None
    error: FuguError | None


class RecordedRun:
    """The recorded rounds of a request run, or of a nested one."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, self.state = rounds, rounds.state

    @classmethod
    async def opened(cls, parts: ConductParts, journal: Journal, id: str, path: str = "") -> RecordedRun:
        """That of the request `id`; `path`: of the step that a nested one answers ("": the request's own).

        Raises NotFound for what the ledger lacks.
        """
        state = await RunState.joined(parts, journal, id)
        run = cls(Rounds(state.request, state))
        for number, index in _NESTED.findall(path.removeprefix(state.request.root)):
            found = await run.round(int(number))
            await found.read(before=int(index))
            run = cls(found.nested_rounds(int(index)))
        return run

    async def round(self, number: int) -> RecordedRound:
        """A planned round, whose steps are not read yet. Raises NotFound."""
        plan = await self.rounds.recorded(number)
        if plan is None:
            raise NotFound(f"the ledger has no plan of workflow {self.rounds.id(number)}")
        return RecordedRound(self.rounds, number, plan)

    async def plan(self, number: int) -> Plan:
        """One try to plan a round, after those before it; the plan is on disk then. Raises what `Rounds.planned` does,
        and LimitReached also where somebody has cancelled the request.
        """
        if not self.rounds.may_begin(number):
            limit = self.state.meter.ended or CANCELLED
            raise LimitReached(f"the request's limit {limit} is reached", limit)
        previous = (await self.last(number - 1)).text or "" if number else None
        try:
            return await self._in_time(self.rounds.planned(number, previous))
        finally:
            await self.state.share_limit()

    async def try_step(self, number: int, index: int) -> StepRun:
        """One try of a step; what has come of it is on disk then. Raises what `step_run.try_step` raises."""
        found = await (await self.round(number)).read(before=index)
        run = found.runs[index]
        try:
            seen = found.seen_by(index)
            begun = run.record.worker == CONDUCTOR and await self._has_begun(found, index)
            await self._in_time(try_step(run, seen, begun))
        except LimitReached:
            run.end(state="passed over")
        finally:
            await self.state.share_limit()
            await self.state.flush()
        return run

    async def meaning(self, number: int, index: int) -> tuple[str, bool]:
        """A digest of all that a step's replies depend on, and whether the ledger has its end."""
        found = await (await self.round(number)).read(before=index + 1)
        run = found.runs[index]
        return run.meaning(found.seen_by(index)), run.record.state in ("done", "awaiting-tools")

    async def another(self, number: int) -> bool:
        """Whether a round of that number follows the one before it."""
        return self.rounds.another(number, await self.last(number - 1))

    async def all_rounds(self) -> list[RecordedRound]:
        """The rounds that have steps, read."""
        found: list[RecordedRound] = []
        while (plan := await self.rounds.recorded(len(found))) is not None and not plan.accepts:
            found.append(await RecordedRound(self.rounds, len(found), plan).read())
        return found

    async def end(self) -> End:
        """What has come of the run."""
        rounds, cancelled = await self.all_rounds(), self.state.notes.cancelled is not None
        try:
            return End(rounds, cancelled, await self._answer(rounds), None)
        except FuguError as error:
            return End(rounds, cancelled, None, error)

    async def answer(self) -> ConductAnswer:
        """The answer of all that has been run; that of the request itself is recorded.

        Raises WorkflowFailed, and LimitReached if a limit was reached before any step was finished.
        """
        return await self._answer(await self.all_rounds())

    async def _answer(self, found: Sequence[RecordedRound]) -> ConductAnswer:
        accepting = await self.rounds.recorded(len(found))
        if self.rounds.outermost:
            await self.rounds.note_end()
            await self.state.holding.release()
        for each in found:
            each.refuse_failed()
        plans = [each.plan for each in found] + ([accepting] if accepting is not None else [])
        answer = concluded(plans, found, self.state)
        if self.rounds.outermost:
            await self.rounds.hand_out(answer)
        return answer

    async def last(self, number: int) -> StepRecord:
        """The record of the round's last step, which answers."""
        return (await (await self.round(number)).read()).records[-1]

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result within the request's time, which all of its processes share, and while nobody cancels it.

        A call that is under way when the request is cancelled has `SETTLE_S` seconds to end; one not sent yet ends.
        """
        task = asyncio.create_task(work)
        try:
            while (reason := await self._ends()) is None:
                await asyncio.wait([task], timeout=self._look_in())
                if task.done():
                    return task.result()
                await self.state.look()
        finally:
            task.cancel()
            await asyncio.wait([task])
        if reason != CANCELLED:
            self.state.meter.stop(reason)
            await self.state.share_limit()
        raise LimitReached(f"the request's limit {reason} is reached", reason)

    async def _ends(self) -> str | None:
        """Why what is under way has to end now, if it has to."""
        now, notes = datetime.now(UTC), self.state.notes
        if notes.deadline is not None and now >= notes.deadline:
            return "max_seconds"
        if notes.cancelled is not None and (now - notes.cancelled >= SETTLE or not await self.state.sent()):
            return CANCELLED
        return None

    def _look_in(self) -> float:
        deadline = self.state.notes.deadline
        left = LOOK_S if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
        return max(0.0, min(LOOK_S, left))

    async def _has_begun(self, found: RecordedRound, index: int) -> bool:
        """Whether the nested request run of a step has a plan: its steps have been run before the step is taken."""
        return await found.nested_rounds(index).recorded(0) is not None
