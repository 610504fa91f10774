"""What a request holds of its key's budgets, while it runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from models.errors import BudgetExceeded, LedgerAway
from models.ledger.access.holds import lapse, release
from models.ledger.access.limits import hold
from models.ledger.access.purses import Purse
from models.ledger.outage import when_back
from models.ledger.store import Ledger

POLL_S, POLL_CAP_S = 0.05, 1.0
"""The first and the longest interval between two tries to hold what does not fit yet."""


class Holding:
    """`request`: the first one, which names the workflows. `purse`: of the key that pays; `None`: nothing is held.
    `patience_s`: how long calls under way are waited for, which may turn out cheaper than their worst cases."""

    def __init__(self, ledger: Ledger, request: str, purse: Purse | None, patience_s: float) -> None:
        self._ledger, self._request, self._purse, self._patience_s = ledger, request, purse, patience_s

    def __bool__(self) -> bool:
        """Whether anything can be held."""
        return self._purse is not None

    async def take(self, usd: float, *, more: bool = False) -> None:
        """Hold so many USD, instead of what is held or in addition to it (`more`).

        Raises BudgetExceeded; what was held before is still held then.
        """
        if self._purse is None:
            return
        ledger, purse, started, pause, looked = self._ledger, self._purse, time.monotonic(), POLL_S, False
        given = ledger, self._request, purse, usd
        while (refusal := await when_back(lambda: asyncio.to_thread(hold, *given, more=more))) is not None:
            if not looked:  # the requests of a process that died may hold it
                looked = True
                if await when_back(lambda: asyncio.to_thread(lapse, ledger, purse.root)):
                    continue
            if not refusal.waits or time.monotonic() - started >= self._patience_s:
                raise BudgetExceeded(refusal.budget or "")
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLL_CAP_S)

    async def release(self) -> None:
        """Give back what is left of what this process or another one holds. An outage is not waited for: it lapses."""
        if self._purse is not None:
            with suppress(LedgerAway):
                await asyncio.to_thread(release, self._ledger, self._request)
