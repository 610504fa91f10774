"""The rounds of a request run: their plans, recorded or newly written, and whether another round follows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from models.conductor.run.memory import NOTHING, Memory, recalled, remembered
from models.conductor.run.planner import Plan, Planner
from models.conductor.run.request import ConductAnswer, ConductRequest, StepRecord
from models.conductor.run.state import RunState
from models.errors import BudgetExceeded
from models.ledger.plans import StoredPlan
from models.ledger.requests import note_end
from models.ledger.workflows import hand_out, put_workflow
from models.workers.ask import Message, Sampling
from models.workers.retry import PATIENCE_OPEN_S


class Rounds:
    """`path`: the request's root, or for a nested request run the step that it answers, whose workflow's memory it has
    `inherited`."""

    def __init__(
        self, request: ConductRequest, state: RunState, path: str | None = None, inherited: Memory | None = None
    ) -> None:
        self.request, self.state = request, state
        self.path, self.inherited = path or request.root, inherited

    @property
    def outermost(self) -> bool:
        return self.inherited is None

    def id(self, number: int) -> str:
        """The id of the round's workflow."""
        return f"{self.path}/{number}"

    async def planned(self, number: int, previous: str | None) -> Plan:
        """The recorded plan, or one try to write it: it is on disk before any of its steps is paid for.

        What its steps may cost is held then. `previous`: the answer of the round before. Raises what `Planner.plan`
        raises, LimitReached where a budget has no room for all steps, and AllOpen before the first.
        """
        state, workflow = self.state, self.id(number)
        itself = self.request.recursive and number < self.request.limits.depth
        found = await self.recorded(number)
        if found is not None:
            await self._hold(Planner(state, self.request, workflow, previous, found.memory, itself, ()), found)
            return found
        memory = await self._memory(workflow, number)
        first = self.outermost and number == 0
        askable = await state.askable(self.request.allowed, PATIENCE_OPEN_S if first else None)
        planner = Planner(state, self.request, workflow, previous, memory, itself, askable)
        plan = await planner.plan()
        change = put_workflow(state.parts.ledger, workflow, state.request.root, self._key, plan.stored)
        stored = await state.write(change)
        plan = plan if stored == plan.stored else await self._recalled(stored)
        await self._hold(planner, plan)
        return plan

    async def _hold(self, planner: Planner, plan: Plan) -> None:
        """Hold what is still to be paid for the plan; that of a round before is over, that of a nested one is not."""
        state = self.state
        try:
            if state.holding:
                await state.holding.take(planner.may_cost(plan), more=not self.outermost)
        except BudgetExceeded as error:
            raise state.over(error) from error

    async def recorded(self, number: int) -> Plan | None:
        """The plan in the ledger. A replay raises LimitReached or NotFound where there is none."""
        known = self.state.plan(self.id(number))
        return None if known is None else await self._recalled(known)

    def may_begin(self, number: int) -> bool:
        """Whether the round may still be planned and asked for."""
        return self.state.may_plan(self.id(number))

    def another(self, number: int, last: StepRecord) -> bool:
        """Whether a round of that number follows, after one whose last step is `last`."""
        may_go_on = self.request.recursive and number <= self.request.limits.depth
        return last.state == "done" and may_go_on and self.may_begin(number)

    async def note_end(self) -> None:
        """Record which limit ended the request, and where, before it is reported: a replay ends there, too."""
        limit, value, state = self.state.meter.ended, None, self.state
        if limit is not None:
            value = {"limit": limit, "finished": [list(step) for step in state.finished]}
        # An earlier try of the request may have been ended by another limit, or by none.
        if value != state.ended:
            await state.write(note_end(self.request.id, value))

    async def hand_out(self, answer: ConductAnswer) -> None:
        """Record what a continuation needs, before the answer is returned."""
        if answer.tool_calls:
            ids = [call["id"] for call in answer.tool_calls]
            await self.state.write(hand_out(ids, self.request.id))

    def nested(self, number: int, index: int, plan: Plan, sampling: Sampling, seen: Sequence[Message]) -> Rounds:
        """The rounds of a step that the conductor itself takes: a request on what the step sees, one level deeper."""
        limits = self.request.limits
        deeper = limits.model_copy(update={"depth": limits.depth - number - 1})
        messages = tuple(dict(message) for message in seen)
        inner = self.request.model_copy(update={"messages": messages, "limits": deeper, "sampling": sampling})
        return Rounds(inner, self.state, f"{self.id(number)}/s{index}", plan.memory)

    async def _recalled(self, stored: StoredPlan) -> Plan:
        """A stored plan, with its memory."""
        kept = stored.memory
        memory = await asyncio.to_thread(recalled, self.state.parts.ledger, kept) if kept else NOTHING
        return Plan(stored, memory)

    @property
    def _key(self) -> str:
        """The conversation's key; a nested request run has a separate one, so that no other run sees its steps."""
        return self.request.key if self.outermost else self.path

    async def _memory(self, workflow: str, number: int) -> Memory:
        if number == 0 and (not self.outermost or self.request.conversation is None):
            return self.inherited or NOTHING
        await self.state.flush()  # the memory includes the round before
        ledger, request = self.state.parts.ledger, self.request
        path = None if self.outermost else self.path
        given = request.key, workflow, request.allowed, request.messages, path
        return (self.inherited or NOTHING) + await asyncio.to_thread(remembered, ledger, *given)
