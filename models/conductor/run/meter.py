"""One budget over all rounds, nested request runs and continuations of a request."""

from __future__ import annotations

import asyncio

from models.conductor.run.request import Limits
from models.errors import LimitReached


class Meter:
    """Reserves a call's worst-case cost before the call and books its actual cost after. Bound to one event loop.

    `usd` and `calls`: spent by earlier runs of the request. `ended`: the limit that was reached first; after that no
    call is made.
    """

    def __init__(self, limits: Limits, usd: float = 0.0, calls: int = 0) -> None:
        self._limits, self._spent, self._calls = limits, usd, calls
        self._reserved, self._running = 0.0, 0
        self._freed = asyncio.Event()
        self.ended: str | None = None

    @property
    def usd_left(self) -> float | None:
        """USD left for new calls; `None`: no limit."""
        limit = self._limits.max_usd
        return None if limit is None else max(0.0, limit - self._spent - self._reserved)

    @property
    def calls_left(self) -> int | None:
        limit = self._limits.max_calls
        return None if limit is None else max(0, limit - self._calls)

    async def enter(self, worst_usd: float) -> None:
        """Reserve one call. Waits while running calls may turn out cheaper than their reservation.

        Raises LimitReached once the call cannot fit.
        """
        while True:
            if self.ended is not None:
                raise LimitReached(f"the request's limit {self.ended} is reached", self.ended)
            if self.calls_left == 0:
                self.stop("max_calls")
            elif self.usd_left is None or worst_usd <= self.usd_left + 1e-12:
                break
            elif self._running == 0:
                self.stop("max_usd")
            else:
                await self._freed.wait()
        self._reserved += worst_usd
        self._running += 1
        self._calls += 1

    def leave(self, worst_usd: float, cost_usd: float | None) -> None:
        """Book the cost of a finished call and release its reservation. `None`: it cost nothing and does not count."""
        self._reserved -= worst_usd
        self._running -= 1
        self._spent += cost_usd or 0.0
        self._calls -= cost_usd is None
        self._wake()

    def stop(self, limit: str) -> None:
        """Make no more calls, because `limit` is reached."""
        self.ended = self.ended or limit
        self._wake()

    def _wake(self) -> None:
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()
