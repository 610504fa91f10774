"""Tasks that show in Prefect what the endpoint's runner does in the same process: each waits for its work."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from models.conductor.run.request_run import RequestRun
from models.conductor.run.workflow_run import WorkflowRun
from tasks.caching import PAID, STEP_DELAYS, key_of
from tasks.quiet import task
from tasks.step import passed_over

_NUMBERS = count()

_SHOWN: WeakValueDictionary[int, RequestRun] = WeakValueDictionary()


def number_of(request_run: RequestRun) -> int:
    """A number by which the tasks of this process find the request run."""
    number = next(_NUMBERS)
    _SHOWN[number] = request_run
    return number


def shown_run(number: int) -> RequestRun:
    """The request run of that number."""
    return _SHOWN[number]


@task(task_run_name="plan of round {round}", cache_policy=NO_CACHE)
async def plan_round(run: int, round: int) -> str | None:
    """Wait until the round is planned. Returns its workflow's id, or `None` if the answer needed no such round."""
    workflow_run = await shown_run(run).round(round)
    return None if workflow_run is None else workflow_run.id


@task(task_run_name="{label}", cache_key_fn=key_of("meaning"), **PAID | {"retry_delay_seconds": STEP_DELAYS})
async def run_step(meaning: str, label: str, run: int, round: int, index: int) -> str | State[Any]:
    """Wait for one try of the step. Returns its state and its last call's id: texts are stored in the ledger only."""
    workflow_run = shown_run(run).rounds[round]
    record = await workflow_run.attempt(index)
    if record.state == "passed over":
        return passed_over()
    return f"{record.state} {record.call_ids[-1] if record.call_ids else ''}".strip()


def joining(workflow_run: WorkflowRun) -> Task[..., Any]:
    """`run_step`, with as many retries as the step may have transient failures."""
    return run_step.with_options(retries=workflow_run.most_failures)
