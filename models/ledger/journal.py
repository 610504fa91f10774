"""The journal: batches the small ledger writes of many tasks into few transactions, in order, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from models.errors import LedgerAway, loggable
from models.ledger.outage import PATIENCE_S, PAUSE_S, apart
from models.ledger.store import Ledger

T = TypeVar("T")
Change = Callable[[Connection, datetime], T]
"""A function that writes in an open transaction; the time is the ledger's."""

WAITING = 20_000
"""The most changes that wait during an outage; more are refused."""

log = logging.getLogger(__name__)

_TICK = timedelta(microseconds=1)

LINGER_S = 0.05
"""How long a change that nobody waits for may wait for others, with which it shares a transaction."""


class _Entry(NamedTuple):
    """`deadline`: until when it waits during an outage. `due`: when it is written at the latest."""

    change: Change[Any]
    future: asyncio.Future[Any]
    deadline: float
    due: float


class Journal:
    """Writes all changes that arrived during one transaction in the next, with a single commit. Has one thread.

    During an outage of the database, each change waits up to its `patience_s`. Belongs to one event loop.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[_Entry] = []
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def later(self, change: Change[Any]) -> None:
        """Queue a change that nobody waits for, however long an outage is; it is written within `LINGER_S`."""
        self.put(change, math.inf, LINGER_S)

    def put(self, change: Change[T], patience_s: float = PATIENCE_S, linger_s: float = 0.0) -> asyncio.Future[T]:
        """Queue a change; the future has its result once it is on disk, and need not be awaited.

        `linger_s`: how long it may wait for others. A failure is logged, unless `patience_s` is 0. The future raises
        LedgerAway where the outage is longer than `patience_s`; the change was not written then, unless the connection
        was lost during the commit.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if patience_s > 0:
            future.add_done_callback(_log_failure)
        if len(self._waiting) >= WAITING:
            future.set_exception(LedgerAway("the ledger cannot be used, and too many changes wait for it"))
            return future
        now = time.monotonic()
        self._waiting.append(_Entry(change, future, now + patience_s, now + linger_s))
        self._begin()
        return future

    @property
    def waiting(self) -> int:
        """How many changes are due, and wait for the database."""
        now = time.monotonic()
        return sum(entry.due <= now for entry in self._waiting)

    async def flush(self) -> None:
        """Wait until all earlier changes are on disk or have failed."""
        self._waiting = [entry._replace(due=0.0) for entry in self._waiting]
        self._begin()
        while self._pump is not None:
            await asyncio.shield(self._pump)

    async def close(self) -> None:
        """Write the waiting changes, and stop. An outage is not waited for."""
        self._closing = True
        await self.flush()
        self._thread.shutdown()

    def _begin(self) -> None:
        """Write what waits, or see to it that it is written when it is due."""
        if self._pump is not None or not self._waiting:
            return
        wait = min(entry.due for entry in self._waiting) - time.monotonic()
        if wait > 0 and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait > 0:
            self._timer = asyncio.get_running_loop().call_later(wait, self._due)
        else:
            self._pump = asyncio.create_task(self._run())

    def _due(self) -> None:
        self._timer = None
        self._begin()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while any(entry.due <= time.monotonic() for entry in self._waiting):
                batch, self._waiting = self._waiting, []
                results = await loop.run_in_executor(self._thread, self._write, [entry.change for entry in batch])
                away = [self._deliver(entry, result) for entry, result in zip(batch, results, strict=True)]
                self._waiting = [entry for entry in away if entry is not None] + self._waiting
                if any(away):
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._pump = None
        self._begin()

    def _deliver(self, entry: _Entry, result: Any) -> _Entry | None:
        """Set the future's result; return the entry instead if it is to be written again."""
        future = entry.future
        if isinstance(result, LedgerAway) and not self._closing and time.monotonic() < entry.deadline:
            return entry
        if future.done():
            return None
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
        return None

    def _write(self, changes: Sequence[Change[Any]]) -> list[Any]:
        """Write a batch, in the thread. A change that fails does not affect the others."""

        def together(some: Sequence[Change[Any]]) -> list[Any]:
            with self.ledger.transaction() as connection:
                now = self.ledger.now(connection)
                # Each has a time of its own: what is listed by time keeps the order in which it arrived.
                return [change(connection, now + at * _TICK) for at, change in enumerate(some)]

        return apart(together, changes)


def _log_failure(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("the ledger could not be written: %s", loggable(error))
