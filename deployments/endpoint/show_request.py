"""Show a request that the endpoint answers as a flow run: its plan and its steps, beside the answer.

The endpoint cannot wait for Prefect: its runner starts the steps at once, and the tasks here wait for them
(ARCHITECTURE, decision 2). A batch is run by Prefect itself (`flows/conduct.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from deployments.endpoint.wire.response import ULTRA
from models.conductor.run.request import StepRecord
from models.conductor.run.request_run import RequestRun
from models.conductor.run.workflow_run import WorkflowRun
from models.errors import FuguError
from tasks.named import CANCELLED, Created, run_named
from tasks.pages.names import label_of, title_of
from tasks.pages.workflow import tag_run, workflow_page
from tasks.quiet import flow
from tasks.setup.texts import what
from tasks.show import joining, number_of, plan_round, shown_run


async def show(request_run: RequestRun, created: Created | None = None) -> None:
    """Show one request as a flow run, of whose id `created` is told: each round's plan, each step as a task.

    Run it concurrently with `request_run.answer()` in the same event loop: it waits for that work and starts none. An
    error of the request becomes the flow run's state and is not raised; an error of Prefect is raised.
    """
    request, earlier = request_run.request, request_run.request.continues
    tags = (ULTRA, request.id, *([f"continues:{earlier}"] if earlier else []))
    title = title_of(request)
    parameters = {"request": request.id, "title": title, "run": number_of(request_run)}
    state = await run_named(workflow, title, tags, parameters, created)
    if state.is_cancelled():  # somebody may have cancelled it before it began
        await request_run.cancel()


@flow(name="workflow")
async def workflow(request: str, title: str, run: int) -> Any:
    """Show one conducted request: each round's plan and steps. The run's state is that of the answer."""
    request_run = shown_run(run)
    planned: State[Any] = await plan_round(run, 0, return_state=True)  # type: ignore[misc]
    number = 0
    while number < len(request_run.rounds):
        await _shown(run, request_run.rounds[number], planned)
        number += 1
        if await request_run.round(number) is not None:
            planned = await plan_round(run, number, wait_for=[planned], return_state=True)  # type: ignore[misc]
    try:
        conducted = await request_run.outcome()
    except FuguError as error:
        await workflow_page(request, title, request_run.rounds, None, what(error))
        raise
    await workflow_page(request, title, request_run.rounds, conducted)
    if conducted is None:
        return Cancelled(message=CANCELLED)
    if conducted.tool_calls:
        await tag_run("awaiting-tools")
    return conducted.finish_reason


async def _shown(run: int, workflow_run: WorkflowRun, planned: State[Any]) -> None:
    """Show each step as a task that depends on the steps it sees, so that the run's page draws the graph."""
    steps: list[asyncio.Task[State[Any] | None]] = []
    for index in range(len(workflow_run.workers)):
        steps.append(asyncio.create_task(_step(run, workflow_run, index, planned, list(steps))))
    await asyncio.gather(*steps)


async def _step(
    run: int, workflow_run: WorkflowRun, index: int, planned: State[Any], others: list[asyncio.Task[State[Any] | None]]
) -> State[Any] | None:
    """Run the step's task once the steps that it sees are done; a step that cannot be asked has no task."""
    sees = workflow_run.records[index].sees
    states = [await others[seen] for seen in sees]
    seen = await asyncio.gather(*(workflow_run.step(other) for other in sees), return_exceptions=True)
    if not all(isinstance(record, StepRecord) and record.state == "done" for record in seen):
        return None
    before = [planned, *(state for state in states if state is not None)]
    meaning = await workflow_run.meaning(index)
    label = label_of(workflow_run.records[index])
    state: State[Any] = await joining(workflow_run)(
        meaning, label, run, workflow_run.number, index, wait_for=before, return_state=True
    )
    return state
