"""Resources that the tasks of a flow run share: ledger, pool and dispatcher, under one spending limit.

A flow opens a session; its tasks get the session's `Access` as an input and open, or find, the same resources in
whatever process they run.
"""

from __future__ import annotations

import asyncio
import atexit
import math
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from models.errors import BadInput
from models.ledger.budgets import open_budget
from models.ledger.store import Ledger
from models.workers.breakers import BreakerPolicy
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy
from tasks.cancelling import end_cancelled_subflows, unwound
from tasks.setup.process import loop, on_loop, wait_for
from tasks.setup.settings import open_ledger, open_pool, settings

T = TypeVar("T")

OPEN_S = 120.0
"""How long a call of a flow waits for the breaker of its worker to close."""

IDLE = 4
"""Sessions that a process which runs only tasks keeps open for the next task."""


class Kept(Protocol):
    """What is opened once for a session."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Access:
    """Names a session in any process: a task's input. `pool`: as in `open_pool`; `fingerprint`: what it has to be."""

    pool: str
    fingerprint: str
    budget: str


@dataclass
class Session:
    """Resources that are open during one flow run and its subflows. The dispatcher lives on the process's loop."""

    access: Access
    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher
    users: int = field(default=0, compare=False)
    kept: dict[str, Kept] = field(default_factory=dict, compare=False)

    async def keep(self, name: str, make: Callable[[], Awaitable[Kept]]) -> Kept:
        """What `make` gives, made once under that name and closed with the session. On the process's loop."""
        async with self._making:
            if name not in self.kept:
                self.kept[name] = await make()
        return self.kept[name]

    def __post_init__(self) -> None:
        self._making = asyncio.Lock()

    async def close(self) -> None:
        """End the calls in flight, and close what is open."""
        await on_loop(self._close())

    async def _close(self) -> None:
        for kept in self.kept.values():
            await kept.close()
        await self.dispatcher.close()
        self.ledger.close()


_SESSION: ContextVar[Session] = ContextVar("session")
"""The session of the current flow run. Tasks do not read it: they may run in another process."""

_open: OrderedDict[Access, Session] = OrderedDict()
"""The open sessions of this process. Used on the process's loop only."""


def open_dispatcher(ledger: Ledger, pool: Pool, retry: RetryPolicy, budget: str | None = None) -> Dispatcher:
    """A dispatcher with the lease and the breakers of the settings."""
    here = settings()
    breakers = BreakerPolicy() if here.breakers else None
    return Dispatcher(ledger, pool, budget=budget, retry=retry, lease_s=here.lease_s, breakers=breakers)


@asynccontextmanager
async def open_session(pool: str, max_usd: float) -> AsyncIterator[Session]:
    """The parent flow's session, or a new one that may spend at most `max_usd`. For flows.

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
    session = await on_loop(_opened(Access(pool, opened.fingerprint, budget), ledger, opened))
    session.users += 1
    token = _SESSION.set(session)
    try:
        with unwound():
            yield session
    finally:
        _SESSION.reset(token)
        await on_loop(_forget(session))
        await end_cancelled_subflows()


def is_within() -> bool:
    """Whether a flow run's session is open here: a flow that is called now is a part of that run."""
    return _SESSION.get(None) is not None


def current() -> Session:
    """The session of the current flow run. For flows."""
    return _SESSION.get()


def pool_of(access: Access) -> Pool:
    """The pool that `access` names, in this process. Raises BadInput where it is another one than the flow's."""
    pool = open_pool(access.pool)
    if pool.fingerprint != access.fingerprint:
        raise BadInput(f"the pool {access.pool!r} differs between the flow's process and the task's", "pool")
    return pool


@contextmanager
def session_of(access: Access) -> Iterator[Session]:
    """The session that `access` names, opened where this process has none. For tasks, on the process's loop.

    Raises BadInput where the pool is another one in this process.
    """
    session = _open.get(access)
    if session is None:
        session = _started(access, open_ledger(), pool_of(access))
    _open.move_to_end(access)
    session.users += 1
    try:
        yield session
    finally:
        session.users -= 1
        _close_idle()


def read_ledger(access: Access, read: Callable[[Ledger], T]) -> T:
    """What `read` finds in the session's ledger. For the key functions of tasks, which are called in their threads."""

    async def found() -> T:
        with session_of(access) as session:
            return await asyncio.to_thread(read, session.ledger)

    return wait_for(found())


async def _opened(access: Access, ledger: Ledger, pool: Pool) -> Session:
    return _started(access, ledger, pool)


def _started(access: Access, ledger: Ledger, pool: Pool) -> Session:
    # Only the tasks retry, so that Prefect shows every try.
    # A batch waits for its turn at workers with limits, however long, and a limit that it meets must not fail it: its
    # repeats are as many as its tasks' tries, without a share of the calls.
    retry = RetryPolicy(tries=1, open_s=OPEN_S, pace_s=math.inf, budget=None)
    dispatcher = open_dispatcher(ledger, pool, retry, access.budget)
    session = _open[access] = Session(access, ledger, pool, dispatcher)
    return session


async def _forget(session: Session) -> None:
    _open.pop(session.access, None)
    await session.close()


_closing: set[asyncio.Task[None]] = set()


def _close_idle() -> None:
    """Close the sessions that were not used for longest; a flow's own session has its flow as a user."""
    idle = [session for session in _open.values() if not session.users]
    for session in idle[:-IDLE]:
        del _open[session.access]
        task = asyncio.get_running_loop().create_task(session.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)


@atexit.register
def _close_all() -> None:
    """Settle what has arrived before a process that ran tasks ends."""
    if _open:
        future = asyncio.run_coroutine_threadsafe(_closed(list(_open.values())), loop())
        future.result(timeout=10)


async def _closed(sessions: Sequence[Session]) -> None:
    _open.clear()
    await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)


async def all_ended(*parts: Awaitable[T]) -> list[T]:
    """The results of all parts; the first error is raised after every part has ended.

    A failure or a reached spending limit must not cancel calls of other parts that are already paid.
    """
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
