"""Answer a batch of questions by workflows: a conductor writes the plan, workers run the steps, the last step answers.

Conductor: arXiv 2512.04388. Prefect only shows the steps; the executor runs them (ARCHITECTURE, decision 2).
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
from models.workers.dispatch import Dispatcher
from models.workers.retry import RetryPolicy
from tasks.batch import begin_request, body_of, end_request, request_id
from tasks.pages.report import table
from tasks.pages.workflow import tag_run, workflow_page
from tasks.quiet import flow
from tasks.setup.conductor import open_parts
from tasks.setup.inputs import QUESTIONS, id_content, load_inputs
from tasks.setup.session import all_ended, open_session
from tasks.setup.texts import shown, what
from tasks.step import SHOWN, joining, label_of, plan_round

CONCURRENT_QUESTIONS = 16
"""Questions of a batch that run concurrently."""


@flow(name="conduct", flow_run_name="conduct {conductor}", persist_result=False)
async def conduct(
    questions: str | list[str] = Field(description=QUESTIONS),
    pool: str = "house",
    conductor: str = Field("house", description="the plan writer: house, a folder, worker:NAME, fixed:PATH"),
    name: str = Field("", description="a new name repeats questions that were answered before"),
    recursive: bool = Field(False, description="whether the conductor sees the answer and may plan another round"),
    max_usd: float = Field(0.0, ge=0, description="spending limit of this run in USD"),
    max_usd_each: float | None = Field(None, ge=0, description="spending limit of one question in USD"),
    max_calls_each: int | None = Field(None, ge=1, description="maximum calls of one question"),
    max_seconds_each: float | None = Field(None, gt=0, description="maximum seconds of one question"),
) -> list[str]:
    """Returns the answers in the order of the questions. A run that was killed pays only for what is missing.

    At a limit of the run or of a question, the best finished answer is returned; if there is none, LimitReached is
    raised after every question has ended. Raises BadInput for literal questions where texts may not be shown.
    """
    batch = await asyncio.to_thread(load_inputs, questions)
    limits = Limits(max_usd=max_usd_each, max_calls=max_calls_each, max_seconds=max_seconds_each, depth=1)
    async with open_session(pool, max_usd) as session:
        dispatcher = Dispatcher(session.ledger, session.pool, budget=session.access.budget, retry=RetryPolicy(tries=1))
        parts = await open_parts(session.ledger, session.pool, dispatcher, conductor)
        request_runs = RequestRuns(parts)
        content = {"pool": session.pool.fingerprint, "conductor": conductor, "name": name, "recursive": recursive}
        content |= limits.model_dump(exclude_none=True, exclude={"depth"})  # other limits make another request
        allowed = tuple(worker.name for worker in session.pool.workers if not worker.is_recorded)
        gate = asyncio.Semaphore(CONCURRENT_QUESTIONS)

        async def answer(request: ConductRequest) -> ConductAnswer:
            async with gate:
                return await _answered(request_runs, request)

        requests = [
            ConductRequest(
                id=request_id(id_content(messages), number, content),
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
            await dispatcher.close()
        rows = [_row(request, conducted) for request, conducted in zip(requests, found, strict=True)]
        await table("answers", rows, "conduct")
    return [conducted.text or "" for conducted in found]


def _row(request: ConductRequest, conducted: ConductAnswer) -> dict[str, Any]:
    """A row of the table of answers; `fugu show` prints the texts."""
    words = {"question": _words(request), "answer": conducted.text or ""} if shown() else {}
    ended = conducted.trace["ended"]
    return {"request": request.id, **words, "cut off by": ended or "", "USD": conducted.cost_usd}


async def _answered(request_runs: RequestRuns, request: ConductRequest) -> ConductAnswer:
    """Answer one question, and show its workflow in Prefect meanwhile."""
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

    Run it concurrently with `request_run.answer()` in the same event loop: it waits for that work and starts none. An
    error of the request becomes the flow run's state and is not raised; an error of Prefect is raised.
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
    """Show one conducted request: each round's plan and steps. The run's state is that of the answer."""
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
        return Cancelled(message="the request was cancelled")
    if conducted.tool_calls:
        await tag_run("awaiting-tools")
    return conducted.finish_reason


@lru_cache(maxsize=1)
def _kept_in(folder: Path) -> Any:
    """The flow with a fixed result folder: otherwise each run queries the server for it and blocks the event loop."""
    return workflow.with_options(result_storage=folder)


async def _shown(workflow_run: WorkflowRun, planned: State[Any]) -> None:
    """Show each step as a task that depends on the steps it sees, so that the run's page draws the graph."""
    steps: list[asyncio.Task[State[Any] | None]] = []
    for index in range(len(workflow_run.workers)):
        steps.append(asyncio.create_task(_step(workflow_run, index, planned, list(steps))))
    await asyncio.gather(*steps)


async def _step(
    workflow_run: WorkflowRun, index: int, planned: State[Any], others: list[asyncio.Task[State[Any] | None]]
) -> State[Any] | None:
    """Run the step's task once the steps that it sees are done; a step that cannot be asked has no task."""
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
    """A short name: the start of the question, or the request's id where texts may not be shown."""
    words = (_words(request) if shown() else "") or request.id
    return words if len(words) <= 60 else words[:59] + "…"


def _words(request: ConductRequest) -> str:
    """The last user message as one line."""
    content = next((m.get("content") for m in reversed(request.messages) if m.get("role") == "user"), None)
    return " ".join(text_of(content).split())
