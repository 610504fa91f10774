"""One try of one step of a workflow, from what the ledger has: both runners, the endpoint's and Prefect's, take it.

`StepRun` is the step: its context, its turns, and the change to another worker when one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from models.conductor.plan.context import Done, messages_for, sampling_for, shortened, shown_bytes
from models.conductor.run.planner import CONDUCTOR, Plan, place_of
from models.conductor.run.request import ConductAnswer, ConductRequest, Nest, StepRecord
from models.conductor.run.state import RunState
from models.conductor.run.sums import sums_of
from models.conductor.run.toolcalls import handed_out, tools_of, turn_of
from models.digest import json_digest
from models.errors import (
    BadInput,
    BudgetExceeded,
    FuguError,
    LedgerAway,
    LimitReached,
    MaybePaid,
    NotFound,
    PermanentError,
    TransientError,
    Unfit,
    WorkflowFailed,
)
from models.ledger.workflows import StepRow, ToolCall, put_step, put_tool_calls
from models.workers.ask import Ask, Message, Reply, Sampling
from models.workers.fitting.formats import repair, settled


async def try_step(run: StepRun, seen: Sequence[StepRecord], begun: bool = False) -> StepRecord:
    """Read the turns that the step has had, ask once, and write the turn, the next worker, or the end.

    `seen`: the steps that it sees. `begun`: a limit does not keep it from its end any more. If `run.ended` is not set
    then, the step was given to another worker, whose try is next.

    Raises the TransientError after which the same worker may be tried again (the call's row has the earliest time),
    WorkflowFailed where no worker is left, Unfit for a reply that keeps no format, BadInput, MaybePaid and LedgerAway.
    """
    states = {record.state for record in seen}
    if (run.stopped and not begun) or "passed over" in states:
        return run.end(state="passed over")
    if states - {"done"}:
        return run.end(state="waiting")
    try:
        return await run.walk(seen)
    except LimitReached:
        return run.end(state="passed over")
    except (BadInput, MaybePaid, LedgerAway, Unfit):
        raise  # another worker would not help
    except (TransientError, PermanentError) as error:
        if isinstance(error, TransientError) and await run.may_ask_again(error):
            raise
        await run.give_to_another(error)
        return run.record


class StepRun:
    """A running step. `record`: its current state; `ended`: whether this request is done with it."""

    def __init__(
        self, state: RunState, request: ConductRequest, plan: Plan, workflow: str, index: int, nest: Nest
    ) -> None:
        self._state, self._request, self._plan, self._steps, self._nest = state, request, plan, plan.workflow, nest
        self.nested: ConductAnswer | None = None
        self._replies: list[Reply] = []
        self._answer: Reply | None = None  # in the format that is asked for
        self._asked: str | None = None
        self._reading = self.ended = False
        step, row, sees = self._steps.steps[index], state.step(workflow, index), self._steps.sees(index)
        self._turns = [dict(turn) for turn in row.turns] if row is not None else []
        self.record = StepRecord(workflow, index, step.subtask, plan.workers[index], sees, written=plan.numbers[index])
        # A failed step that is resumed may use every worker again.
        if row is not None and (row.state != "failed" or state.replaying):
            self.record = replace(self.record, worker=row.worker, tried=row.tried, error=row.error)

    @property
    def replies(self) -> list[tuple[Reply, str]]:
        """Each turn's reply, and the request that made it."""
        return [(reply, turn["request"]) for reply, turn in zip(self._replies, self._turns, strict=False)]

    @property
    def stopped(self) -> bool:
        """Whether a limit has ended the request, or somebody has cancelled it."""
        return self._state.stops(self.record.workflow, self.record.index)

    @property
    def sampling(self) -> Sampling:
        wanted, index = self._request.sampling, self.record.index
        if self._plan.stored.fallback is not None:
            return wanted
        place = place_of(self._state.request, self.record.workflow, self._plan.numbers[index])
        return sampling_for(wanted, self._steps, index, place)

    def meaning(self, seen: Sequence[StepRecord]) -> str:
        """sha256 (hex) of all that its replies depend on: its first ask, and the tool results since then."""
        messages = self.messages(seen)
        results = [self._state.results(turn["tools"]) for turn in self._turns if turn["tools"]]
        tools = [[call.id for call, _ in result] for result in results if result is not None]
        if self.record.worker == CONDUCTOR:
            first: dict[str, Any] = {"scope": self.record.workflow, "step": self.record.index, "messages": messages}
        else:
            first = self._ask(messages).payload()
        return json_digest([first, tools])

    async def read(self, seen: Sequence[StepRecord]) -> StepRecord:
        """The step's record, made of what the ledger has: nothing is asked."""
        row = self._state.step(self.record.workflow, self.record.index)
        if row is not None and row.state == "failed":
            self.record = replace(self.record, state="failed", worker=row.worker, tried=row.tried, error=row.error)
        elif row is None or row.state == "running" or any(record.state != "done" for record in seen):
            self._pass()
        else:
            self._reading = True
            try:
                await self.walk(seen)
            except NotFound:  # a turn that was not asked: its tool results came with a later request
                self._pass()
        return self.record

    def _pass(self) -> None:
        self.record = replace(self.record, state="passed over" if self.stopped else "waiting")

    async def walk(self, seen: Sequence[StepRecord]) -> StepRecord:
        """Run the step's turns in order: settled ones are read, the first one that is not is asked, once."""
        turns: list[Message] = []
        self._replies, misfit, given = [], None, (self.record.worker, self.record.tried)
        for number in count():
            had = [(turn["worker"], tuple(turn["tried"])) for turn in self._turns[number : number + 1]]
            # A new turn is of who had the last one, unless the step was given on since then.
            last = max((self.record.worker, self.record.tried), given, key=lambda seat: len(seat[1]))
            worker, tried = (had or [last])[0]
            self.record = replace(self.record, worker=worker, tried=tried)
            messages = self.messages(seen, turns)
            self.record = replace(self.record, state="running", messages=tuple(messages))
            if self.record.worker == CONDUCTOR:
                return await self._run_nested(messages)
            try:
                reply = await self._reply(number, messages)
            except (BudgetExceeded, LimitReached) as limit:  # of a repair: there is an answer, and it does not fit
                raise misfit or limit from None
            self._replies.append(reply)
            if not self._calls_tools(number, reply):
                try:
                    self._answer = settled(reply, self.sampling)
                    return self.end(state="done")
                except Unfit as wrong:
                    if misfit is not None:
                        raise
                    misfit = wrong
                    turns += repair(reply, wrong)
                    continue
            tools = await self._keep_tools(number, reply)
            results = self._state.results([tool.id for tool in tools])
            if results is None:
                return self.end(state="awaiting-tools", tool_calls=tuple(handed_out(tool) for tool in tools))
            turns += turn_of(reply, [result for _, result in results])
        raise AssertionError("unreachable: `count` never ends")

    async def may_ask_again(self, error: TransientError) -> bool:
        """Whether the same worker gets another try."""
        return self._asked is not None and await self._state.may_ask_again(self._asked, error)

    async def give_to_another(self, error: FuguError) -> None:
        """Give the step to the next best worker, on disk before it is asked. Raises WorkflowFailed if none is left."""
        failed = self.record.worker
        tried = self.record.tried if failed in self.record.tried else (*self.record.tried, failed)
        left = self._state.takers(error, self._request, tried, self.record.messages, self.sampling)
        if self._state.replaying or not left:
            reason = (self.record.error or str(error)) if self._state.replaying else str(error)
            self.record = replace(self.record, state="failed", tried=tried, error=reason)
            await self._state.write(self._row())
            raise self.failure from error
        best, *_ = await self._state.parts.rank(self.record.messages, await self._state.askable(left))
        self.record = replace(self.record, worker=best, tried=tried, error=str(error))
        await self._state.write(self._row())

    @property
    def failure(self) -> WorkflowFailed:
        record = self.record
        message = f"{self._name} failed on {', '.join(record.tried)}: {record.error}"
        return WorkflowFailed(message, record.workflow, record.number - 1)

    def end(self, **changes: Any) -> StepRecord:
        """Set the step's final state in this request."""
        self.record = replace(self.record, **changes, **sums_of(self._replies, self._answer, self.nested))
        self.ended = True
        if self.record.state in ("done", "awaiting-tools"):
            self._note()
            self._state.watch.ended(self.record)
        if self.record.state == "done":
            self._state.finished.append((self.record.workflow, self.record.index))
        return self.record

    def messages(self, seen: Sequence[StepRecord], turns: Sequence[Message] = ()) -> list[dict[str, Any]]:
        if self._plan.stored.fallback is not None:  # what the router would send: the conversation unchanged
            return [dict(message) for message in (*self._request.messages, *self._plan.memory.tools, *turns)]
        return messages_for(
            self._request.messages,
            self._steps,
            self.record.index,
            self._done(seen),
            own=self._plan.memory.own.get(self.record.worker, ()),
            memory=self._plan.memory.tools,
            turns=turns,
            previous=self._plan.stored.previous,
            numbers=self._plan.numbers,
        )

    def _done(self, seen: Sequence[StepRecord]) -> dict[int, Done]:
        """The steps that it sees; under a cost limit their replies are cut to the length the plan was priced with."""
        return {record.index: Done(record.index, record.subtask, self._shown(record)) for record in seen}

    def _shown(self, record: StepRecord) -> str:
        text = record.text or ""
        if self._request.limits.max_usd is None:
            return text
        worker = None if (planned := self._plan.workers[record.index]) == CONDUCTOR else planned
        return shortened(text, shown_bytes(self._state.parts.pool, self._request.allowed, worker))

    async def _reply(self, number: int, messages: list[dict[str, Any]]) -> Reply:
        """The turn's reply: the recorded one, or the worker's."""
        if number < len(self._turns):
            turn = self._turns[number]
            if self._state.replaying and self._state.asked(turn["call"]) != messages:
                raise PermanentError(f"{self._name} has another context than in the recorded call")
            return self._state.reply(turn["call"])
        if self._reading:
            raise NotFound(f"{self._name} has no turn {number + 1}")
        ask = self._ask(messages)
        self._asked = ask.identity
        self._state.watch.began(self.record, self._answers)
        reply = await self._state.attempt(ask, partial(self._state.watch.said, self.record))
        turn = {"call": reply.call_id, "worker": self.record.worker, "tried": list(self.record.tried), "tools": []}
        self._turns.append(turn | {"request": self._state.request.id})
        return reply

    def _ask(self, messages: Sequence[Message]) -> Ask:
        return Ask(
            scope=self.record.workflow,
            worker=self.record.worker,
            revision=self._state.parts.pool.worker(self.record.worker).revision,
            messages=tuple(dict(message) for message in messages),
            sampling=self.sampling,
            replicate=self.record.index,
        )

    @property
    def _answers(self) -> bool:
        """Whether its reply is surely the answer: the last step of the last round, with no tools and no form."""
        path, _, number = self.record.workflow.rpartition("/")
        wanted, request = self._request.sampling, self._request
        whole = path == self._state.request.root and self.record.index == len(self._steps.steps) - 1
        another = request.recursive and int(number) < request.limits.depth
        return whole and not another and wanted.tools is None and wanted.response_format is None

    def _calls_tools(self, number: int, reply: Reply) -> bool:
        """Whether the client has to run tools. A turn recorded as such stays so, whatever fields are sent later."""
        return bool(reply.tool_calls) and bool(self._turns[number]["tools"] or self._request.sampling.tools)

    async def _keep_tools(self, number: int, reply: Reply) -> list[ToolCall]:
        """The tool calls of a reply, under ids that identify this step; on disk before the client gets them."""
        tools = tools_of(reply, self.record, self._plan.stored.salt, self._request.key)
        if not self._turns[number]["tools"]:
            self._turns[number]["tools"] = [tool.id for tool in tools]
            parts = self._state.parts
            await self._state.write(put_tool_calls(parts.ledger, tools, parts.tools_s))
        return tools

    async def _run_nested(self, messages: Sequence[Message]) -> StepRecord:
        """Run a step that the conductor itself takes."""
        self.nested = answer = await self._nest(self.record.index, messages)
        state = "awaiting-tools" if answer.tool_calls else "done"
        return self.end(state=state, tool_calls=answer.tool_calls)

    def _note(self) -> None:
        """Write the row, unless the ledger has it."""
        if self._stored != self._state.step(self.record.workflow, self.record.index):
            self._state.note(self._row())

    @property
    def _stored(self) -> StepRow:
        record, turns = self.record, tuple(dict(turn) for turn in self._turns)
        return StepRow(record.state, record.worker, record.tried, turns, record.error)

    def _row(self) -> Any:
        return put_step(self._state.parts.ledger, self.record.workflow, self.record.index, self._stored)

    @property
    def _name(self) -> str:
        shown = subtask if len(subtask := self.record.subtask) <= 80 else subtask[:79] + "…"
        return f"step {self.record.number} ({shown!r}) of workflow {self.record.workflow}"
