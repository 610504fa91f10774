"""Group commit: the ledger's writes of many concurrent asks in few transactions, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from models.errors import BudgetExceeded
from models.ledger.calls import CallSpec, Claim, Settlement, claim, fail, renew, settle
from models.ledger.store import Ledger

BATCH = 500  # writes per transaction, so that other processes get their turn

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A try that came to nothing."""

    call_id: str
    attempt: int
    error: str
    transient: bool = False
    retry_at: datetime | None = None
    maybe_paid: bool = False


class GroupCommit:
    """Whatever has been asked for while one transaction ran goes into the next. One event loop, one thread.

    Leases of claims that are neither settled nor failed are renewed until they are. `freed` is called whenever
    one is closed: what it had reserved may be free.
    """

    def __init__(
        self,
        ledger: Ledger,
        owner: str,
        *,
        lease_s: float,
        resend: bool,
        budget: str | None,
        freed: Callable[[], None],
    ) -> None:
        self._ledger, self._owner, self._freed = ledger, owner, freed
        self._lease_s, self._resend, self._budget = lease_s, resend, budget
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._pump: asyncio.Task[None] | None = None
        self._alive: set[str] = set()
        self._renewal: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> int:
        """How many claims are mine and open."""
        return len(self._alive)

    async def claim(self, spec: CallSpec) -> Claim:
        """`ledger.calls.claim` of one call. Raises BudgetExceeded."""
        return await self._put(spec)

    async def settle(self, settlement: Settlement) -> bool:
        return await self._put(settlement)

    async def fail(self, failure: Failure) -> bool:
        """Recorded even if the caller is cancelled while it waits."""
        return await self._put(failure)

    async def close(self) -> None:
        """Write what is waiting, and stop."""
        while self._pump is not None:
            await asyncio.shield(self._pump)
        if self._renewal is not None:
            self._renewal.cancel()
        self._thread.shutdown()

    def _put(self, item: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    results = await loop.run_in_executor(self._thread, self._write, [item for item, _ in batch])
                except Exception as error:
                    results = [error] * len(batch)
                for (item, future), result in zip(batch, results, strict=True):
                    self._deliver(item, future, result)
        finally:
            self._pump = None

    def _deliver(self, item: Any, future: asyncio.Future[Any], result: Any) -> None:
        mine = isinstance(result, Claim) and result.state == "mine"
        if mine:
            self._alive.add(result.call_id)
            self._renew_later()
        elif isinstance(item, Settlement | Failure):
            self._alive.discard(item.call_id)
            self._freed()
        if future.done():  # cancelled; a claim that nobody will send is given back
            if mine:
                self._put(Failure(result.call_id, result.attempt, "cancelled before it was sent"))
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _write(self, items: Sequence[Any]) -> list[Any]:
        """In the thread: settlements first, since they free what claims want to reserve."""
        results: dict[int, Any] = {}
        results |= _each(items, Settlement, lambda some: settle(self._ledger, some))
        results |= _each(items, Failure, lambda some: [self._fail(failure) for failure in some])
        results |= _each(items, CallSpec, self._claim)
        return [results[index] for index in range(len(items))]

    def _fail(self, failure: Failure) -> bool:
        return fail(self._ledger, owner=self._owner, **vars(failure))

    def _claim(self, specs: Sequence[CallSpec]) -> list[Claim | BudgetExceeded]:
        """As many as the budget bears: a batch that does not fit is tried in halves, the earlier one first."""
        options: dict[str, Any] = {"lease_s": self._lease_s, "resend": self._resend, "budget": self._budget}
        try:
            return list(claim(self._ledger, specs, self._owner, **options))
        except BudgetExceeded as refused:
            if len(specs) == 1:
                return [refused]
            half = len(specs) // 2
            return self._claim(specs[:half]) + self._claim(specs[half:])

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._lease_s / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        if self._alive:
            self._thread.submit(renew, self._ledger, frozenset(self._alive), self._owner, self._lease_s)
            self._renew_later()


def _each(items: Sequence[Any], kind: type[T], write: Callable[[list[T]], Sequence[Any]]) -> dict[int, Any]:
    some = {index: item for index, item in enumerate(items) if isinstance(item, kind)}
    return dict(zip(some, write(list(some.values())), strict=True)) if some else {}
