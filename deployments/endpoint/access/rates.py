"""Rates of keys: requests and tokens in each minute (UTC), and requests at once, over all processes of the ledger.

A process leases a share of a key's rate (`models/ledger/access/leases.py`), a twentieth at a time, and counts within it
by itself. What a minute's share has left when the minute ends is lost, so that the limit is never passed and may be
missed by that much. Tokens are taken as the body's bytes / 4 when a request comes, and corrected when it is answered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from deployments.endpoint.answer.question import Caller
from deployments.endpoint.wire.problems import Problem
from models.ledger.access.leases import HELD, Kind, Share, lease
from models.ledger.journal import Journal
from models.workers.ask import TOKEN_BYTES

SLICES = 20
RENEW_S = HELD.total_seconds() / 3
BRIEFLY_S = 0.2
"""How long a full number of requests at once is believed without a look."""


NOTHING = Share(0, 0, datetime.min.replace(tzinfo=UTC), 0.0)


class _Rate:
    """One rate of one key in this process."""

    def __init__(self, rates: Rates, key: str, kind: Kind, limit: int) -> None:
        self._rates, self._key, self.kind, self.limit = rates, key, kind, limit
        self.used, self._share = 0, NOTHING
        self._ends = self._full_until = -math.inf
        self._lock = asyncio.Lock()

    @property
    def left(self) -> int:
        """What is left for all processes, as far as this one knows."""
        self._turn()
        return max(0, self.limit - self._share.all + self._share.mine - self.used)

    @property
    def reset_s(self) -> float:
        """Seconds until the minute ends."""
        return max(0.0, self._ends - time.monotonic()) if self._ends > 0 else 60.0

    async def take(self, count: int) -> bool:
        """Whether so many fit; they are counted then."""
        count = min(count, self.limit)
        async with self._lock:
            self._turn()
            lacking = self.used + count - self._share.mine
            if lacking > 0:
                if time.monotonic() < self._full_until:
                    return False
                await self._lease(max(lacking, math.ceil(self.limit / SLICES)))
                lacking = self.used + count - self._share.mine
            if lacking > 0:
                # Nobody gives a part of a minute back before its end.
                pause = BRIEFLY_S if self.kind == "in_flight" else self.reset_s
                self._full_until = time.monotonic() + pause
                return False
            self.used += count
            return True

    def correct(self, count: int) -> None:
        """Count more, which have been used already, or fewer."""
        self._turn()
        self.used = max(0, self.used + count)
        if (over := self.used - self._share.mine) > 0:
            self._rates.later(self._lease(over, over))

    async def renew(self) -> bool:
        """Keep what is used of the requests at once, and give the rest back. Whether there is more to renew."""
        async with self._lock:
            await self._lease(self.used - self._share.mine)
            return self.used > 0

    async def _lease(self, more: int, overdrawn: int = 0) -> None:
        journal = self._rates.journal
        change = lease(journal.ledger, self._key, self.kind, self._rates.owner, more, self.limit, overdrawn)
        share = await journal.put(change, 0.0)
        if self.kind != "in_flight" and share.until != self._share.until:
            self.used = overdrawn  # the ledger's minute is another one already
        self._share, self._ends = share, time.monotonic() + share.left_s

    def _turn(self) -> None:
        """Begin anew where the minute is over."""
        if self.kind != "in_flight" and time.monotonic() >= self._ends > 0:
            self.used, self._share, self._ends = 0, NOTHING, -math.inf


class Visit:
    """A request on its way through. `tokens`: what it has used, once that is known; `None`: nobody says."""

    def __init__(self, rates: dict[Kind, _Rate], size: int, counted: bool) -> None:
        self.tokens: int | None = None
        self._rates, self._counted, self._guess = rates, counted, math.ceil(size / TOKEN_BYTES)
        self._taken: list[_Rate] = []

    async def enter(self, name: str) -> None:
        """Count the request. Raises Problem 429, with what is to be waited for."""
        if not self._counted:
            return
        for kind, rate in self._rates.items():
            if not await rate.take(self._guess if kind == "tokens" else 1):
                self.leave()
                wait = 1.0 if kind == "in_flight" else rate.reset_s
                what = f"at once ({rate.limit})" if kind == "in_flight" else f"a minute ({rate.limit} {kind})"
                message = f"the key {name!r} may not send more {what}"
                headers = {"Retry-After": str(math.ceil(max(wait, 1.0))), **dict(self.headers())}
                raise Problem(429, message, "rate_limit_error", "rate_limit_exceeded", headers=headers)
            self._taken.append(rate)

    def leave(self) -> None:
        """The request is over, or was not let in."""
        for rate in self._taken if self._counted else self._rates.values():
            if rate.kind == "in_flight":
                rate.used -= self._counted
            elif rate.kind == "tokens" and self.tokens is not None:
                rate.correct(self.tokens - self._guess)

    def headers(self) -> Iterator[tuple[str, str]]:
        """In OpenAI's form."""
        for kind, rate in self._rates.items():
            name = kind.replace("_", "-")
            yield f"x-ratelimit-limit-{name}", str(rate.limit)
            yield f"x-ratelimit-remaining-{name}", str(rate.left)
            if kind != "in_flight":
                yield f"x-ratelimit-reset-{name}", f"{math.ceil(rate.reset_s)}s"


class Rates:
    """Those of this process, which belong to one event loop. `counts`: requests are counted here; `False`: the process
    in front of this one has done so, and here only tokens are corrected."""

    def __init__(self, journal: Journal, counts: bool = True) -> None:
        self.journal, self.owner, self._counts = journal, uuid4().hex, counts
        self._known: dict[str, dict[Kind, _Rate]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    def visit(self, caller: Caller, size: int) -> Visit:
        """A request with so many bytes, by a key that has rates."""
        assert caller.key is not None
        if (rates := self._known.get(caller.key)) is None:
            policy = caller.policy
            limits: dict[Kind, int | None] = {
                "in_flight": policy.in_flight,
                "requests": policy.requests_per_minute,
                "tokens": policy.tokens_per_minute,
            }
            rates = {kind: _Rate(self, caller.key, kind, limit) for kind, limit in limits.items() if limit is not None}
            self._known[caller.key] = rates
        if "in_flight" in rates and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        return Visit(rates, size, self._counts)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Lease in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """Give back the requests at once."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await asyncio.gather(*(rate.renew() for rate in self._at_once), *self._tasks, return_exceptions=True)

    @property
    def _at_once(self) -> list[_Rate]:
        return [rates["in_flight"] for rates in self._known.values() if "in_flight" in rates]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the ledger is away: the next request will see it

    async def _renew(self) -> None:
        more = True
        while more:
            await asyncio.sleep(RENEW_S)
            more = any(await asyncio.gather(*(rate.renew() for rate in self._at_once), return_exceptions=True))
        self._renewing = None
