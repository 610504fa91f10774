"""Conduct: a model writes a workflow for the question, its steps run as tasks, the last step answers.

Seed 000, section 5. Prefect shows what happens; the executor does it (DESIGN, decision 2).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import tags
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Cancelled
from pydantic import Field

from models.conductor.run import rows
from models.conductor.run.request import ConductAnswer, ConductRequest, Limits, StepRecord
from models.conductor.run.request_run import RequestRun, RequestRuns
from models.conductor.run.workflow_run import WorkflowRun
from models.errors import FuguError
from models.ledger.accounts import in_doubt
from models.workers.ask import text_of
from tasks.batch import begin_request, body_of, end_request, request_id
from tasks.pages.report import table
from tasks.pages.workflow import tag_run, workflow_page
from tasks.quiet import flow
from tasks.setup.asked import QUESTIONS, asked, identifying
from tasks.setup.conductor import open_parts
from tasks.setup.session import all_ended, open_session
from tasks.setup.texts import shown, what
from tasks.step import SHOWN, joining, label_of, plan_round

AT_ONCE = 16
"""Questions of a batch that are conducted, and shown, at a time."""


@flow(name="conduct", flow_run_name="conduct {conductor}", persist_result=False)
async def conduct(
    questions: str | list[str] = Field(description=QUESTIONS),
    pool: str = "house",
    conductor: str = Field("house", description="who writes the plans: house, a folder, worker:NAME, fixed:PATH"),
    name: str = Field("", description="a new name asks again what was answered before"),
    recursive: bool = Field(False, description="whether the conductor sees its answers and may plan again"),
    max_usd: float = Field(0.0, ge=0, description="the most that this run may spend"),
    max_usd_each: float | None = Field(None, ge=0, description="the most that one question may spend"),
    max_calls_each: int | None = Field(None, ge=1, description="the most calls that one question may make"),
    max_seconds_each: float | None = Field(None, gt=0, description="the time that one question may take"),
) -> list[str]:
    """The answers, in the order of the questions. A run that was killed pays only for what is missing.

    Over a limit, the run's or a question's own, the best finished answer counts; where there is none, LimitReached is
    raised once every question has ended. Raises BadInput for questions in words where texts may not be shown.
    """
    batch = await asyncio.to_thread(asked, questions)
    limits = Limits(max_usd=max_usd_each, max_calls=max_calls_each, max_seconds=max_seconds_each, depth=1)
    async with open_session(pool, max_usd) as session:
        parts = await open_parts(session.ledger, session.pool, session.dispatcher, conductor)
        request_runs = RequestRuns(parts)
        content = {"pool": session.pool.fingerprint, "conductor": conductor, "name": name, "recursive": recursive}
        content |= limits.model_dump(exclude_none=True, exclude={"depth"})  # a question that may take more is another
        allowed = tuple(worker.name for worker in session.pool.workers if not worker.is_recorded)
        gate = asyncio.Semaphore(AT_ONCE)

        async def answer(request: ConductRequest) -> ConductAnswer:
            async with gate:
                return await _answered(request_runs, request)

        requests = [
            ConductRequest(
                id=request_id(identifying(messages), number, content),
                messages=messages,
                allowed=allowed,
                limits=limits,
                recursive=recursive,
            )
            for number, messages in enumerate(batch)
        ]
        try:
            found = await all_ended(*map(answer, requests))
        finally:
            await request_runs.close()
        rows = [_row(request, conducted) for request, conducted in zip(requests, found, strict=True)]
        await table("answers", rows, "conduct")
    return [conducted.text or "" for conducted in found]


def _row(request: ConductRequest, conducted: ConductAnswer) -> dict[str, Any]:
    """`fugu show` has the words of a request."""
    words = {"question": _words(request), "answer": conducted.text or ""} if shown() else {}
    ended = conducted.trace["ended"]
    return {"request": request.id, **words, "cut off by": ended or "", "USD": conducted.cost_usd}


async def _answered(request_runs: RequestRuns, request: ConductRequest) -> ConductAnswer:
    """One question to its answer, shown beside it."""
    ledger = request_runs.ledger
    await asyncio.to_thread(begin_request, ledger, request)
    request_run = request_runs.open(request)
    showing = asyncio.create_task(show(request_run))
    try:
        conducted = await request_run.answer()
    except FuguError as error:
        await asyncio.to_thread(end_request, ledger, request.id, rows.failed(error))
        raise
    finally:
        await showing
    lost = await asyncio.to_thread(in_doubt, ledger, request.root)
    answered = rows.answered(request.id, conducted, body_of(conducted), lost)
    await asyncio.to_thread(end_request, ledger, request.id, answered)
    return conducted


async def show(request_run: RequestRun) -> None:
    """Show one request as a flow run: each round's plan, each step as a task.

    To be run beside `request_run.answer()`, in the same event loop: it joins what that does and begins nothing. What
    the request fails with is the run's state, not raised; what Prefect itself fails with is.
    """
    token = SHOWN.set(request_run)
    earlier = request_run.request.continues
    try:
        with tags(*([f"continues:{earlier}"] if earlier else [])):
            run = _kept_in(PREFECT_LOCAL_STORAGE_PATH.value())
            await run(request_run.request.id, _title(request_run.request), return_state=True)
    finally:
        SHOWN.reset(token)


@flow(name="workflow", flow_run_name="{title}")
async def workflow(request: str, title: str) -> Any:
    """One conducted request: plan, steps, and where it goes on, another round. Its state is that of the answer."""
    request_run = SHOWN.get()
    planned: State[Any] = await plan_round(0, return_state=True)  # type: ignore[misc]
    number = 0
    while number < len(request_run.rounds):
        await _shown(request_run.rounds[number], planned)
        number += 1
        if await request_run.round(number) is not None:
            planned = await plan_round(number, wait_for=[planned], return_state=True)  # type: ignore[misc]
    try:
        conducted = await request_run.outcome()
    except FuguError as error:
        await workflow_page(title, request_run.rounds, None, what(error))
        raise
    await workflow_page(title, request_run.rounds, conducted)
    if conducted is None:
        return Cancelled(message="nobody waited for the answer any more")
    if conducted.tool_calls:
        await tag_run("awaiting-tools")
    return conducted.finish_reason


@lru_cache(maxsize=1)
def _kept_in(folder: Path) -> Any:
    """The flow, with its results in this folder: else each run asks the server where, while the loop stands still."""
    return workflow.with_options(result_storage=folder)


async def _shown(workflow_run: WorkflowRun, planned: State[Any]) -> None:
    """Each step as a task that follows those that it sees, so that the run's page draws the graph."""
    steps: list[asyncio.Task[State[Any] | None]] = []
    for index in range(len(workflow_run.workers)):
        steps.append(asyncio.create_task(_step(workflow_run, index, planned, list(steps))))
    await asyncio.gather(*steps)


async def _step(
    workflow_run: WorkflowRun, index: int, planned: State[Any], others: list[asyncio.Task[State[Any] | None]]
) -> State[Any] | None:
    """The step's task, once there is something to show: a step that never could be asked has none."""
    sees = workflow_run.records[index].sees
    states = [await others[seen] for seen in sees]
    seen = await asyncio.gather(*(workflow_run.step(other) for other in sees), return_exceptions=True)
    if not all(isinstance(record, StepRecord) and record.state == "done" for record in seen):
        return None
    before = [planned, *(state for state in states if state is not None)]
    meaning = await workflow_run.meaning(index)
    label = label_of(workflow_run, index)
    state: State[Any] = await joining(workflow_run)(
        meaning, label, workflow_run.number, index, wait_for=before, return_state=True
    )
    return state


def _title(request: ConductRequest) -> str:
    """A short readable name: how the question begins, or where texts may not be shown the request's id."""
    words = (_words(request) if shown() else "") or request.id
    return words if len(words) <= 60 else words[:59] + "…"


def _words(request: ConductRequest) -> str:
    """What the user said last, in a line."""
    content = next((m.get("content") for m in reversed(request.messages) if m.get("role") == "user"), None)
    return " ".join(text_of(content).split())
