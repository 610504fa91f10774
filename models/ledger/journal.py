"""Small writes of many tasks in few transactions: one event loop, one thread, in the order in which they came."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from models.errors import LedgerAway, told
from models.ledger.outage import PATIENCE_S, PAUSE_S, apart
from models.ledger.store import Ledger

T = TypeVar("T")
Change = Callable[[Connection, datetime], T]
"""Writes through an open transaction; the time is the ledger's."""

WAITING = 20_000
"""Changes that wait for a database that is away; what comes beyond is refused."""

log = logging.getLogger(__name__)

_Entry = tuple[Change[Any], "asyncio.Future[Any]", float]


class Journal:
    """Whatever came while one transaction ran goes into the next, whose commit is the disk's one wait for all.

    While the database is away, changes wait for it, each as long as it has patience.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[_Entry] = []
        self._pump: asyncio.Task[None] | None = None
        self._closing = False

    def put(self, change: Change[T], patience_s: float = PATIENCE_S) -> asyncio.Future[T]:
        """The change's result once it is on disk. Who does not wait for it need not: a failure is logged, unless it may
        not wait at all.

        Raises LedgerAway where the database stays away for longer than `patience_s`; it was not written then, unless
        the connection was lost in the midst of it.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if patience_s > 0:
            future.add_done_callback(_told)
        if len(self._waiting) >= WAITING:
            future.set_exception(LedgerAway("the ledger cannot be used, and too much waits for it"))
            return future
        self._waiting.append((change, future, time.monotonic() + patience_s))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return future

    async def flush(self) -> None:
        """Wait until all that came before is on disk, or has lost its patience."""
        while self._pump is not None:
            await asyncio.shield(self._pump)

    async def close(self) -> None:
        """Write what is waiting, and stop. A database that is away is not waited for."""
        self._closing = True
        await self.flush()
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = await loop.run_in_executor(self._thread, self._write, [change for change, _, _ in batch])
                away = [self._deliver(entry, result) for entry, result in zip(batch, results, strict=True)]
                self._waiting = [entry for entry in away if entry is not None] + self._waiting
                if any(away):
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._pump = None

    def _deliver(self, entry: _Entry, result: Any) -> _Entry | None:
        """Tell whoever waits; the entry itself where it is to be written again."""
        _, future, deadline = entry
        if isinstance(result, LedgerAway) and not self._closing and time.monotonic() < deadline:
            return entry
        if future.done():
            return None
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
        return None

    def _write(self, changes: Sequence[Change[Any]]) -> list[Any]:
        """In the thread. Where one fails, the others do not suffer for it."""

        def together(some: Sequence[Change[Any]]) -> list[Any]:
            with self.ledger.transaction() as connection:
                now = self.ledger.now(connection)
                return [change(connection, now) for change in some]

        return apart(together, changes)


def _told(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("the ledger could not be written: %s", told(error))
