"""A workflow in Prefect's eyes: its plan and each of its steps as a task that joins what the executor does."""

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
"""The conducting that the enclosing flow run shows."""


@task(task_run_name="plan of round {round}", cache_policy=NO_CACHE)
async def plan_round(round: int) -> str | None:
    """Wait until the round is planned; its workflow's id, or nothing where the answer came without it."""
    workflow_run = await SHOWN.get().round(round)
    return None if workflow_run is None else workflow_run.id


@task(task_run_name="{label}", cache_key_fn=key_of("meaning"), **PAID | {"retry_delay_seconds": STEP_DELAYS})
async def run_step(meaning: str, label: str, round: int, index: int) -> str | State[Any]:
    """One try of the step, joined; what it came to, and the id of its last call: texts live in the ledger only."""
    workflow_run = SHOWN.get().rounds[round]
    record = await workflow_run.attempt(index)
    if record.state == "passed over":
        return Cancelled(message="not asked: a limit was reached, or the request was cancelled", name="PassedOver")
    return f"{record.state} {record.call_ids[-1] if record.call_ids else ''}".strip()


def joining(workflow_run: WorkflowRun) -> Task[..., Any]:
    """`run_step`, with as many retries as the step can have transient failures before it ends."""
    return run_step.with_options(retries=workflow_run.most_failures)


def label_of(workflow_run: WorkflowRun, index: int) -> str:
    """How a step is called: "step 2: coder – Count the letters", or where texts may not be shown "step 2: coder"."""
    record = workflow_run.records[index]
    name = f"step {record.number}: {record.worker}"
    if not shown():
        return name
    subtask = " ".join(record.subtask.split())
    return f"{name} – {subtask if len(subtask) <= 60 else subtask[:59] + '…'}"
