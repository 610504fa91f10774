"""Claims of the dispatcher: waits for breakers, other owners, budgets and limits, until a call may be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from models.errors import BudgetExceeded, ClaimHeld, LimitReached, MaybePaid, Pruned, RateLimited
from models.ledger.accounts import Allowance
from models.ledger.calls import CallSpec, Claim, is_settled
from models.ledger.store import Ledger
from models.workers.ask import Ask
from models.workers.breakers import Breakers, refusal
from models.workers.commit import GroupCommit
from models.workers.pace import pace_of, paced
from models.workers.retry import RetryPolicy
from models.workers.usage import worst_usd
from models.workers.worker import Worker


class Lane:
    """A worker's concurrency limits: `slots` of calls sent, `claims` of calls claimed, which may wait for a slot."""

    def __init__(self, worker: Worker) -> None:
        most = worker.limits.concurrency
        self.slots = asyncio.Semaphore(most)
        # Claims of a paced worker have their turns: few wait, so that a process that dies leaves few of them unused.
        self.claims = asyncio.Semaphore(2 * most if paced(worker) else max(64, 2 * most))

    async def take(self) -> bool:
        """Whether a slot is free; it is taken then."""
        return not self.slots.locked() and await self.slots.acquire()


class Claims:
    """Claims calls for `owner`; `commit` writes them, and whatever else becomes of them."""

    def __init__(
        self,
        ledger: Ledger,
        breakers: Breakers,
        retry: RetryPolicy,
        owner: str,
        *,
        budget: str | None,
        resend: bool,
        lease_s: float,
    ) -> None:
        self._ledger, self._breakers, self._retry = ledger, breakers, retry
        self._freed = asyncio.Event()
        self._ready: dict[str, Claim] = {}  # claimed together, not yet asked for
        self.commit = GroupCommit(ledger, owner, lease_s=lease_s, resend=resend, budget=budget, freed=self._free)

    def _free(self) -> None:
        """Wake the calls that wait for the budget."""
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()

    async def claim(
        self,
        worker: Worker,
        ask: Ask,
        identity: str,
        lane: Lane,
        patience_s: float,
        allowance: Allowance | None = None,
    ) -> Claim:
        """Claim the call; wait while another owner holds it, and for the budget while own calls may release money.

        Where a slot of the lane is free, the claim has it, and is marked as sent in the same transaction. For the
        budget of a key it waits only while running calls may leave enough, and `patience_s` at most; for its turn among
        those of a worker with limits, as long as the caller does.
        """
        await self._admitted(worker, identity)
        if (ready := self._ready.pop(identity, None)) is not None:
            return ready
        spec = self._spec(worker, ask, identity, allowance)
        started, pause = time.monotonic(), self._retry.poll_s
        held: float | None = None  # since when another process has had the call; to wait for a limit is no such thing
        while True:
            try:
                claim = await self._in_lane(spec, lane)
            except BudgetExceeded:
                if not self.commit.alive:
                    raise
                await self._freed.wait()
                continue
            if claim.state == "maybe_paid":
                raise MaybePaid(f"call {identity} of worker {worker.name!r} died in flight and may have been paid")
            _refuse(claim, time.monotonic() - started, patience_s)
            if claim.pruned_at is not None:
                raise Pruned(f"call {identity} of worker {worker.name!r}", claim.pruned_at)
            if claim.state != "held":
                return claim
            held = None if claim.lease_until is None else held or time.monotonic()
            if held is not None and time.monotonic() - held > self._retry.hold_s:
                raise ClaimHeld(f"call {identity} of worker {worker.name!r} is held by another process")
            await self._wait(claim, _pause(claim, pause, worker, patience_s))
            pause = min(2 * pause, self._retry.poll_cap_s)

    @asynccontextmanager
    async def together(self, calls: Sequence[tuple[Worker, Ask]], allowance: Allowance | None) -> AsyncIterator[None]:
        """In the block these calls of one request may be asked: their worst cases are reserved, all or none of them.

        What was not asked by its end is withdrawn. Raises as `claim` where they do not fit together; nothing is sent
        then. Calls without an allowance fit anyway.
        """
        claimed = [] if allowance is None else await self._together(calls, replace(allowance, whole=True))
        self._ready |= {claim.call_id: claim for claim in claimed}
        try:
            yield
        finally:
            for claim in claimed:
                if self._ready.pop(claim.call_id, None) is not None:
                    self.commit.withdraw(claim.call_id)

    async def _together(self, calls: Sequence[tuple[Worker, Ask]], allowance: Allowance) -> list[Claim]:
        specs = [self._spec(worker, ask, ask.identity, allowance) for worker, ask in calls]
        started, pause = time.monotonic(), self._retry.poll_s
        while True:
            claims = await self.commit.claim_all(specs)
            mine = [claim for claim in claims if claim.state == "mine"]
            short = next((claim for claim in claims if claim.budget or claim.limit), None)
            if short is None:
                return mine  # those that are settled or held are waited for one by one
            for claim in mine:  # two transactions took them
                self.commit.withdraw(claim.call_id)
            waited = time.monotonic() - started
            _refuse(short, waited, self._retry.patience_s)
            if waited > self._retry.hold_s:
                raise ClaimHeld(f"calls of the request {allowance.request} are held by others of it")
            await self._wait(short, pause)
            pause = min(2 * pause, self._retry.poll_cap_s)

    def _spec(self, worker: Worker, ask: Ask, identity: str, allowance: Allowance | None) -> CallSpec:
        worst, pace = worst_usd(worker, ask.messages, ask.sampling), pace_of(worker, ask, self._retry.pace_s)
        return CallSpec(identity, ask.scope, ask.worker, ask.revision, ask.payload(), worst, allowance, pace)

    async def _in_lane(self, spec: CallSpec, lane: Lane) -> Claim:
        """One try to claim. A slot that was free, and that the call has not got now, is given back."""
        claim: Claim | None = None
        taken = spec.pace is None and await lane.take()
        try:
            claim = await self.commit.claim(replace(spec, sends=True) if taken else spec)
        finally:
            if taken and (claim is None or not claim.sent):
                lane.slots.release()
        return claim

    async def _wait(self, claim: Claim, pause: float) -> None:
        """Wait `pause` seconds, or where a budget is full, until one of this process's own calls may leave room."""
        if claim.budget is None:
            await asyncio.sleep(pause)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._freed.wait()

    async def _admitted(self, worker: Worker, identity: str) -> None:
        """Wait until the worker's breaker closes, where that is soon. Raises WorkerOpen; not for a settled call."""
        await self._breakers.refresh()
        while (row := self._breakers.state(worker)) is not None:
            if await asyncio.to_thread(is_settled, self._ledger, identity):
                return
            wait = row.wait_s(datetime.now(UTC))
            if wait > self._retry.open_s:
                raise refusal(row)
            await asyncio.sleep(min(wait, self._retry.poll_cap_s))
            await self._breakers.refresh()


def _refuse(claim: Claim, waited_s: float, patience_s: float) -> None:
    """Raises BudgetExceeded or LimitReached for a call that does not fit what may be spent, and will not soon."""
    if claim.budget is not None and not (claim.state == "held" and waited_s < patience_s):
        raise BudgetExceeded(claim.budget)
    if claim.state == "limited":
        raise LimitReached(f"the request's limit {claim.limit} is reached", claim.limit or "")


async def until(start_at: datetime | None) -> None:
    """Wait for the call's turn among those of a worker with limits."""
    if start_at is not None:
        await asyncio.sleep(max(0.0, (start_at - datetime.now(UTC)).total_seconds()))


def _pause(claim: Claim, pause: float, worker: Worker, patience_s: float) -> float:
    """Seconds until the next try may start, or `pause` while a try runs. Raises RateLimited beyond `patience_s`."""
    if claim.not_before is None:
        return pause
    wait = max(0.0, (claim.not_before - datetime.now(UTC)).total_seconds())
    if wait > patience_s:
        raise RateLimited(f"worker {worker.name!r} may not get this request before {claim.not_before:%F %T} UTC", wait)
    return wait
