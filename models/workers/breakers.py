"""Circuit breakers: a worker that keeps failing, or whose key is refused, is not asked for a while.

Each process counts the failures that it sees; what it opens is a row of the ledger, which all processes of endpoints
and flows read (`models/ledger/providers/breakers.py`). Of each worker every key has a breaker of its own; a worker is
open when all of its keys are.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models.errors import (
    AllOpen,
    LedgerAway,
    MissingKey,
    RateLimited,
    TransientError,
    UpstreamMalformed,
    UpstreamRefused,
    WorkerOpen,
    loggable,
)
from models.ledger.providers.breakers import (
    PROBED_S,
    OpenBreaker,
    close_breaker,
    open_breaker,
    open_breakers,
    take_probe,
)
from models.ledger.store import Ledger
from models.workers.worker import Worker

REFRESH_S = 1.0
"""How old what is known of other processes' breakers may be."""

LASTING = {401: "its key is refused", 402: "its money or its quota is used up", 403: "its key has no right to this"}
"""Statuses that no waiting mends (`upstream` has made them of what providers say with others), and what they mean."""


@dataclass(frozen=True)
class BreakerPolicy:
    """Opens after `consecutive` failures, or where `share` of at least `least` calls within `window_s` seconds failed,
    for `first_s` seconds, twice as long each time that the probe fails, at most `cap_s`."""

    consecutive: int = 5
    share: float = 0.5
    least: int = 20
    window_s: float = 60.0
    first_s: float = 5.0
    cap_s: float = 300.0

    def pause(self, opens: int) -> float:
        """Seconds until the next probe, after it has been opened so many times in a row."""
        return min(self.cap_s, self.first_s * 2.0 ** min(opens, 16))


@dataclass
class _Seen:
    """What this process has seen of a worker with one key."""

    in_a_row: int = 0
    recent: deque[tuple[float, bool]] = field(default_factory=deque)


