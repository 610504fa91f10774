"""What the tasks of one process share: an event loop in a thread of its own, on which everything with connections runs.

Prefect runs each submitted task in an event loop of its own, in any thread of any process. A dispatcher, its clients
and its group commit belong to one loop. So a task's body hands its work over (`on_loop`), and the loop's thread lives
as long as the process.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import threading
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@lru_cache(maxsize=1)
def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; its thread is a daemon, so that it never keeps a process from ending."""
    made = asyncio.new_event_loop()
    os.register_at_fork(after_in_child=loop.cache_clear)  # a fork has no such thread
    threading.Thread(target=made.run_forever, name="fugu-loop", daemon=True).start()
    return made


def built_once(maxsize: int) -> Callable[[Callable[[K], T]], Callable[[K], T]]:
    """`lru_cache` for what is slow to build: threads that ask at the same time wait for one that builds it."""

    def made(build: Callable[[K], T]) -> Callable[[K], T]:
        cached, building = lru_cache(maxsize)(build), threading.Lock()

        @wraps(build)
        def get(of: K) -> T:
            with building:
                return cached(of)

        return get

    return made


@atexit.register
def _stop() -> None:
    """End what libraries still have on the loop; sessions have closed theirs by then."""
    if loop.cache_info().currsize:
        ours = loop()
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(_ended_all(), ours).result(timeout=5)
        ours.call_soon_threadsafe(ours.stop)


async def _ended_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def leave_out_of_collections() -> None:
    """Leave what has been loaded, mostly libraries, out of garbage collections: each walk stops all calls for 0.3 s."""
    gc.collect()
    gc.freeze()


_work: set[asyncio.Task[Any]] = set()
"""What `on_loop` runs for other threads. Used on the process's loop only."""


def cancel_work() -> None:
    """Cancel what other threads wait for on the loop, so that they go on: the process is to end soon."""
    if loop.cache_info().currsize:
        loop().call_soon_threadsafe(lambda: [task.cancel() for task in list(_work)])


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on the process's loop and block this thread, which must be another one, until it has ended."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


async def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on the process's loop and wait for it, with a copy of the caller's context.

    A cancelled caller cancels it and waits until it has ended: what was paid for is on disk when the caller goes on.
    """
    ours, here = loop(), asyncio.get_running_loop()
    if here is ours:
        return await work
    begun: list[asyncio.Task[T]] = []
    ended = asyncio.Event()

    def end(task: asyncio.Task[T]) -> None:
        with suppress(RuntimeError):  # the caller's loop is closed
            here.call_soon_threadsafe(ended.set)

    def begin() -> None:
        begun.append(ours.create_task(work))
        _work.add(begun[0])
        begun[0].add_done_callback(_work.discard)
        begun[0].add_done_callback(end)

    ours.call_soon_threadsafe(begin)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        ours.call_soon_threadsafe(lambda: begun[0].cancel())
        await ended.wait()
        raise
    return begun[0].result()
