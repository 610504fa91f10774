"""Where a flow's tasks run: threads of its process, processes of Dask or of Ray (FUGU_TASK_RUNNER)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from prefect import Task


async def submitted(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Submit the task to the flow's runner, and wait for its result without blocking the flow's event loop."""
    # The first one starts a cluster.
    future = await asyncio.to_thread(task.submit, *args, **kwargs)
    ended, here = asyncio.Event(), asyncio.get_running_loop()

    def end(_: Any) -> None:
        with suppress(RuntimeError):  # the flow's loop is closed
            here.call_soon_threadsafe(ended.set)

    future.add_done_callback(end)
    await ended.wait()
    return await asyncio.to_thread(future.result)
