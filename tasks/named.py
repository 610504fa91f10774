"""A flow run that has its name and tags from the start.

Prefect renames a run when it begins, and looks for an earlier run of each subflow: two requests to the server for each
conducted question, which a batch of questions feels (`tests/benchmarks/conduct_batch.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, Task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Cancelled, Pending

CANCELLED = "the request was cancelled"

Created = Callable[[UUID], object]
"""Is told the id of a flow run as soon as there is one."""


@dataclass
class NamedRun(AsyncFlowRunEngine[Any, Any]):
    """Prefect's engine of a run, which creates the run under a name and with tags."""

    name: str = ""
    tags: Sequence[str] = ()
    created: Created | None = None

    async def create_flow_run(self, client: PrefectClient) -> FlowRun:
        """The run; within another flow's run it is a subflow's."""
        parent, tracking = FlowRunContext.get(), None
        given = self.parameters or {}
        if parent is not None:
            within: Task[..., Any] = Task(name=self.flow.name, fn=self.flow.fn, version=self.flow.version)
            within._is_subflow_tracking_task = True  # type: ignore[attr-defined]
            tracking = await within.create_run(flow_run_context=parent, parameters=given)
        run = await client.create_flow_run(
            self.flow,
            name=self.name,
            parameters=self.flow.serialize_parameters(given),
            state=Pending(),
            parent_task_run_id=None if tracking is None else tracking.id,
            tags=self.tags,
        )
        if self.created is not None:
            self.created(run.id)
        return run


async def run_named(
    flow: Flow[..., Any],
    name: str,
    tags: Sequence[str],
    parameters: Mapping[str, Any],
    created: Created | None = None,
) -> State[Any]:
    """The state in which a run of the flow ends: what fails in it is not raised.

    A run that is to be cancelled ends Cancelled, whatever came of it: Prefect refuses any other end of it, and it would
    stay Cancelling.
    """
    engine = NamedRun(
        flow=_kept_in(flow, PREFECT_LOCAL_STORAGE_PATH.value()),
        parameters=dict(parameters),
        name=name,
        tags=tags,
        created=created,
    )
    async with engine.start():
        while engine.is_running():
            async with engine.run_context():
                await engine.call_flow_fn()  # type: ignore[unused-coroutine]
    state, run = engine.state, engine.flow_run
    if state.is_cancelling() and run is not None:
        state = Cancelled(message=CANCELLED)
        async with get_client() as client:
            await client.set_flow_run_state(run.id, state, force=True)
    return state


@lru_cache(maxsize=4)
def _kept_in(flow: Flow[..., Any], folder: Path) -> Flow[..., Any]:
    """The flow with a fixed result folder: otherwise each run queries the server for it and blocks the event loop."""
    return flow.with_options(result_storage=folder)
