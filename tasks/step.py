"""Tasks that show a workflow in Prefect: the plan and each step, each waiting for the executor's own work."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from models.conductor.run.request_run import RequestRun
from models.conductor.run.workflow_run import WorkflowRun
from tasks.caching import PAID, STEP_DELAYS, key_of
from tasks.quiet import task
from tasks.setup.texts import shown

SHOWN: ContextVar[RequestRun] = ContextVar("shown")
"""The request run that the enclosing flow run shows."""


@task(task_run_name="plan of round {round}", cache_policy=NO_CACHE)
async def plan_round(round: int) -> str | None:
    """Wait until the round is planned. Returns its workflow's id, or `None` if the answer needed no such round."""
    workflow_run = await SHOWN.get().round(round)
    return None if workflow_run is None else workflow_run.id


@task(task_run_name="{label}", cache_key_fn=key_of("meaning"), **PAID | {"retry_delay_seconds": STEP_DELAYS})
async def run_step(meaning: str, label: str, round: int, index: int) -> str | State[Any]:
    """Wait for one try of the step. Returns its state and its last call's id: texts are stored in the ledger only."""
    workflow_run = SHOWN.get().rounds[round]
    record = await workflow_run.attempt(index)
    if record.state == "passed over":
        return Cancelled(message="not asked: a limit was reached, or the request was cancelled", name="PassedOver")
    return f"{record.state} {record.call_ids[-1] if record.call_ids else ''}".strip()


def joining(workflow_run: WorkflowRun) -> Task[..., Any]:
    """`run_step`, with as many retries as the step may have transient failures."""
    return run_step.with_options(retries=workflow_run.most_failures)


def label_of(workflow_run: WorkflowRun, index: int) -> str:
    """A step's label: "step 2: coder – Count the letters", or "step 2: coder" where texts may not be shown."""
    record = workflow_run.records[index]
    name = f"step {record.number}: {record.worker}"
    if not shown():
        return name
    subtask = " ".join(record.subtask.split())
    return f"{name} – {subtask if len(subtask) <= 60 else subtask[:59] + '…'}"
