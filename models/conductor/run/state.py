"""What all rounds and nested conductings of one request share: its past, its limits, how it asks and writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from models.conductor.run.meter import Meter
from models.conductor.run.request import ConductParts, ConductRequest
from models.errors import BudgetExceeded, LimitReached, NotFound, TransientError
from models.ledger.journal import Change, Journal
from models.ledger.outage import when_back
from models.ledger.plans import StoredPlan
from models.ledger.requests import ended_by
from models.ledger.workflows import Past, StepRow, ToolCall, past
from models.workers.ask import Ask, Message, Reply
from models.workers.usage import worst_usd


class RunState:
    """`request` is the client's own (a nested request_run has another one beside it). `journal=None`: a replay.

    In a replay nothing is sent or written: what the ledger lacks is NotFound. `ended`: where a limit ended the request,
    as the ledger has it.
    """

    def __init__(self, parts: ConductParts, request: ConductRequest, journal: Journal | None) -> None:
        self.parts, self.request = parts, request
        self._journal = journal
        self._past = Past()
        self._known: dict[str, Reply] = {}
        self.meter = Meter(request.limits)
        self.finished: list[tuple[str, int]] = []
        self.ended: dict[str, Any] | None = None

    @property
    def _cut(self) -> dict[str, Any] | None:
        """Where a limit ended what is replayed."""
        return self.ended if self.replaying else None

    @property
    def replaying(self) -> bool:
        return self._journal is None

    async def load(self) -> None:
        """Read what the ledger holds of the request; a new one's past is empty."""
        self._past = found = await asyncio.to_thread(past, self.parts.ledger, self.request.root)
        self._known = {id: Reply.model_validate({**call.reply, "call_id": id}) for id, call in found.calls.items()}
        self.meter = Meter(self.request.limits, found.usd, found.tries)
        self.ended = await asyncio.to_thread(ended_by, self.parts.ledger, self.request.id)
        if self._cut is not None:
            self.meter.stop(self._cut["limit"])

    def plan(self, workflow: str) -> StoredPlan | None:
        """A recorded plan. In a replay, which cannot write one, raises LimitReached where a limit was met before it was
        there, else NotFound.
        """
        found = self._past.workflows.get(workflow)
        if found is None and self._cut is not None:
            raise LimitReached(f"the request's limit {self._cut['limit']} was reached", self._cut["limit"])
        if found is None and self.replaying:
            raise NotFound(f"the ledger has no plan of workflow {workflow}")
        return found

    def may_plan(self, workflow: str) -> bool:
        """Whether another round may begin, or, in a replay, whether it did."""
        return workflow in self._past.workflows if self.replaying else self.meter.ended is None

    def stops(self, workflow: str, index: int) -> bool:
        """Whether a step may not be asked any more; a replay passes over what a limit had cut off."""
        if self._cut is not None:
            return [workflow, index] not in self._cut["finished"]
        return self.meter.ended is not None

    def step(self, workflow: str, index: int) -> StepRow | None:
        return self._past.steps.get((workflow, index))

    def reply(self, call_id: str) -> Reply:
        """A settled reply. Raises NotFound."""
        if call_id not in self._known:
            raise NotFound(f"the ledger has no reply of call {call_id}")
        return self._known[call_id]

    def asked(self, call_id: str) -> list[Message]:
        """The messages that the call was asked with."""
        return list(self._past.calls[call_id].payload["messages"]) if call_id in self._past.calls else []

    def results(self, ids: Sequence[str]) -> list[tuple[ToolCall, str]] | None:
        """The tool calls and what the client's tools gave, where this request knows all of it.

        It knows what was handed out by those that it continues: a replay of an earlier one does not know later ones.
        """
        found = [self._past.tools.get(id) for id in ids]
        known = [(call, call.result) for call in found if call is not None and call.request in self.request.chain]
        complete = [(call, result) for call, result in known if result is not None]
        return complete if len(complete) == len(ids) else None

    async def attempt(self, ask: Ask) -> Reply:
        """The settled reply, or one try within the limits. Raises LimitReached and what the try raises.

        A budget of many requests that has no room for it is a limit of money like the request's own.
        """
        identity = ask.identity
        if identity in self._known:
            return self._known[identity]
        if self.replaying:
            raise NotFound(f"the ledger has no reply of worker {ask.worker!r} to call {identity} of {ask.scope}")
        worst = worst_usd(self.parts.pool.worker(ask.worker), ask.messages, ask.sampling)
        await self.meter.enter(worst)
        cost = worst
        try:
            reply = await when_back(lambda: self.parts.dispatcher.attempt(ask, self.parts.retry.patience_s))
            cost = reply.cost_usd
        except asyncio.CancelledError:
            raise
        except BudgetExceeded as error:  # of all that this process may spend: nothing was sent
            cost = 0.0
            self.meter.stop("max_usd")
            raise LimitReached(str(error), "max_usd") from error
        except Exception as error:
            cost = worst if getattr(error, "maybe_paid", False) else 0.0
            raise
        finally:
            self.meter.leave(worst, cost)
        self._known[identity] = reply
        return reply

    async def insist(self, ask: Ask) -> Reply:
        """`attempt`, tried again as the retry policy says."""
        failed = 0
        while True:
            try:
                return await self.attempt(ask)
            except TransientError as error:
                failed += 1
                if self.parts.retry.delay(failed, error) is None:
                    raise

    async def write(self, change: Change[Any]) -> Any:
        """Wait until the change is on disk."""
        return None if self._journal is None else await self._journal.put(change)

    def note(self, change: Change[Any]) -> None:
        """Write it without waiting: nothing that is paid depends on it."""
        if self._journal is not None:
            self._journal.put(change)

    async def flush(self) -> None:
        if self._journal is not None:
            await self._journal.flush()
