"""Small writes of many tasks in few transactions: one event loop, one thread, in the order in which they came."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from models.errors import told
from models.ledger.store import Ledger

T = TypeVar("T")
Change = Callable[[Connection, datetime], T]
"""Writes through an open transaction; the time is the ledger's."""

log = logging.getLogger(__name__)


class Journal:
    """Whatever came while one transaction ran goes into the next, whose commit is the disk's one wait for all."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[tuple[Change[Any], asyncio.Future[Any]]] = []
        self._pump: asyncio.Task[None] | None = None

    def put(self, change: Change[T]) -> asyncio.Future[T]:
        """The change's result once it is on disk. Who does not wait for it need not: a failure is logged."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_told)
        self._waiting.append((change, future))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return future

    async def flush(self) -> None:
        """Wait until all that came before is on disk."""
        while self._pump is not None:
            await asyncio.shield(self._pump)

    async def close(self) -> None:
        """Write what is waiting, and stop."""
        await self.flush()
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = await loop.run_in_executor(self._thread, self._write, [change for change, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._pump = None

    def _write(self, changes: Sequence[Change[Any]]) -> list[Any]:
        """In the thread. Where one fails, each gets a transaction of its own: the others do not suffer for it."""
        try:
            with self.ledger.transaction() as connection:
                now = self.ledger.now(connection)
                return [change(connection, now) for change in changes]
        except Exception as error:
            if len(changes) == 1:
                return [error]
            return [self._write([change])[0] for change in changes]


def _told(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("the ledger could not be written: %s", told(error))
