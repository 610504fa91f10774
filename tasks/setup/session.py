"""What the tasks of one flow run share: the ledger, the pool and the dispatcher, under one limit of money.

Handed through a context variable, so that a task's own inputs are only what changes its result.
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
    """Open for the time of one flow run, its subflows included."""

    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher


_SESSION: ContextVar[Session] = ContextVar("session")


def current() -> Session:
    """The session of the flow run that this code runs in."""
    return _SESSION.get()


@asynccontextmanager
async def open_session(pool: str, max_usd: float) -> AsyncIterator[Session]:
    """The enclosing flow's session, or a new one that may spend at most `max_usd`.

    A subflow joins its parent's session and so its limit. The default limit of every flow is 0: a pool with
    prices spends nothing until somebody says how much it may.
    """
    outer = _SESSION.get(None)
    if outer is not None:
        yield outer
        return
    ledger = open_ledger()
    budget = f"flow:{uuid.uuid4()}"
    open_budget(ledger, budget, max_usd)
    opened = open_pool(pool)
    # One retry layer: in a flow it is the task, whose tries Prefect shows.
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
    """The results of all parts; the first error is raised once every part has ended.

    A failure, or a limit of money that is reached, must not cancel the calls that others have already paid for.
    """
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
