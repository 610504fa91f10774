"""State shared by all rounds and nested request runs of one request: its past, its limits, its calls and writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from models.conductor.run.meter import Meter
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.watching import Watch
from models.errors import (
    AllOpen,
    BudgetExceeded,
    FuguError,
    LimitReached,
    NotFound,
    TransientError,
    UpstreamRefused,
    another_may_answer,
)
from models.ledger.access.holding import Holding
from models.ledger.access.purses import unspent
from models.ledger.accounts import Allowance, are_sent, failed_tries
from models.ledger.journal import Change, Journal
from models.ledger.outage import when_back
from models.ledger.plans import StoredPlan
from models.ledger.requests import RunNotes, ended_by, get_request, note_limit, notes_in, run_notes
from models.ledger.workflows import Past, StepRow, ToolCall, past
from models.workers.ask import Ask, Message, Reply, Sampling
from models.workers.dispatch import Hear
from models.workers.usage import worst_usd

CANCELLED = "cancelled"
"""What ends a request that somebody has cancelled, beside its limits."""


class RunState:
    """`request` is the client's (a nested request run also has its own). `journal=None`: a replay.

    A replay sends and writes nothing, and raises NotFound for what the ledger lacks. `ended`: the ledger's record of
    where a limit ended the request. `notes`: what other processes that run it have told, where there are some.
    `asking`: the calls that it waits for. `over_budget`: in words, the budget of a key that a call did not fit.
    `holding`: what its key's budgets hold of what its plans may cost.
    """

    def __init__(self, parts: ConductParts, request: ConductRequest, journal: Journal | None) -> None:
        self.parts, self.request = parts, request
        self._journal = journal
        self._past = Past()
        self._known: dict[str, Reply] = {}
        self.meter = Meter(request.limits)
        self.finished: list[tuple[str, int]] = []
        self.ended: dict[str, Any] | None = None
        self.notes = RunNotes()
        self.asking: set[str] = set()
        self.over_budget: str | None = None
        # Where the cheapest worker is asked once a budget is full, that is found call by call.
        purse = None if request.cheapest or journal is None else request.purse
        self.holding = Holding(parts.ledger, request.root, purse, parts.retry.patience_s)
        self.watch = Watch()

    @classmethod
    async def joined(cls, parts: ConductParts, journal: Journal, id: str) -> RunState:
        """The state of a request that is run by several processes, as the ledger has it now. Raises NotFound."""
        return await asyncio.to_thread(cls._read, parts, journal, id)

    @classmethod
    def _read(cls, parts: ConductParts, journal: Journal, id: str) -> RunState:
        row = get_request(parts.ledger, id)
        state = cls(parts, ConductRequest.model_validate(row["request"]), journal)
        state._take(past(parts.ledger, state.request.root), row.get("ended"))
        state._heed(notes_in(row))
        return state

    async def look(self) -> None:
        """Read what other processes have told."""
        self._heed(await asyncio.to_thread(run_notes, self.parts.ledger, self.request.id))

    def _heed(self, notes: RunNotes) -> None:
        self.notes = notes
        if self.notes.limit is not None:
            self.meter.stop(self.notes.limit)

    async def sent(self) -> bool:
        """Whether one of the calls that it waits for has been sent, so that it may cost money."""
        return await asyncio.to_thread(are_sent, self.parts.ledger, self.asking.copy())

    async def share_limit(self) -> None:
        """Tell other processes which limit was reached, if one was."""
        if self.meter.ended is not None and self.notes.limit is None:
            await self.write(note_limit(self.request.id, self.meter.ended))

    @property
    def _cut(self) -> dict[str, Any] | None:
        """Where a limit ended the request, in a replay."""
        return self.ended if self.replaying else None

    @property
    def replaying(self) -> bool:
        return self._journal is None

    async def load(self) -> None:
        """Read the request's past from the ledger; that of a new request is empty."""
        ledger, request = self.parts.ledger, self.request
        found = await asyncio.to_thread(past, ledger, request.root)
        self._take(found, await asyncio.to_thread(ended_by, ledger, request.id))

    def _take(self, found: Past, ended: dict[str, Any] | None) -> None:
        self._past, self.ended = found, ended
        self._known = {id: Reply.model_validate({**call.reply, "call_id": id}) for id, call in found.calls.items()}
        self.meter = Meter(self.request.limits, found.usd, found.tries)
        if self._cut is not None:
            self.meter.stop(self._cut["limit"])

    def plan(self, workflow: str) -> StoredPlan | None:
        """A recorded plan, else None. A replay raises LimitReached if a limit was reached before there was a plan,
        else NotFound.
        """
        found = self._past.workflows.get(workflow)
        if found is None and self._cut is not None:
            raise LimitReached(f"the request's limit {self._cut['limit']} was reached", self._cut["limit"])
        if found is None and self.replaying:
            raise NotFound(f"the ledger has no plan of workflow {workflow}")
        return found

    def may_plan(self, workflow: str) -> bool:
        """Whether another round may begin, or, in a replay, whether it did."""
        if self.replaying:
            return workflow in self._past.workflows
        return self.meter.ended is None and self.notes.cancelled is None

    def stops(self, workflow: str, index: int) -> bool:
        """Whether a step may not be asked any more; a replay skips the steps that a limit stopped."""
        if self._cut is not None:
            return [workflow, index] not in self._cut["finished"]
        return self.meter.ended is not None or self.notes.cancelled is not None

    def step(self, workflow: str, index: int) -> StepRow | None:
        return self._past.steps.get((workflow, index))

    def reply(self, call_id: str) -> Reply:
        """A settled reply. Raises NotFound."""
        if call_id not in self._known:
            raise NotFound(f"the ledger has no reply of call {call_id}")
        return self._known[call_id]

    def asked(self, call_id: str) -> list[Message]:
        """The messages of the call."""
        return list(self._past.calls[call_id].payload["messages"]) if call_id in self._past.calls else []

    def results(self, ids: Sequence[str]) -> list[tuple[ToolCall, str]] | None:
        """The tool calls with their results, if this request knows all of them, else None.

        It knows calls handed out by the requests that it continues, so that a replay does not use later results.
        """
        found = [self._past.tools.get(id) for id in ids]
        known = [(call, call.result) for call in found if call is not None and call.request in self.request.chain]
        complete = [(call, result) for call, result in known if result is not None]
        return complete if len(complete) == len(ids) else None

    async def attempt(self, ask: Ask, hear: Hear | None = None) -> Reply:
        """The settled reply, or one try within the limits. Raises LimitReached and what the try raises.

        An exhausted budget of the whole process or of the key counts as `max_usd`, like the request's own cost limit.
        Raises BudgetExceeded instead where the key wants the cheapest worker to be asked then. `hear`: gets its words
        as they come, where somebody listens.
        """
        identity = ask.identity
        if identity in self._known:
            return self._known[identity]
        if self.replaying:
            raise NotFound(f"the ledger has no reply of worker {ask.worker!r} to call {identity} of {ask.scope}")
        if self.notes.cancelled is not None:
            raise LimitReached("the request was cancelled", CANCELLED)
        worst = worst_usd(self.parts.pool.worker(ask.worker), ask.messages, ask.sampling)
        await self.meter.enter(worst)
        self.asking.add(identity)
        cost: float | None = worst
        try:
            given = ask, self.parts.retry.patience_s, self._allowance, hear if self.watch.listens else None
            reply = await when_back(lambda: self.parts.dispatcher.attempt(*given))
            cost = reply.cost_usd
        except asyncio.CancelledError:
            raise
        except LimitReached as error:  # another process has used what was left; nothing was sent
            cost = None
            self.meter.stop(error.limit)
            raise
        except BudgetExceeded as error:  # of the whole process, or of the key that pays; nothing was sent
            cost = None
            if self.request.cheapest and self.cheapest(ask.messages, ask.sampling) != ask.worker:
                raise
            raise self.over(error) from error
        except Exception as error:
            cost = worst if getattr(error, "maybe_paid", False) else None
            raise
        finally:
            self.asking.discard(identity)
            self.meter.leave(worst, cost)
        self._known[identity] = reply
        return reply

    def over(self, error: BudgetExceeded) -> LimitReached:
        """No more calls are made, because a budget is full."""
        self.over_budget = None if self.request.purse is None else str(error)
        self.meter.stop("max_usd")
        return LimitReached(str(error), "max_usd")

    async def usd_left(self) -> float | None:
        """What a plan may cost, USD: what is left of the request's limit and, unless its steps may go to the cheapest
        worker, of the budgets of the key that pays; `None`: no limit. Calls of others may need some of that before."""
        left, purse = self.meter.usd_left, self.request.purse
        if purse is None or self.request.cheapest:
            return left
        of_the_key = await when_back(lambda: asyncio.to_thread(unspent, self.parts.ledger, purse))
        return of_the_key if left is None else min(left, of_the_key)

    async def askable(self, names: Sequence[str], patience_s: float | None = None) -> tuple[str, ...]:
        """Those of these workers whose breakers are not open; all of them where none is left or in a replay.

        `patience_s`: wait so long for the first one to close instead, and raise AllOpen then.
        """
        if self.replaying:
            return tuple(names)
        try:
            return await self.parts.dispatcher.askable(names, patience_s or 0.0)
        except AllOpen:
            if patience_s is not None:
                raise
            return tuple(names)

    def cheapest(self, messages: Sequence[Message], sampling: Sampling) -> str:
        """The worker whose worst case for these messages is the least."""
        pool = self.parts.pool
        return min(self.request.allowed, key=lambda name: worst_usd(pool.worker(name), messages, sampling))

    def takers(
        self,
        error: FuguError,
        request: ConductRequest,
        tried: Sequence[str],
        messages: Sequence[Message],
        sampling: Sampling,
    ) -> list[str]:
        """Who may take a step that failed with this error: the cheapest worker where one is too dear for the budget."""
        if isinstance(error, BudgetExceeded):
            return [name for name in (self.cheapest(messages, sampling),) if name not in tried]
        of_the_request = isinstance(error, UpstreamRefused) and not another_may_answer(error)
        if of_the_request or self.watch.told or not request.failover:
            return []
        return [name for name in request.allowed if name not in tried]

    @property
    def _allowance(self) -> Allowance | None:
        """What the ledger holds against every claim, whatever process makes it; the meter is this process's copy."""
        limits, purse = self.request.limits, self.request.purse
        if limits.max_usd is None and limits.max_calls is None and purse is None:
            return None
        return Allowance(self.request.root, limits.max_usd, limits.max_calls, purse, held=bool(self.holding))

    @property
    def most_failures(self) -> int:
        """Maximum transient failures that a caller of a step can see: for each worker, all but that of its last try."""
        return (self.parts.retry.tries - 1) * len(self.request.allowed)

    async def may_ask_again(self, call_id: str, error: TransientError) -> bool:
        """Whether the same worker gets another try: the ledger counts the failed ones, those of all processes, and the
        dispatcher keeps its budget of repeats.

        What failed on every worker and is resumed later gets as many tries again.
        """
        if self.watch.told:
            return False
        retry = self.parts.retry
        failed = await when_back(lambda: asyncio.to_thread(failed_tries, self.parts.ledger, call_id))
        another = retry.delay((failed - 1) % retry.tries + 1 if failed else 1, error) is not None
        return another and self.parts.dispatcher.may_repeat()

    async def write(self, change: Change[Any]) -> Any:
        """Write a change and wait until it is on disk."""
        return None if self._journal is None else await self._journal.put(change)

    def note(self, change: Change[Any]) -> None:
        """Write a change without waiting, for changes that no paid call depends on."""
        if self._journal is not None:
            self._journal.put(change)

    async def flush(self) -> None:
        if self._journal is not None:
            await self._journal.flush()
