"""Resources that the tasks of a flow run share: ledger, pool and dispatcher, under one spending limit.

They are passed in a context variable, so that a task's parameters contain only what changes its result.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from models.ledger.budgets import open_budget
from models.ledger.store import Ledger
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy
from tasks.setup.settings import open_ledger, open_pool, settings

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """Resources that are open during one flow run and its subflows."""

    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher


_SESSION: ContextVar[Session] = ContextVar("session")


def current() -> Session:
    """The session of the current flow run."""
    return _SESSION.get()


@asynccontextmanager
async def open_session(pool: str, max_usd: float) -> AsyncIterator[Session]:
    """The parent flow's session, or a new one that may spend at most `max_usd`.

    A subflow uses its parent's session and limit. The default limit of every flow is 0: nothing is spent on a pool with
    prices until a limit is given.
    """
    outer = _SESSION.get(None)
    if outer is not None:
        yield outer
        return
    ledger = open_ledger()
    budget = f"flow:{uuid.uuid4()}"
    open_budget(ledger, budget, max_usd)
    opened = open_pool(pool)
    # Only the tasks retry, so that Prefect shows every try.
    dispatcher = Dispatcher(ledger, opened, budget=budget, retry=RetryPolicy(tries=1), lease_s=settings().lease_s)
    session = Session(ledger, opened, dispatcher)
    token = _SESSION.set(session)
    try:
        yield session
    finally:
        _SESSION.reset(token)
        await dispatcher.close()
        ledger.close()


async def all_ended(*parts: Awaitable[T]) -> list[T]:
    """The results of all parts; the first error is raised after every part has ended.

    A failure or a reached spending limit must not cancel calls of other parts that are already paid.
    """
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
