"""Group commit: batches the ledger writes of many concurrent asks into few transactions, off the event loop.

During an outage of the database nothing new is claimed or sent. Replies that have arrived and failures wait for it, the
replies in a file (`ledger.unsettled`), and leases are renewed as soon as it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from models.errors import LedgerAway
from models.ledger.calls import CallSpec, Claim, Settlement
from models.ledger.outage import PAUSE_S
from models.ledger.store import Ledger
from models.ledger.unsettled import Unsettled
from models.workers.writes import Chore, Failure, Sending, Unused, Writer

BATCH = 500  # writes per transaction, so that other processes can write in between

PROMPT_S = 0.5
"""How long a settlement or failure waits for the database before its caller goes on."""

log = logging.getLogger(__name__)


_Entry = tuple[Any, "asyncio.Future[Any]"]


class GroupCommit:
    """Writes all items that arrived during one transaction in the next. Belongs to one event loop; has one thread.

    The leases of open claims are renewed. `freed` is called whenever a claim is closed, since that may release reserved
    money.
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
        self._freed, self._lease_s = freed, lease_s
        self._write = Writer(ledger, owner, lease_s, resend, budget).write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="unsettled")
        self._unsettled = Unsettled(ledger.unsettled)
        self._kept: set[tuple[str, int]] = set()
        self._waiting: list[_Entry] = []
        self._pump: asyncio.Task[None] | None = None
        self._alive: set[str] = set()
        self._unsent: set[str] = set()
        self._chores: set[str] = set()
        self._renewal: asyncio.TimerHandle | None = None
        self._recovered = self._closing = self._hurried = False

    @property
    def alive(self) -> int:
        """The number of open claims."""
        return len(self._alive | self._unsent)

    @property
    def waiting(self) -> int:
        """How many writes wait for the database."""
        return len(self._waiting)

    def recover(self) -> None:
        """Settle the replies that a dead process left in the home; the first claim does so, too."""
        if not self._recovered:
            self._recovered = True
            self._do("recover")

    async def claim(self, spec: CallSpec) -> Claim:
        """`ledger.calls.claim` of one call. Raises BudgetExceeded, LedgerAway."""
        self.recover()
        future: asyncio.Future[Claim] = self._put(spec)
        try:
            return await future
        except asyncio.CancelledError:
            self._unclaimed(future)
            raise

    async def claim_all(self, specs: Sequence[CallSpec]) -> list[Claim]:
        """`ledger.calls.claim` of these calls. Raises BudgetExceeded, LedgerAway; none is claimed then."""
        self.recover()
        futures: list[asyncio.Future[Claim]] = [self._put(spec) for spec in specs]
        try:
            return await asyncio.gather(*futures)
        except BaseException:
            for future in futures:
                future.cancel()
                self._unclaimed(future)
            raise

    def _unclaimed(self, future: asyncio.Future[Claim]) -> None:
        """Withdraw what had been claimed when its caller was cancelled, before that was known there."""
        known = future.done() and not future.cancelled() and future.exception() is None
        if known and future.result().state == "mine":
            self.withdraw(future.result().call_id)

    async def send(self, call_id: str, attempt: int) -> bool:
        """`ledger.tries.send` of one try. Raises LedgerAway; the claim is withdrawn then."""
        going: bool = await self._put(Sending(call_id, attempt))
        return going

    async def settle(self, settlement: Settlement) -> bool | None:
        """Whether the reply was stored (`True`) or fenced off (`False`). `None`: the database gets it later."""
        future = self._put(settlement)
        await asyncio.wait([future], timeout=PROMPT_S)
        if not future.done():
            self._to_disk(settlement, future)
        kept: bool | None = await future
        return kept

    async def fail(self, failure: Failure) -> None:
        """Record a failure, even if the caller is cancelled while it waits, or during an outage."""
        await asyncio.wait([self._put(failure)], timeout=PROMPT_S)

    def give_back(self, worker: str, seconds: float) -> None:
        """`ledger.providers.paces.give_back`, together with the writes that wait."""
        self._put(Unused(worker, seconds))

    async def close(self) -> None:
        """Write the waiting items, and stop. An outage is not waited for: the replies are on disk."""
        self._closing = True
        if self._renewal is not None:
            self._renewal.cancel()
        while self._pump is not None:
            await asyncio.shield(self._pump)
        self._thread.shutdown()
        await asyncio.get_running_loop().run_in_executor(self._disk, self._unsettled.close)
        self._disk.shutdown()

    def _put(self, item: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(_mark_retrieved)
        self._waiting.append((item, future))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return future

    def _do(self, kind: str) -> None:
        """Queue a chore, unless it is queued already."""
        if kind not in self._chores:
            self._chores.add(kind)
            self._put(Chore(kind))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._next()
                items = [self._now(item) for item, _ in batch]
                results = await loop.run_in_executor(self._thread, self._write, items)
                again = []
                for item, (_, future), result in zip(items, batch, results, strict=True):
                    if isinstance(result, LedgerAway) and self._waits(item, future):
                        again.append((item, future))
                    else:
                        self._deliver(item, future, result)
                self._waiting = again + self._waiting
                if again:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._pump = None

    def _next(self) -> list[_Entry]:
        """What is written now: what is to be sent before all else, since a slot is idle meanwhile; every second time
        all that waits, so that nothing waits for long."""
        hurried = [entry for entry in self._waiting if isinstance(entry[0], Sending)] if not self._hurried else []
        self._hurried = 0 < len(hurried) < len(self._waiting)
        some = hurried or self._waiting
        batch = some[:BATCH]
        taken = {id(entry) for entry in batch}
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        return batch

    def _now(self, item: Any) -> Any:
        """The item; a chore gets the ids that it concerns only now, when it is done."""
        if not isinstance(item, Chore):
            return item
        self._unsent -= self._alive  # claimed again meanwhile
        return Chore(item.kind, frozenset(self._alive if item.kind == "renew" else self._unsent))

    def _waits(self, item: Any, future: asyncio.Future[Any]) -> bool:
        """Whether the item waits for the end of the outage; its caller does not."""
        match item:
            case Settlement():
                self._to_disk(item, future)
            case Failure():
                _resolve(future, False)
            case CallSpec() if item.identity not in self._alive:  # it may have been written
                self.withdraw(item.identity)
            case Sending():
                self.withdraw(item.call_id)
        return isinstance(item, Settlement | Failure | Chore) and not self._closing

    def withdraw(self, call_id: str) -> None:
        """Withdraw a claim that was not sent, and will not be."""
        self._alive.discard(call_id)
        self._unsent.add(call_id)
        self._do("withdraw")

    def _to_disk(self, settlement: Settlement, future: asyncio.Future[Any]) -> None:
        """Write a settlement to the file in the home, once; then resolve its future."""
        mark = settlement.call_id, settlement.attempt
        if mark not in self._kept:
            self._kept.add(mark)
            kept = asyncio.get_running_loop().run_in_executor(self._disk, self._unsettled.keep, settlement)
            kept.add_done_callback(lambda _: _resolve(future, None))

    def _deliver(self, item: Any, future: asyncio.Future[Any], result: Any) -> None:
        match item:
            case Chore():
                self._chores.discard(item.kind)
                if isinstance(result, Exception):
                    log.error("the ledger could not %s: %s", item.kind, result)
                self._unsent -= item.ids if item.kind == "withdraw" else frozenset()
                if self._unsent:
                    self._do("withdraw")
                self._freed()
            case Settlement() | Failure():
                self._alive.discard(item.call_id)
                self._freed()
            case Sending() if result is not True:
                self._alive.discard(item.call_id)
            case CallSpec() if isinstance(result, Claim) and result.state == "mine":
                self._alive.add(result.call_id)
                self._renew_later()
                if future.done():  # cancelled
                    self.withdraw(result.call_id)
        if isinstance(item, Settlement):
            result = self._settled(item, future, result)
        _resolve(future, result)

    def _settled(self, item: Settlement, future: asyncio.Future[Any], result: Any) -> bool | None:
        if isinstance(result, LedgerAway):  # only while closing: the next process settles it
            return None
        if self._kept:
            self._kept.discard((item.call_id, item.attempt))
            if not self._kept:
                self._disk.submit(self._unsettled.clear)
        if isinstance(result, Exception):
            log.error("the reply of call %s cannot be stored: %s", item.call_id, result)
            self._to_disk(item, future)
            self._put(Failure(item.call_id, item.attempt, f"its reply cannot be stored: {result}", maybe_paid=True))
        elif result is False and future.done():
            log.warning("the reply of call %s came too late: another process has the call", item.call_id)
        return result if isinstance(result, bool) else None

    def _renew_later(self) -> None:
        if self._renewal is None and not self._closing:
            self._renewal = asyncio.get_running_loop().call_later(self._lease_s / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        if self._alive:
            self._do("renew")
            self._renew_later()


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _mark_retrieved(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging the exception of a future that is no longer awaited."""
    if not future.cancelled():
        future.exception()
