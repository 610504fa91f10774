"""Flow runs that a dead endpoint left behind: Prefect would show them as running for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

FLOW = "workflow"


def own_mark() -> str:
    """A name of this process, unique also after a restart with the same process id."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def is_dead(mark: str) -> bool:
    """Whether the process of this mark has ended; False for a process of another machine, which cannot be checked."""
    host, pid, started = mark.rsplit(" ", 2)
    return host == socket.gethostname() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process started, in ticks since boot, which do not change with the clock. Empty for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


async def end_orphans(row_of: Callable[[str], Mapping[str, Any] | None], began: datetime) -> int:
    """Set the open flow runs of processes that have ended to Crashed, or to Cancelled where the run was to be cancelled
    or its request was; returns how many.

    `row_of`: a request's id -> its row, with the mark of its process. `began`: when this process started.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.objects import State
    from prefect.states import Cancelled, Crashed

    states = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    ended = 0
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": [FLOW]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": states}),
        )
        for run in runs:
            row = row_of(str(run.parameters.get("request"))) or {}
            mark = row.get("process")
            # A request of a dead process that goes on in this one is marked as this one's.
            if mark is None or run.created is None or run.created > began or not (mark == own_mark() or is_dead(mark)):
                continue
            cancelled = row.get("error") == "CancelledError" or (run.state is not None and run.state.is_cancelling())
            message = "Its endpoint has ended."
            state: State[None] = Cancelled(message=message) if cancelled else Crashed(message=message)
            await client.set_flow_run_state(run.id, state, force=True)
            ended += 1
    return ended
