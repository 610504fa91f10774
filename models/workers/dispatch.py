"""The dispatcher: claims, sends and settles calls, with single flight, retries, and replay of settled replies."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from models.errors import ClaimHeld, FuguError, LedgerAway, TransientError
from models.ledger.accounts import Allowance
from models.ledger.calls import Claim
from models.ledger.providers.breakers import OpenBreaker
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply
from models.workers.breakers import BreakerPolicy, Breakers
from models.workers.claims import Claims, Lane, until
from models.workers.client import Chunk, Client
from models.workers.pace import unused_s
from models.workers.pool import Pool, Worker
from models.workers.retry import RetryBudget, RetryPolicy
from models.workers.settlement import ended, failure_of, replayed, reply_or_error, settlement_of, stored

Hear = Callable[[str], None]
"""Gets the text of a reply, piece by piece as it comes."""


@dataclass(frozen=True)
class _Way:
    """How a call is made. `once`: a single try."""

    once: bool = False
    allowance: Allowance | None = None
    hear: Hear | None = None


class Sender(Protocol):
    """The interface through which the dispatcher sends: `Client`, or a test double."""

    async def complete(self, ask: Ask) -> Reply: ...

    def stream(self, ask: Ask) -> AsyncGenerator[Chunk]: ...


@dataclass
class _Flight:
    task: asyncio.Task[Reply]
    joined: int = 0


class Dispatcher:
    """Asks the pool's workers, through the ledger. Belongs to one event loop; several may share a ledger.

    `budget`: the budget in which every call's worst case is reserved. `resend=False`: a call that died in flight raises
    MaybePaid instead of being sent again. `owner`: the name under which calls are claimed (default: a new one).
    """

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        client: Sender | None = None,
        *,
        budget: str | None = None,
        owner: str | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        resend: bool = True,
        lease_s: float = 120.0,
        breakers: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - a frozen value
    ) -> None:
        self._pool = pool
        self.breakers = Breakers(ledger, breakers, retry.open_s)
        self._own = Client(pool, self.breakers)
        self._client: Sender = self._own if client is None else client
        self.retry, self._budget = retry, RetryBudget(retry)
        self.owner = owner or uuid.uuid4().hex
        self.claims = Claims(ledger, self.breakers, retry, self.owner, budget=budget, resend=resend, lease_s=lease_s)
        self._commit = self.claims.commit
        self._flights: dict[str, _Flight] = {}
        self._lanes = {worker.name: Lane(worker) for worker in (*pool.workers, *pool.conductors)}

    async def ask(self, ask: Ask, allowance: Allowance | None = None) -> Reply:
        """The settled reply if there is one, else the worker's.

        Asks of the same identity share one call. When the last one that waits for it is cancelled, the call is
        cancelled upstream and its row is marked "maybe paid". During an outage of the ledger a reply that has arrived
        is still returned; the ledger gets it later. Raises the last try's error, NotFound for an unknown worker,
        BudgetExceeded, LimitReached where it does not fit its request's `allowance`, MaybePaid, ClaimHeld, RateLimited
        where the next try may not start within the policy's patience, and LedgerAway where nothing was sent.
        """
        return await self._join(ask, ask.identity, self.retry.patience_s, _Way(allowance=allowance))

    async def attempt(
        self,
        ask: Ask,
        patience_s: float | None = None,
        allowance: Allowance | None = None,
        hear: Hear | None = None,
    ) -> Reply:
        """As `ask`, but a single try: a transient failure is raised to all callers that share it.

        The call's row holds the earliest time of the next try. Callers in all processes wait for it and share that one
        try, if it is within `patience_s` (default: the policy's). The callers limit the number of tries. Raises
        LimitReached where the call does not fit its request's `allowance`. The first caller's `hear` gets the text.
        """
        patience_s = self.retry.patience_s if patience_s is None else patience_s
        return await self._join(ask, ask.identity, patience_s, _Way(True, allowance, hear))

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply | FuguError]:
        """A reply or an error for each ask, in order; their claims and settlements share transactions."""
        results = await asyncio.gather(*(self.ask(ask) for ask in asks), return_exceptions=True)
        return [reply_or_error(result) for result in results]

    async def stream(self, ask: Ask, allowance: Allowance | None = None) -> AsyncGenerator[Chunk]:
        """The reply as it arrives; the last chunk holds it whole. The text of a settled reply comes in one chunk.

        A consumer that stops early cancels the upstream call, whose row is then marked "maybe paid". Transient errors
        are retried until the first chunk of the answer has been yielded; its reasoning may then come twice.
        """
        worker, identity = self._pool.worker(ask.worker), ask.identity
        first, lane = 0, self._lanes[worker.name]
        while True:
            claim = await self.claims.claim(worker, ask, identity, lane, self.retry.patience_s, allowance)
            if claim.state == "settled":
                for chunk in replayed(stored(claim)):
                    yield chunk
                return
            first = first or claim.attempt
            self._budget.called(claim.attempt)
            begun = False
            try:
                async with aclosing(self._send_stream(worker, ask, claim, first)) as chunks:
                    async for chunk in chunks:
                        begun |= chunk.answers
                        yield chunk
                return
            except TransientError as error:
                if begun or not self._may_retry(claim, first, error):
                    raise

    def may_repeat(self) -> bool:
        """Whether one more repeat on the same worker is within this process's budget of repeats; it is counted."""
        return self._budget.take()

    def watched(self, by: Callable[[Sender], Sender]) -> None:
        """Put something around what sends, as what counts the calls. To be called before the first ask."""
        self._client = by(self._client)

    def recover(self) -> None:
        """Start to settle the replies that a dead process left in the home; the first ask does so, too."""
        self._commit.recover()

    @property
    def waiting(self) -> int:
        """How many writes of calls wait for the database."""
        return self._commit.waiting

    async def open_workers(self) -> dict[str, OpenBreaker]:
        """The workers that are not to be asked now, since they keep failing."""
        return await self.breakers.open_of(self._pool.workers)

    def together(self, asks: Sequence[Ask], allowance: Allowance | None) -> AbstractAsyncContextManager[None]:
        """`Claims.together`."""
        return self.claims.together([(self._pool.worker(ask.worker), ask) for ask in asks], allowance)

    async def askable(self, names: Sequence[str], patience_s: float = 0.0) -> tuple[str, ...]:
        """`Breakers.askable` of the workers of these names."""
        return await self.breakers.askable([self._pool.worker(name) for name in names], patience_s)

    async def close(self) -> None:
        """Cancel the calls in flight, and write what waits for the ledger."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.breakers.close()
        await self._commit.close()
        await self._own.close()

    async def _join(self, ask: Ask, identity: str, patience_s: float, way: _Way = _Way()) -> Reply:
        flight = self._flights.get(identity)
        if flight is None:
            running = asyncio.create_task(self._run(ask, identity, patience_s, way))
            flight = self._flights[identity] = _Flight(running)
            flight.task.add_done_callback(lambda task: self._land(identity, task))
        flight.joined += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.joined == 1 and not flight.task.done():
                flight.task.cancel()
                await asyncio.wait([flight.task])  # the row is marked before the caller goes on
            raise
        finally:
            flight.joined -= 1

    def _land(self, identity: str, task: asyncio.Task[Reply]) -> None:
        self._flights.pop(identity, None)
        _ = task.cancelled() or task.exception()  # marks it as retrieved: the callers have received it

    async def _run(self, ask: Ask, identity: str, patience_s: float, way: _Way) -> Reply:
        worker = self._pool.worker(ask.worker)
        first, lane = 0, self._lanes[worker.name]
        async with lane.claims:
            while True:
                claim = await self.claims.claim(worker, ask, identity, lane, patience_s, way.allowance)
                if claim.state == "settled":
                    return stored(claim)
                first = first or claim.attempt
                self._budget.called(claim.attempt)
                try:
                    return await self._send(worker, ask, claim, first, way)
                except TransientError as error:
                    if way.once or not self._may_retry(claim, first, error):
                        raise

    async def _send(self, worker: Worker, ask: Ask, claim: Claim, first: int, way: _Way) -> Reply:
        sent = False
        try:
            async with self._slot(worker, claim):
                sent = True
                reply = await (self._client.complete(ask) if way.hear is None else self._heard(worker, ask, way.hear))
        except LedgerAway:
            raise
        except BaseException as error:
            await self._failed(claim, first, error, sent, way.once)
            raise
        reply = reply.model_copy(update={"call_id": claim.call_id})
        self._give_back(worker, ask, claim, reply)
        if await self._settled(claim, reply) is False:
            raise ClaimHeld(f"call {claim.call_id} was taken over: its lease expired before the reply came")
        return reply

    async def _heard(self, worker: Worker, ask: Ask, hear: Hear) -> Reply:
        reply: Reply | None = None
        async with aclosing(self._client.stream(ask)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    hear(chunk.text)
                reply = chunk.reply or reply
        return ended(reply, worker)

    async def _send_stream(self, worker: Worker, ask: Ask, claim: Claim, first: int) -> AsyncGenerator[Chunk]:
        sent = False
        last: Chunk | None = None
        try:
            async with self._slot(worker, claim), aclosing(self._client.stream(ask)) as chunks:
                sent = True
                async for chunk in chunks:
                    if chunk.reply is None:
                        yield chunk
                    else:
                        last = chunk
            whole = ended(None if last is None else last.reply, worker)
        except LedgerAway:
            raise
        except BaseException as error:
            await self._failed(claim, first, error, sent)
            raise
        reply = whole.model_copy(update={"call_id": claim.call_id})
        self._give_back(worker, ask, claim, reply)
        await self._settled(claim, reply)  # yielded even if fenced off: the consumer has received this text
        assert last is not None
        yield replace(last, reply=reply)

    @asynccontextmanager
    async def _slot(self, worker: Worker, claim: Claim) -> AsyncIterator[None]:
        """The call's turn, and a slot, in which it may be sent.

        That it is sent is on disk by then; without this a crash would not leave it as maybe paid.
        """
        slots = self._lanes[worker.name].slots
        if not claim.sent:  # else it has a slot
            await until(claim.start_at)
            await slots.acquire()
        try:
            if not (claim.sent or await self._commit.send(claim.call_id, claim.attempt)):
                raise ClaimHeld(f"call {claim.call_id} was taken over: its lease expired before it was sent")
            yield
        finally:
            slots.release()

    async def _settled(self, claim: Claim, reply: Reply) -> bool | None:
        return await self._commit.settle(settlement_of(claim, self.owner, reply))

    async def _failed(self, claim: Claim, first: int, error: BaseException, sent: bool, once: bool = False) -> None:
        tries = claim.attempt if once else claim.attempt - first + 1
        await self._commit.fail(failure_of(claim, error, sent, self.retry, tries, once))

    def _give_back(self, worker: Worker, ask: Ask, claim: Claim, reply: Reply) -> None:
        """Return what the call took of the worker's tokens per minute and did not use."""
        if claim.start_at is not None and (unused := unused_s(worker, ask, reply)) > 0:
            self._commit.give_back(worker.name, unused)

    def _may_retry(self, claim: Claim, first: int, error: TransientError) -> bool:
        return self.retry.delay(claim.attempt - first + 1, error) is not None and self.may_repeat()