class Breakers:
    """The breakers of a pool's workers. Belongs to one event loop. `policy`: `None` opens none. `open_s`: seconds that
    a call waits for what comes of another one's probe."""

    def __init__(self, ledger: Ledger, policy: BreakerPolicy | None = BreakerPolicy(), open_s: float = 0.0) -> None:
        self._ledger, self._policy, self._open_s = ledger, policy, open_s
        self._open: dict[tuple[str, str], OpenBreaker] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._turns: dict[str, int] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._writing: dict[asyncio.Task[Any], tuple[str, str]] = {}
        self._changed: set[tuple[str, str]] = set()  # here, since the ledger was last read or while it is being read

    async def refresh(self) -> None:
        """Read what other processes have opened and closed, unless that was done a moment ago."""
        if self._policy is None or time.monotonic() - self._read_at < REFRESH_S:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    def state(self, worker: Worker) -> OpenBreaker | None:
        """The breaker that keeps the worker from being asked: of its keys' the one that opens first; as last read."""
        if not self._open:
            return None
        now, names = datetime.now(UTC), worker.key_names or ("",)
        found = [self._open.get((worker.name, name)) for name in names]
        rows = [row for row in found if row is not None and not row.is_due(now)]
        if len(rows) < len(names):
            return None
        return min(rows, key=lambda row: row.wait_s(now))

    async def open_of(self, workers: Sequence[Worker]) -> dict[str, OpenBreaker]:
        """Those of them that are not to be asked now, by name."""
        await self.refresh()
        states = ((worker.name, self.state(worker)) for worker in workers)
        return {name: row for name, row in states if row is not None}

    async def askable(self, workers: Sequence[Worker], patience_s: float) -> tuple[str, ...]:
        """The names of those that may be asked now. Where none may, the first to close is waited for, so many seconds
        at most. Raises AllOpen."""
        deadline = time.monotonic() + patience_s
        while True:
            found = await self.open_of(workers)
            if left := tuple(worker.name for worker in workers if worker.name not in found):
                return left
            now = datetime.now(UTC)
            wait = min(row.wait_s(now) for row in found.values())
            if time.monotonic() + wait > deadline:
                raise AllOpen("no worker that may be asked is asked at present", wait if math.isfinite(wait) else None)
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def asking(self, worker: Worker) -> AsyncIterator[str | None]:
        """One call to the worker within the block, with the key in this variable; its result is counted.

        Raises WorkerOpen, before the block.
        """
        variable = await self._taken(worker)
        try:
            yield variable
        except Exception as error:
            self._count(worker, variable or "", error)
            raise
        self._count(worker, variable or "", None)

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _read(self) -> None:
        # What is being written, or changes meanwhile, may not be among the rows: of that, this process knows more.
        self._changed = set(self._writing.values())
        try:
            rows = await asyncio.to_thread(open_breakers, self._ledger)
            read = {(row.worker, row.key): row for row in rows if (row.worker, row.key) not in self._changed}
            self._open = read | {mark: row for mark, row in self._open.items() if mark in self._changed}
        except LedgerAway:
            pass  # what is known stays
        finally:
            self._read_at, self._reading = time.monotonic(), None

    async def _taken(self, worker: Worker) -> str | None:
        """As `_take`; of many that meet a breaker whose time has passed one is the probe, and the others wait."""
        deadline = time.monotonic() + self._open_s
        while True:
            try:
                return await self._take(worker)
            except WorkerOpen as error:
                wait = error.retry_after
                if wait is None or time.monotonic() + wait > deadline:
                    raise
            await asyncio.sleep(min(wait, REFRESH_S))
            await self.refresh()

    async def _take(self, worker: Worker) -> str | None:
        """The variable of the key whose turn it is among those that may be used."""
        if self._policy is None:
            return next(iter(worker.key_names), None)
        names, turn = worker.key_names or ("",), self._turns.get(worker.name, 0)
        self._turns[worker.name] = turn + 1
        for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
            row = self._open.get((worker.name, name))
            if row is None or (row.is_due(datetime.now(UTC)) and await self._may_probe(worker, name)):
                return name or None
        row = self.state(worker)
        if row is None:  # another process has taken the probe
            raise WorkerOpen(f"worker {worker.name!r} is being tried again", PROBED_S)
        raise refusal(row)

    async def _may_probe(self, worker: Worker, name: str) -> bool:
        for_s = worker.timeouts.total_s
        try:
            mine = await asyncio.to_thread(take_probe, self._ledger, worker.name, name, for_s)
        except LedgerAway:
            return True
        if not mine and (row := self._open.get((worker.name, name))) is not None:
            until = datetime.now(UTC) + timedelta(seconds=REFRESH_S)
            self._open[worker.name, name] = OpenBreaker(**(vars(row) | {"probe_until": until}))
        return mine

    def _count(self, worker: Worker, key: str, error: Exception | None) -> None:
        policy = self._policy
        if policy is None or isinstance(error, WorkerOpen | MissingKey | LedgerAway):
            return
        mark = worker.name, key
        seen = self._seen.setdefault(mark, _Seen())
        if lasting := _lasting(error):
            return self._opened(mark, lasting, None)
        failed = isinstance(error, TransientError | UpstreamMalformed)
        # Whoever meets the breaker reads its reason: the words of an upstream may quote somebody else's prompt.
        reason = "" if error is None else loggable(error)
        now = time.monotonic()
        seen.in_a_row = seen.in_a_row + 1 if failed else 0
        seen.recent.append((now, failed))
        while seen.recent[0][0] < now - policy.window_s:
            seen.recent.popleft()
        row = self._open.get(mark)
        if not failed:
            if row is not None:  # it was the probe, or a call from before
                self._closed(mark)
            return None
        failures = sum(each for _, each in seen.recent)
        wait = error.retry_after if isinstance(error, TransientError) else None
        often = len(seen.recent) >= policy.least and failures >= policy.share * len(seen.recent)
        if row is not None or seen.in_a_row >= policy.consecutive or often:
            self._opened(mark, reason, max(policy.pause(row.opens if row else 0), wait or 0.0))
        elif isinstance(error, RateLimited) and wait:
            self._opened(mark, reason, wait)
        return None

    def _opened(self, mark: tuple[str, str], reason: str, wait_s: float | None) -> None:
        assert self._policy is not None
        now, row = datetime.now(UTC), self._open.get(mark)
        wait_s = None if wait_s is None else min(wait_s, self._policy.cap_s)
        until = None if wait_s is None else now + timedelta(seconds=wait_s)
        again = OpenBreaker(*mark, reason, 1, now, until) if row is None else row.reopened(reason, until, now)
        if row is not None and again.until == row.until:
            return  # it is open for as long already
        self._open[mark] = again
        self._seen.pop(mark, None)
        self._write(mark, lambda: open_breaker(self._ledger, *mark, reason, wait_s))

    def _closed(self, mark: tuple[str, str]) -> None:
        del self._open[mark]
        self._write(mark, lambda: close_breaker(self._ledger, *mark))

    def _write(self, mark: tuple[str, str], change: Callable[[], Any]) -> None:
        """In a thread, so that the answer does not wait for it; where the ledger is away, this process alone knows."""
        task = asyncio.create_task(asyncio.to_thread(change))
        self._writing[task] = mark
        self._changed.add(mark)

        def written(task: asyncio.Task[Any]) -> None:
            self._writing.pop(task, None)
            if not task.cancelled():
                task.exception()

        task.add_done_callback(written)


def _lasting(error: Exception | None) -> str | None:
    """The reason why this key is of no use until somebody acts, or `None`; no upstream's words."""
    if not isinstance(error, UpstreamRefused) or not error.answered or error.status not in LASTING:
        return None
    return f"{LASTING[error.status]} (status {error.status})"


def refusal(row: OpenBreaker) -> WorkerOpen:
    """The error of a call to a worker with this breaker."""
    reason = row.reason.removeprefix(f"worker {row.worker!r}: ")
    if row.until is None:
        message = f"worker {row.worker!r} is not asked until somebody acts (`fugu pool check` asks it again): {reason}"
        return WorkerOpen(message, None)
    wait = row.wait_s(datetime.now(UTC))
    return WorkerOpen(f"worker {row.worker!r} is not asked before {row.until:%F %T} UTC: {reason}", wait)
