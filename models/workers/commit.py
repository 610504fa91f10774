"""Group commit: the ledger's writes of many concurrent asks in few transactions, off the event loop.

While the database is away, nothing new is claimed or sent; replies in hand and failures wait for it, the replies on
disk (`ledger.unsettled`), and leases are renewed as soon as it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from models.errors import LedgerAway
from models.ledger.calls import CallSpec, Claim, Settlement
from models.ledger.outage import PAUSE_S
from models.ledger.store import Ledger
from models.ledger.unsettled import Unsettled
from models.workers.writes import Chore, Failure, Sending, Writer

BATCH = 500  # writes per transaction, so that other processes get their turn

PROMPT_S = 0.5
"""How long whoever has a reply waits for the database before it is answered all the same."""

log = logging.getLogger(__name__)


_Entry = tuple[Any, "asyncio.Future[Any]"]


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
        self._recovered = self._closing = False

    @property
    def alive(self) -> int:
        """How many claims are mine and open."""
        return len(self._alive | self._unsent)

    def recover(self) -> None:
        """Settle what a dead process left in the home; the first claim does it, too."""
        if not self._recovered:
            self._recovered = True
            self._do("recover")

    async def claim(self, spec: CallSpec) -> Claim:
        """`ledger.calls.claim` of one call. Raises BudgetExceeded, LedgerAway."""
        self.recover()
        claimed: Claim = await self._put(spec)
        return claimed

    async def send(self, call_id: str, attempt: int) -> bool:
        """`ledger.leases.send` of one try. Raises LedgerAway; the claim is given back then."""
        going: bool = await self._put(Sending(call_id, attempt))
        return going

    async def settle(self, settlement: Settlement) -> bool | None:
        """Whether the reply was kept, or fenced off. `None`: the database does not have it yet, and gets it later."""
        future = self._put(settlement)
        await asyncio.wait([future], timeout=PROMPT_S)
        if not future.done():
            self._aside(settlement, future)
        kept: bool | None = await future
        return kept

    async def fail(self, failure: Failure) -> None:
        """Recorded even if the caller is cancelled while it waits, or the database is away."""
        await asyncio.wait([self._put(failure)], timeout=PROMPT_S)

    async def close(self) -> None:
        """Write what is waiting, and stop. A database that is away is not waited for: its replies are on disk."""
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
        future.add_done_callback(_heard)
        self._waiting.append((item, future))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return future

    def _do(self, kind: str) -> None:
        """A chore is done once, however often it was asked for meanwhile."""
        if kind not in self._chores:
            self._chores.add(kind)
            self._put(Chore(kind))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                items = [self._now(item) for item, _ in batch]
                results = await loop.run_in_executor(self._thread, self._write, items)
                again = []
                for item, (_, future), result in zip(items, batch, results, strict=True):
                    if isinstance(result, LedgerAway) and self._goes_on(item, future, result):
                        again.append((item, future))
                    else:
                        self._deliver(item, future, result)
                self._waiting = again + self._waiting
                if again:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._pump = None

    def _now(self, item: Any) -> Any:
        """A chore is about the claims of the moment in which it is done."""
        if not isinstance(item, Chore):
            return item
        self._unsent -= self._alive  # claimed again meanwhile
        return Chore(item.kind, frozenset(self._alive if item.kind == "renew" else self._unsent))

    def _goes_on(self, item: Any, future: asyncio.Future[Any], away: LedgerAway) -> bool:
        """Whether this waits for the database; who waits for it does not."""
        match item:
            case Settlement():
                self._aside(item, future)
            case Failure():
                _tell(future, False)
            case CallSpec() if item.identity not in self._alive:  # nobody knows whether it was written
                self._give_back(item.identity)
            case Sending():
                self._give_back(item.call_id)
        return isinstance(item, Settlement | Failure | Chore) and not self._closing

    def _give_back(self, call_id: str) -> None:
        """This claim was not sent, and will not be."""
        self._alive.discard(call_id)
        self._unsent.add(call_id)
        self._do("withdraw")

    def _aside(self, settlement: Settlement, future: asyncio.Future[Any]) -> None:
        """On disk in the home, once; then whoever waits is answered."""
        mark = settlement.call_id, settlement.attempt
        if mark not in self._kept:
            self._kept.add(mark)
            kept = asyncio.get_running_loop().run_in_executor(self._disk, self._unsettled.keep, settlement)
            kept.add_done_callback(lambda _: _tell(future, None))

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
                    self._give_back(result.call_id)
        if isinstance(item, Settlement):
            result = self._settled(item, future, result)
        _tell(future, result)

    def _settled(self, item: Settlement, future: asyncio.Future[Any], result: Any) -> bool | None:
        if isinstance(result, LedgerAway):  # at the end: the next process settles it
            return None
        if self._kept:
            self._kept.discard((item.call_id, item.attempt))
            if not self._kept:
                self._disk.submit(self._unsettled.clear)
        if isinstance(result, Exception):
            log.error("the reply of call %s cannot be kept: %s", item.call_id, result)
            self._aside(item, future)  # whatever is wrong with the database
            self._put(Failure(item.call_id, item.attempt, f"its reply cannot be kept: {result}", maybe_paid=True))
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


def _tell(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _heard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # of what nobody waits for any more
